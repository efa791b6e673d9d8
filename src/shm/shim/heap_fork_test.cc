// The heap in forked children.
#include <sys/wait.h>

#include <cstring>
#include <vector>

#include "shm/shim/heap_fixture.h"

namespace zerrow::shim {
namespace {

// What fork() does through the handlers, done by hand: this heap isn't the process's allocator.
class HeapForkTest : public HeapTest {
 protected:
  /// Runs `child` in a forked child; true if it returned true.
  template <typename Child>
  bool Fork(Child child) {
    heap_->PrepareFork();
    const pid_t pid = ::fork();
    if (pid == 0) {
      heap_->AfterForkInChild();
      ::_exit(child() ? 0 : 1);
    }
    heap_->AfterForkInParent();
    int status = -1;
    ::waitpid(pid, &status, 0);
    return status == 0;
  }
};

TEST_F(HeapForkTest, ParentAndChildDoNotSeeEachOthersWrites) {
  uint8_t* p = Allocate(kMiB);
  std::memset(p, 1, kMiB);
  int ends[2] = {};
  ASSERT_EQ(::pipe(ends), 0);
  EXPECT_TRUE(Fork([&] {
    const bool snapshot = p[0] == 1 && p[kMiB - 1] == 1;
    std::memset(p, 2, kMiB);
    return snapshot && !heap_->active() && Allocate(kMiB) == nullptr;
  }));
  EXPECT_EQ(p[0], 1);
  p[0] = 3;
  EXPECT_TRUE(Fork([&] { return p[0] == 3 && p[1] == 1; }));
  heap_->Free(p);
}

TEST_F(HeapForkTest, OnlyUntouchedPagesOfARetiredChunkAreShareable) {
  uint8_t* p = Allocate(kMiB);
  std::memset(p, 1, kMiB);
  ASSERT_TRUE(Fork([] { return true; }));
  EXPECT_EQ(List(/*partial=*/false).size(), 0U);
  EXPECT_EQ(List(/*partial=*/true).size(), 1U);
  EXPECT_TRUE(heap_->Shareable(At(p), kMiB));
  EXPECT_EQ(p[kMiB - 1], 1);  // present, and still the file's
  EXPECT_TRUE(heap_->Shareable(At(p), kMiB));
  p[kMiB - 1] = 2;
  EXPECT_FALSE(heap_->Shareable(At(p), kMiB));
  EXPECT_TRUE(heap_->Shareable(At(p), kMiB - kPageBytes));
}

TEST_F(HeapForkTest, NewMemoryComesFromNewChunks) {
  uint8_t* before = Allocate(kMiB);
  ASSERT_TRUE(Fork([] { return true; }));
  uint8_t* after = Allocate(kMiB);
  EXPECT_FALSE(heap_->ResizeInPlace(before, 2 * kMiB));
  const auto ranges = List(/*partial=*/false);
  ASSERT_EQ(ranges.size(), 1U);
  EXPECT_EQ(ranges[0].address, RoundDown(At(after), kSlotBytes));
  heap_->Free(before);
  EXPECT_EQ(List(/*partial=*/true).size(), 0U);
  EXPECT_EQ(broker_->released(), 0U);  // the child could still have been reading it
}

TEST_F(HeapForkTest, RetiredMemoryDiscardsToZeroAndKeepsItsProtection) {
  uint8_t* p = Map(kMiB);
  std::memset(p, 7, kMiB);
  ASSERT_EQ(heap_->Protect(At(p), kPageBytes, PROT_READ), 0);
  ASSERT_TRUE(Fork([&] {
    EXPECT_EQ(heap_->Advise(At(p) + kPageBytes, kMiB / 2, MADV_DONTNEED), 0);
    return p[0] == 7 && AllZero(p + kPageBytes, kMiB / 2) && p[kMiB - 1] == 7;
  }));
  EXPECT_EQ(p[kPageBytes], 7);
  EXPECT_EQ(heap_->Advise(At(p), kMiB / 2, MADV_DONTNEED), 0);
  EXPECT_TRUE(AllZero(p, kMiB / 2));
  EXPECT_FALSE(heap_->Shareable(At(p), kPageBytes));
  const int zeros = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(::read(zeros, p, 1), -1);
  EXPECT_EQ(errno, EFAULT);
  ::close(zeros);
  heap_->Unmap(At(p), kMiB);
}

TEST_F(HeapForkTest, AdviceAboutForksHolds) {
  uint8_t* p = Map(kMiB);
  uint8_t* wiped = p + kPageBytes;
  std::memset(p, 7, kMiB);
  ASSERT_EQ(heap_->Advise(At(p), kPageBytes, MADV_DONTFORK), 0);
  ASSERT_EQ(heap_->Advise(At(wiped), kPageBytes, MADV_WIPEONFORK), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(Fork([&] {
      const int zeros = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
      const bool gone = ::read(zeros, p, 1) == -1 && errno == EFAULT;
      const bool zero = AllZero(wiped, kPageBytes) && wiped[kPageBytes] == 7;
      wiped[0] = 1;
      return gone && zero && Fork([&] { return wiped[0] == 0; });
    }));
  }
  EXPECT_EQ(p[0] + wiped[0], 14);
  ASSERT_EQ(heap_->Advise(At(wiped), kPageBytes, MADV_KEEPONFORK), 0);
  EXPECT_TRUE(Fork([&] { return wiped[0] == 7; }));
}

// Other threads may execute what is being retired.
TEST_F(HeapForkTest, CodeStaysExecutable) {
  constexpr uint8_t kReturn42[] = {0xb8, 42, 0, 0, 0, 0xc3};  // mov eax, 42; ret
  uint8_t* p = Map(kMiB);
  std::memcpy(p, kReturn42, sizeof(kReturn42));
  ASSERT_EQ(heap_->Protect(At(p), kPageBytes, PROT_READ | PROT_EXEC), 0);
  std::atomic<bool> stop = false;
  std::thread thread([&] {
    while (!stop) EXPECT_EQ(reinterpret_cast<int (*)()>(p)(), 42);
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(Fork([&] { return reinterpret_cast<int (*)()>(p)() == 42; }));
  }
  stop = true;
  thread.join();
}

TEST_F(HeapForkTest, ClosedDescriptorsAreNoticed) {
  uint8_t* p = Allocate(kMiB);
  std::memset(p, 1, kMiB);
  for (int fd = 512; fd < 5000; ++fd) ::close(fd);
  EXPECT_TRUE(Fork([&] {
    p[0] = 2;
    return p[1] == 1;
  }));
  EXPECT_EQ(p[0], 1);
  EXPECT_FALSE(heap_->Shareable(At(p), kMiB));
  EXPECT_EQ(Allocate(kMiB), nullptr);  // the broker's socket was closed as well
}

}  // namespace
}  // namespace zerrow::shim
