#include "shm/spill_folder.h"

#include <fcntl.h>

#include "shm/test_folder.h"
#include "shm/test_worker.h"

namespace zerrow::shm {
namespace {

namespace fs = std::filesystem;

TEST(SpillFolder, IsMadeForThisUserAlone) {
  const TestFolder directory;
  const std::string path = directory.path() + "/a/b";
  ASSERT_TRUE(SpillFolder::Make(path).ok());
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_all);
  ASSERT_TRUE(SpillFolder::Make(path).ok()) << "it may be there";
}

TEST(SpillFolder, WhatCannotBeUsedIsRefused) {
  const TestFolder directory;
  const std::string file = directory.path() + "/file";
  ASSERT_TRUE(base::UniqueFd(::open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)).valid());
  const auto refused = SpillFolder::Make(file).status();
  EXPECT_TRUE(refused.IsIOError()) << refused;
  EXPECT_NE(refused.message().find(file), std::string::npos) << refused;
  SpillOptions options;
  options.limit_bytes = -1;
  EXPECT_TRUE(SpillFolder::Make(directory.path(), options).status().IsInvalid());
}

// Mounts it in a namespace of its own, and returns what came of making the folder there.
int TryMounted(const std::string& path, const std::function<bool()>& mount) {
  TestProcess process([&] {
    if (!LeaveMounts() || !mount()) return kSkip;
    const auto status = SpillFolder::Make(path + "/spill").status();
    if (status.ok()) return 1;
    return status.IsInvalid() && status.message().find("memory") != std::string::npos ? 0 : 2;
  });
  return process.Wait();
}

TEST(SpillFolder, MemoryIsRefused) {
  const TestFolder directory;
  const std::string path = directory.path();
  for (const char* type : {"tmpfs", "ramfs"}) {
    const int code =
        TryMounted(path, [&] { return ::mount(type, path.c_str(), type, 0, nullptr) == 0; });
    if (code == kSkip) GTEST_SKIP() << "nothing may be mounted here";
    EXPECT_EQ(code, 0) << type;
  }
  const int code = TryMounted(path, [&] {
    if (::mount("tmpfs", path.c_str(), "tmpfs", 0, nullptr) != 0) return false;
    for (const char* part : {"/lower", "/upper", "/work"}) fs::create_directory(path + part);
    const std::string options =
        "lowerdir=" + path + "/lower,upperdir=" + path + "/upper,workdir=" + path + "/work";
    fs::create_directory(path + "/spill");
    return ::mount("overlay", (path + "/spill").c_str(), "overlay", 0, options.c_str()) == 0;
  });
  if (code == kSkip) GTEST_SKIP() << "no overlay may be mounted here";
  EXPECT_EQ(code, 0) << "an overlay on it";
}

}  // namespace
}  // namespace zerrow::shm
