#include "sandbox/cgroup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <vector>

#include "base/machine.h"
#include "sandbox/memory_sampler.h"

namespace zerrow::sandbox {
namespace {

namespace fs = std::filesystem;

// A folder that looks like a cgroup hierarchy; mkdir in it gives a "cgroup" with memory.stat
// only if the test puts one there, so what Make chooses can be seen without the kernel's consent.
class FakeHierarchy : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "zerrow-cgroup-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  std::string Mount(const std::string& type, const std::string& shown,
                    const std::string& options) const {
    return "33 25 0:30 " + shown + " " + root_.string() + " rw,relatime shared:9 - " + type +
           " cgroup " + options + "\n";
  }
  // The error says where a cgroup was tried: memory.stat isn't in the folder that was made.
  std::string Tried(const CgroupFiles& files) {
    const auto made = MemoryCgroup::Make(files);
    EXPECT_FALSE(made.ok());
    return made.status().message();
  }
  fs::path root_;
};

TEST_F(FakeHierarchy, NoControllerIsSaidSo) {
  EXPECT_NE(Tried({"0::/\n", Mount("tmpfs", "/", "rw")}).find("no memory controller"),
            std::string::npos);
}

TEST_F(FakeHierarchy, Version1IsAChildOfTheOwnCgroup) {
  fs::create_directories(root_ / "a/b");
  const CgroupFiles files{"4:cpu:/x\n3:memory:/a/b\n0::/\n", Mount("cgroup", "/", "rw,memory")};
  EXPECT_NE(Tried(files).find(root_.string() + "/a/b/zerrow-"), std::string::npos);
  EXPECT_TRUE(fs::is_empty(root_ / "a/b")) << "what couldn't be used was left behind";
}

TEST_F(FakeHierarchy, AContainerSeesOnlyItsPartOfTheHierarchy) {
  fs::create_directories(root_ / "b");
  const CgroupFiles files{"3:memory:/docker/id/b\n", Mount("cgroup", "/docker/id", "rw,memory")};
  EXPECT_NE(Tried(files).find(root_.string() + "/b/zerrow-"), std::string::npos);
}

TEST_F(FakeHierarchy, Version2IsASiblingWhereTheOwnCgroupHandsNothingDown) {
  Write("user/own/cgroup.subtree_control", "\n");
  Write("user/cgroup.subtree_control", "cpu memory pids\n");
  const CgroupFiles files{"0::/user/own\n", Mount("cgroup2", "/", "rw")};
  EXPECT_NE(Tried(files).find(root_.string() + "/user/zerrow-"), std::string::npos);
}

TEST_F(FakeHierarchy, Version2WithoutTheMemoryControllerIsNone) {
  Write("own/cgroup.subtree_control", "hugetlb\n");
  Write("cgroup.subtree_control", "hugetlb\n");
  EXPECT_NE(Tried({"0::/own\n", Mount("cgroup2", "/", "rw")}).find("no memory controller"),
            std::string::npos);
}

TEST_F(FakeHierarchy, TheLeastLimitAboveAProcessIsItsLimit) {
  Write("memory.max", "100\n");  // of the mount's root: counts in a container
  Write("user/memory.max", "7000\n");
  Write("user/memory.high", "max\n");
  Write("user/own/memory.max", "max\n");
  Write("user/own/memory.high", "6000\n");
  Write("user/other/memory.max", "1\n");
  EXPECT_EQ(MemoryLimitBytes({"0::/user/own\n", Mount("cgroup2", "/", "rw")}), 100);
  fs::remove(root_ / "memory.max");
  EXPECT_EQ(MemoryLimitBytes({"0::/user/own\n", Mount("cgroup2", "/", "rw")}), 6000);
  EXPECT_EQ(MemoryLimitBytes({"0::/user\n", Mount("cgroup2", "/", "rw")}), 7000);
  EXPECT_EQ(MemoryLimitBytes({"0::/\n", Mount("cgroup2", "/", "rw")}), std::nullopt);
}

TEST_F(FakeHierarchy, Version1TellsTheLimitOfAllThatAreAbove) {
  Write("own/memory.limit_in_bytes", "9223372036854771712\n");
  Write("own/memory.stat", "rss 5\nhierarchical_memory_limit 8000\ntotal_rss 5\n");
  Write("memory.stat", "hierarchical_memory_limit 9223372036854771712\n");
  const std::string mount = Mount("cgroup", "/", "rw,memory");
  EXPECT_EQ(MemoryLimitBytes({"3:memory:/own\n", mount}), 8000);
  EXPECT_EQ(MemoryLimitBytes({"3:memory:/nowhere\n", mount}), std::nullopt);
  EXPECT_EQ(MemoryLimitBytes({"3:cpu:/own\n", mount}), std::nullopt);
}

TEST_F(FakeHierarchy, WhatALimitedCgroupLeavesIsWithoutItsCacheOfFiles) {
  EXPECT_FALSE(RoomIn(root_).ok());
  Write("memory.max", "1000\n");
  Write("memory.high", "max\n");
  Write("memory.current", "700\n");
  Write("memory.stat", "anon 100\nfile 500\nshmem 200\n");
  EXPECT_EQ(RoomIn(root_).ValueOrDie(), 600);  // 100, 200 and 100 of the kernel's
  Write("memory.high", "500\n");
  EXPECT_EQ(RoomIn(root_).ValueOrDie(), 100);
  Write("first/memory.limit_in_bytes", "800\n");
  Write("first/memory.usage_in_bytes", "590\n");
  Write("first/memory.stat", "rss 1\ntotal_cache 500\ntotal_rss 100\ntotal_shmem 200\n");
  EXPECT_EQ(RoomIn(root_ / "first").ValueOrDie(), 500);
}

TEST_F(FakeHierarchy, PressureIsAShareOfTheTime) {
  Write("memory.pressure",
        "some avg10=12.50 avg60=1.00 avg300=0.00 total=7\nfull avg10=1.00 avg60=0 avg300=0 "
        "total=3\n");
  EXPECT_EQ(StalledShare(root_ / "memory.pressure"), 0.125);
  Write("memory.pressure", "some\n");
  EXPECT_EQ(StalledShare(root_ / "memory.pressure"), std::nullopt);
  EXPECT_EQ(StalledShare(root_ / "absent"), std::nullopt);
}

// What can't be lowered by giving cache up makes a cgroup full, and it is told how often that was.
TEST(MemoryCgroup, TellsThatSomebodyWaitsForRoom) {
  std::ifstream swaps("/proc/swaps");
  if (std::count(std::istreambuf_iterator<char>(swaps), {}, '\n') > 1) {
    GTEST_SKIP() << "there is swap space to make room with";
  }
  auto made = MemoryCgroup::Make();
  if (!made.ok()) GTEST_SKIP() << made.status().message();
  MemoryCgroup& cgroup = **made;
  constexpr int64_t kLimit = 32 << 20;
  ASSERT_TRUE(cgroup.Limit(kLimit).ok());
  EXPECT_FALSE(cgroup.IsFull());
  EXPECT_EQ(cgroup.TimesFull(), 0);
  const bool first = cgroup.version() == 1;
  int go[2];
  ASSERT_EQ(::pipe(go), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char told = 0;
    if (::read(go[0], &told, 1) != 1) ::_exit(1);
    // Version 2 would kill it at the limit.
    const std::vector<char> eaten(first ? 2 * kLimit : kLimit - kLimit / 64, 'x');
    ::pause();
    ::_exit(eaten[0]);
  }
  EXPECT_TRUE(cgroup.AddProcess(child).ok());
  EXPECT_EQ(::write(go[1], "x", 1), 1);
  for (int tries = 0; !cgroup.IsFull() && tries < 20'000; ++tries) ::usleep(1000);
  EXPECT_TRUE(cgroup.IsFull());
  if (first) {
    EXPECT_GT(cgroup.TimesFull(), 0);
  }
  EXPECT_GE(cgroup.Usage().ValueOrDie().all_bytes(), kLimit - kLimit / 16);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(go[0]);
  ::close(go[1]);
  EXPECT_FALSE(cgroup.IsFull());
}

TEST(UsableMemory, IsNoMoreThanTheMachineHas) {
  EXPECT_GT(UsableMemoryBytes(), 0);
  EXPECT_LE(UsableMemoryBytes(), base::MachineMemoryBytes());
}

TEST_F(FakeHierarchy, WhatKilledEnginesLeftIsRemoved) {
  const pid_t dead = ::fork();
  if (dead == 0) ::_exit(0);
  ::waitpid(dead, nullptr, 0);
  const std::string abandoned = "zerrow-" + std::to_string(dead) + "-0";
  const std::string living = "zerrow-" + std::to_string(::getppid()) + "-0";
  fs::create_directories(root_ / "own" / abandoned);
  fs::create_directories(root_ / "own" / living);
  Tried({"3:memory:/own\n", Mount("cgroup", "/", "rw,memory")});
  EXPECT_FALSE(fs::exists(root_ / "own" / abandoned));
  EXPECT_TRUE(fs::exists(root_ / "own" / living));
}

// A worker may be gone before its number is known; this process must not get there in its place.
TEST(MemoryCgroup, NoProcessIsNotThisProcess) {
  auto made = MemoryCgroup::Make();
  if (!made.ok()) GTEST_SKIP() << made.status().message();
  EXPECT_TRUE((*made)->AddProcess(0).IsInvalid());
  std::string members;
  std::ifstream((*made)->path() + "/cgroup.procs") >> members;
  EXPECT_EQ(members, "");
}

TEST(MemorySampler, IgnoresAProcessWithoutANumber) {
  auto sampler = MemorySampler::Make(nullptr);
  const std::string method = sampler.method();
  const std::string before = CgroupFiles::OfThisProcess().ValueOrDie().cgroup;
  sampler.AddProcess(0);
  EXPECT_EQ(CgroupFiles::OfThisProcess().ValueOrDie().cgroup, before);
  EXPECT_EQ(sampler.method(), method);
}

TEST(MemoryCgroup, IsRemovedWhenItsProcessesAreGone) {
  auto made = MemoryCgroup::Make();
  if (!made.ok()) GTEST_SKIP() << made.status().message();
  const std::string path = (*made)->path();
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  EXPECT_TRUE((*made)->AddProcess(child).ok());
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  made->reset();
  EXPECT_FALSE(fs::exists(path));
}

}  // namespace
}  // namespace zerrow::sandbox
