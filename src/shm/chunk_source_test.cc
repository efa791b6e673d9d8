#include "shm/chunk_source.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "base/mapping.h"
#include "shm/capabilities.h"
#include "shm/file_hold.h"
#include "shm/private_tmpfs.h"
#include "shm/test_worker.h"

namespace zerrow::shm {
namespace {

// In a process with neither privileges nor the right to make user namespaces. False: this machine
// doesn't let us build one.
bool DropRights() {
  if (::unshare(CLONE_NEWUSER) != 0) return false;
  // This limit is per user namespace, so it touches nobody else.
  const base::UniqueFd limit(::open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC));
  if (!limit.valid() || !base::WriteAll(limit.get(), "0").ok()) return false;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  return ::syscall(SYS_capset, &header, none) == 0;
}

constexpr int kCannotTry = 77;

TEST(TmpfsSource, WithoutRightsItIsRefusedWithAReason) {
  TestProcess process([] {
    if (!DropRights()) return kCannotTry;
    const auto source = MakeTmpfsSource();
    if (source.ok()) return 1;
    return source.status().message().starts_with("making a mount namespace") ? 0 : 2;
  });
  const int code = process.Wait();
  if (code == kCannotTry) GTEST_SKIP() << "rights can't be dropped here";
  EXPECT_EQ(code, 0);
}

TEST(Probe, WithoutRightsSaysWhatIsMissing) {
  TestProcess process([] {
    if (!DropRights()) return kCannotTry;
    const Capabilities found = Probe();
    const bool right = found.memfd_sealing.available && !found.private_tmpfs.available &&
                       !found.user_namespace.available && !found.pid_namespace.available &&
                       !found.mount_namespace.available && !found.private_tmpfs.detail.empty();
    return right ? 0 : 1;
  });
  const int code = process.Wait();
  if (code == kCannotTry) GTEST_SKIP() << "rights can't be dropped here";
  EXPECT_EQ(code, 0);
}

TEST(Probe, AgreesWithWhatCanBeMadeAndLeavesNothing) {
  const int fds = CountOpenFds();
  const Capabilities found = Probe();
  EXPECT_EQ(CountOpenFds(), fds);
  EXPECT_EQ(found.private_tmpfs.available, MakeTmpfsSource().ok());
  EXPECT_TRUE(found.memfd_sealing.available) << found.memfd_sealing.detail;
  for (const Capability& each :
       {found.memfd_sealing, found.private_tmpfs, found.huge_pages, found.user_namespace,
        found.pid_namespace, found.mount_namespace}) {
    EXPECT_FALSE(each.detail.empty());
  }
}

TEST(PrivateTmpfs, StaysUsableWhenItsNamespaceIsGone) {
  const auto tmpfs = MountPrivateTmpfs();
  if (!tmpfs.ok()) GTEST_SKIP() << tmpfs.status().message();
  // The helper is reaped; only the two directories hold the file system.
  const base::UniqueFd file(
      ::openat(tmpfs->writable_dir.get(), "f", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_TRUE(file.valid()) << std::strerror(errno);
  ASSERT_TRUE(base::WriteAll(file.get(), "text").ok());
  const base::UniqueFd readable(::openat(tmpfs->read_only_dir.get(), "f", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(readable.valid()) << std::strerror(errno);
  EXPECT_EQ(base::ReadAll(readable.get(), 100).ValueOrDie(), "text");
  EXPECT_LT(::openat(tmpfs->read_only_dir.get(), "f", O_RDWR | O_CLOEXEC), 0);
  EXPECT_EQ(errno, EROFS);
  EXPECT_LT(::openat(tmpfs->read_only_dir.get(), "g", O_RDWR | O_CREAT | O_CLOEXEC, 0600), 0);
  EXPECT_EQ(errno, EROFS);
}

// A producer's memory is where it allocates, and what it generates at run time is run from there.
TEST(TmpfsSource, CodeRunsWhereItIsWrittenButNotFromWhatIsPublished) {
  const auto source = MakeTmpfsSource();
  if (!source.ok()) GTEST_SKIP() << source.status().message();
  Chunk chunk = (*source)->Make(4096).ValueOrDie();
  {
    constexpr uint8_t kReturn42[] = {0xb8, 42, 0, 0, 0, 0xc3};  // mov eax, 42; ret
    const auto fd = (*source)->OpenForWriting(chunk).ValueOrDie();
    void* p = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    ASSERT_NE(p, MAP_FAILED);
    std::memcpy(p, kReturn42, sizeof(kReturn42));
    ASSERT_EQ(::mprotect(p, 4096, PROT_READ | PROT_EXEC), 0) << std::strerror(errno);
    EXPECT_EQ(reinterpret_cast<int (*)()>(p)(), 42);
    ::munmap(p, 4096);
  }
  const auto reader = (*source)->Freeze(chunk).ValueOrDie();
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, reader.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EPERM);
  void* p = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, reader.get(), 0);
  ASSERT_NE(p, MAP_FAILED);
  EXPECT_EQ(::mprotect(p, 4096, PROT_READ | PROT_EXEC), -1);
  EXPECT_EQ(errno, EACCES);
  ::munmap(p, 4096);
}

class FileHold : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) {
      auto tmpfs = MakeTmpfsSource();
      if (!tmpfs.ok()) GTEST_SKIP() << tmpfs.status().message();
      source_ = std::move(*tmpfs);
    } else {
      source_ = MakeMemfdSource();
    }
    chunk_ = source_->Make(1 << 20).ValueOrDie();
  }
  bool HasWriters() {
    const auto fd = Reopen(chunk_.writable.get(), O_RDONLY).ValueOrDie();
    return !CheckNoWriters(fd.get()).ok();
  }
  bool HasUsers() {
    const auto fd = Reopen(chunk_.writable.get(), O_RDWR).ValueOrDie();
    return !CheckNoOtherUsers(fd.get()).ok();
  }
  std::unique_ptr<ChunkSource> source_;
  Chunk chunk_;
};

TEST_P(FileHold, SeesEveryKindOfHolder) {
  using base::Mapping;
  EXPECT_FALSE(HasWriters());
  EXPECT_FALSE(HasUsers());
  auto fd = source_->OpenForWriting(chunk_).ValueOrDie();
  EXPECT_TRUE(HasWriters());
  EXPECT_TRUE(HasUsers());
  auto mapping = Mapping::Map(fd.get(), 4096, Mapping::Access::kReadWrite).ValueOrDie();
  fd.reset();
  EXPECT_TRUE(HasWriters());
  mapping = Mapping();
  EXPECT_FALSE(HasWriters());
  EXPECT_FALSE(HasUsers());
  fd = Reopen(chunk_.writable.get(), O_RDONLY).ValueOrDie();
  EXPECT_FALSE(HasWriters());
  EXPECT_TRUE(HasUsers());
  mapping = Mapping::Map(fd.get(), 4096, Mapping::Access::kReadOnly).ValueOrDie();
  fd.reset();
  EXPECT_TRUE(HasUsers());
  mapping = Mapping();
  EXPECT_FALSE(HasUsers());
}

TEST_P(FileHold, ALeaseThatSomebodyKeepsRefusesAtOnce) {
  const auto reader = Reopen(chunk_.writable.get(), O_RDONLY).ValueOrDie();
  struct sigaction ignore {
  }, before{};
  ignore.sa_handler = SIG_IGN;  // the kernel asks for the lease back by a signal
  ::sigaction(SIGIO, &ignore, &before);
  ASSERT_EQ(::fcntl(reader.get(), F_SETLEASE, F_RDLCK), 0);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(source_->Reclaim(chunk_).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  ::fcntl(reader.get(), F_SETLEASE, F_UNLCK);
  ::sigaction(SIGIO, &before, nullptr);
}

INSTANTIATE_TEST_SUITE_P(Sources, FileHold, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "tmpfs" : "memfd"; });

}  // namespace
}  // namespace zerrow::shm
