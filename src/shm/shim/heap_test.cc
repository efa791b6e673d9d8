#include "shm/shim/heap.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "shm/shim/heap_fixture.h"

namespace zerrow::shim {
namespace {

TEST_F(HeapTest, StartsOnceAndOnlyWithASocket) {
  const int other = ::dup(STDIN_FILENO);
  EXPECT_EQ(heap_->Start(other), EALREADY);
  EXPECT_EQ(::fcntl(other, F_GETFD), -1);  // it was ours to close
  Heap second;
  EXPECT_EQ(second.Start(::memfd_create("not a socket", 0)), EINVAL);
  EXPECT_FALSE(second.active());
  EXPECT_EQ(second.Allocate(kMiB, 16, false), nullptr);
}

TEST_F(HeapTest, MemoryIsTheChunksFile) {
  uint8_t* p = Allocate(kMiB);
  ASSERT_TRUE(heap_->Owns(p));
  std::memset(p, 42, kMiB);
  const auto ranges = List(/*partial=*/false);
  ASSERT_EQ(ranges.size(), 1U);
  EXPECT_EQ(ranges[0].size_bytes, kSlotBytes);
  EXPECT_EQ(ranges[0].address % kHugePageBytes, 0U);
  uint8_t byte = 0;
  ASSERT_TRUE(broker_->Read(ranges[0].segment, At(p) - ranges[0].address + kMiB - 1, &byte, 1));
  EXPECT_EQ(byte, 42);
  EXPECT_TRUE(heap_->Shareable(At(p), kMiB));
  EXPECT_FALSE(heap_->Shareable(At(p), 2 * kSlotBytes));
  heap_->Free(p);
}

TEST_F(HeapTest, LargeRequestsGetChunksOfTheirOwnThatComeBackOrAreReused) {
  uint8_t* p = Allocate(40 * kMiB);
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(heap_->stats().granted_bytes, 40 * kMiB);
  heap_->Free(p);
  EXPECT_EQ(Allocate(39 * kMiB), p);
  EXPECT_EQ(broker_->released(), 0U);
  uint8_t* huge = Allocate(600 * kMiB);
  heap_->Free(huge);
  EXPECT_EQ(heap_->stats().releases, 1U);
}

TEST_F(HeapTest, ZeroedMemoryIsZeroWhateverWasThereBefore) {
  for (const size_t size : {kMiB, 40 * kMiB, 600 * kMiB}) {
    uint8_t* p = Allocate(size);
    std::memset(p, 1, kMiB);
    std::memset(p + size - kPageBytes, 1, kPageBytes);
    heap_->Free(p);
    p = Allocate(size, /*zeroed=*/true);
    EXPECT_TRUE(AllZero(p, size)) << size;
    heap_->Free(p);
    p = Map(size);
    EXPECT_TRUE(AllZero(p, size)) << size;
    heap_->Unmap(At(p), size);
  }
}

TEST_F(HeapTest, WithoutChunksAllocationsAreRefusedAndLaterServedAgain) {
  broker_->set_refusing(true);
  EXPECT_EQ(Allocate(kMiB), nullptr);
  broker_->set_refusing(false);
  void* p = nullptr;
  for (int i = 0; i < 100 && p == nullptr; ++i) p = Allocate(kMiB);
  EXPECT_NE(p, nullptr);
  EXPECT_GT(heap_->stats().refused, 0U);
}

// Who asks for too much once, or for room to grow, is served what can be had.
TEST_F(HeapTest, ARefusalIsOfThatSizeOnly) {
  broker_->set_limit_bytes(100 * kMiB);
  EXPECT_EQ(Allocate(150 * kMiB), nullptr);
  EXPECT_NE(Allocate(60 * kMiB), nullptr);
  EXPECT_NE(heap_->Allocate(60 * kMiB, 16, false, /*headroom_bytes=*/60 * kMiB), nullptr);
  EXPECT_NE(Allocate(kMiB), nullptr);
}

// A program's limit on descriptors is for its own: chunks neither count nor take its numbers.
TEST_F(HeapTest, ChunksTakeNoDescriptorsFromTheProgram) {
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  for (int i = 0; i < 20; ++i) broker_->MakeFree(8 * kMiB);
  const int lowest = ::dup(STDIN_FILENO);
  const rlimit few = {static_cast<rlim_t>(lowest) + 2, before.rlim_max};
  if (few.rlim_cur + 100 > before.rlim_max) GTEST_SKIP() << "the hard limit is " << before.rlim_max;
  ::close(lowest);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  for (int i = 0; i < 20; ++i) EXPECT_NE(Allocate(8 * kMiB), nullptr);
  rlimit now = {};
  ::getrlimit(RLIMIT_NOFILE, &now);
  EXPECT_EQ(now.rlim_cur, few.rlim_cur);
  const int next = ::dup(STDIN_FILENO);
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_GE(next, 0);
  ::close(next);
}

TEST_F(HeapTest, GrowsInPlaceWithHeadroomAndShrinks) {
  auto* p = static_cast<uint8_t*>(heap_->Allocate(kMiB, 16, false, kMiB));
  uint8_t* after = Allocate(kMiB);
  EXPECT_EQ(heap_->UsableBytes(p), kMiB);
  EXPECT_TRUE(heap_->ResizeInPlace(p, 2 * kMiB));
  EXPECT_EQ(heap_->UsableBytes(p), 2 * kMiB);
  EXPECT_FALSE(heap_->ResizeInPlace(p, 3 * kMiB));
  EXPECT_TRUE(heap_->ResizeInPlace(p, kMiB / 2));
  EXPECT_EQ(Allocate(kMiB), p + kMiB / 2);
  heap_->Free(after);
}

TEST_F(HeapTest, DiscardedMemoryIsZero) {
  for (const size_t size : {2 * kPageBytes, 3 * kMiB}) {
    uint8_t* p = Map(4 * kMiB);
    std::memset(p, 7, 4 * kMiB);
    EXPECT_EQ(heap_->Advise(At(p) + kPageBytes, size, MADV_DONTNEED), 0);
    EXPECT_EQ(p[kPageBytes - 1], 7);
    EXPECT_TRUE(AllZero(p + kPageBytes, size));
    EXPECT_EQ(p[kPageBytes + size], 7);
  }
}

TEST_F(HeapTest, ProtectedMemoryCanBeDiscardedAndReused) {
  uint8_t* p = Map(kMiB);
  std::memset(p, 7, kMiB);
  ASSERT_EQ(heap_->Protect(At(p), 2 * kPageBytes, PROT_NONE), 0);
  EXPECT_EQ(heap_->Advise(At(p), kMiB / 2, MADV_DONTNEED), 0);
  ASSERT_EQ(heap_->Protect(At(p), 2 * kPageBytes, PROT_READ), 0);
  EXPECT_TRUE(AllZero(p, kMiB / 2));
  heap_->Unmap(At(p), kMiB);
  uint8_t* again = Allocate(kMiB);
  EXPECT_EQ(again, p);
  std::memset(again, 1, kMiB);
}

// Neither the mapping's protection nor a lock on it, of which the heap needn't know, matter for
// giving pages back.
TEST_F(HeapTest, WhatCannotBeWrittenIsGivenBackByTheFile) {
  uint8_t* p = Map(4 * kMiB);
  std::memset(p, 7, 4 * kMiB);
  ASSERT_EQ(::mlock(p, 2 * kPageBytes), 0);
  ASSERT_EQ(heap_->Protect(At(p), 4 * kMiB, PROT_NONE), 0);
  const uint64_t punched = heap_->stats().punched_bytes;
  ASSERT_EQ(heap_->Advise(At(p), kMiB, MADV_DONTNEED), 0);
  EXPECT_EQ(heap_->stats().punched_bytes, punched + kMiB);
  ASSERT_EQ(heap_->Protect(At(p), 4 * kMiB, PROT_READ), 0);
  EXPECT_TRUE(AllZero(p, kMiB));
  EXPECT_EQ(p[kMiB], 7);
}

TEST_F(HeapTest, UnmappingTwiceCountsOnce) {
  uint8_t* first = Map(40 * kMiB);
  uint8_t* second = Map(40 * kMiB);
  for (int i = 0; i < 20; ++i) heap_->Unmap(At(first), 40 * kMiB);
  heap_->Unmap(At(second), 40 * kMiB);
  EXPECT_EQ(heap_->stats().releases, 0U);
  EXPECT_EQ(Map(40 * kMiB), first);
  EXPECT_EQ(Map(40 * kMiB), second);
}

TEST_F(HeapTest, MappingsCannotGrowBeyondAllAddresses) {
  uint8_t* p = Map(kMiB);
  p[kMiB - 1] = 7;
  for (const size_t size :
       {SIZE_MAX, SIZE_MAX - kPageBytes + 1, SIZE_MAX - At(p), size_t{1} << 62}) {
    EXPECT_FALSE(heap_->GrowMapping(At(p), kMiB, size));
    EXPECT_EQ(heap_->Protect(At(p), size, PROT_NONE), ENOMEM);
  }
  EXPECT_EQ(heap_->Protect(At(p), kMiB, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(p[kMiB - 1], 7);
}

// A mapping that the kernel can't make leaves the memory what it was.
TEST_F(HeapTest, AFailedMappingOverItChangesNothing) {
  uint8_t* p = Map(kMiB);
  std::memset(p, 7, kMiB);
  EXPECT_EQ(heap_->MapFixed(At(p), kPageBytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, -1, 0), EBADF);
  EXPECT_TRUE(heap_->Shareable(At(p), kMiB));
  ASSERT_EQ(heap_->Advise(At(p), kMiB, MADV_DONTNEED), 0);
  EXPECT_TRUE(AllZero(p, kMiB));
}

TEST_F(HeapTest, AHoleCanBeFilledAgain) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;
  uint8_t* p = Map(kMiB);
  std::memset(p, 7, kMiB);
  heap_->Unmap(At(p) + kGranuleBytes, 3 * kGranuleBytes);
  const uintptr_t hole = At(p) + 2 * kGranuleBytes + kPageBytes;
  EXPECT_EQ(heap_->MapFixed(hole, kPageBytes, PROT_READ | PROT_WRITE, kFlags | MAP_FIXED, -1, 0),
            0);
  EXPECT_TRUE(AllZero(reinterpret_cast<uint8_t*>(hole), kPageBytes));
  EXPECT_EQ(heap_->MapFixed(hole, kPageBytes, PROT_READ | PROT_WRITE, kFlags | MAP_FIXED_NOREPLACE,
                            -1, 0),
            EEXIST);
  uint8_t* other = Map(kMiB);
  EXPECT_NE(RoundDown(At(other), kGranuleBytes), RoundDown(hole, kGranuleBytes));
  heap_->Unmap(hole, kPageBytes);
  heap_->Unmap(At(p), kMiB);
  heap_->Unmap(At(other), kMiB);
  EXPECT_EQ(Map(kMiB), p);
}

TEST_F(HeapTest, CodeCanBeExecutedWhereItWasWritten) {
  constexpr uint8_t kReturn42[] = {0xb8, 42, 0, 0, 0, 0xc3};  // mov eax, 42; ret
  uint8_t* p = Map(kMiB);
  std::memcpy(p, kReturn42, sizeof(kReturn42));
  ASSERT_EQ(heap_->Protect(At(p), kMiB, PROT_READ | PROT_EXEC), 0);
  EXPECT_EQ(reinterpret_cast<int (*)()>(p)(), 42);
}

// Whoever gets memory next must find it as if it were new.
TEST_F(HeapTest, AdviceEndsWithTheMapping) {
  uint8_t* p = Map(kMiB);
  std::memset(p, 7, kMiB);
  ASSERT_EQ(heap_->Advise(At(p), kMiB, MADV_WIPEONFORK), 0);
  ASSERT_EQ(heap_->Advise(At(p), kPageBytes, MADV_DONTFORK), 0);
  ASSERT_EQ(heap_->SetLocked(At(p), 4 * kPageBytes, /*locked=*/true), 0);
  EXPECT_EQ(heap_->Advise(At(p), kMiB, MADV_DONTNEED), EINVAL);  // locked
  heap_->Unmap(At(p), kMiB);
  uint8_t* again = Allocate(kMiB);
  ASSERT_EQ(again, p);
  EXPECT_EQ(heap_->Advise(At(p), kMiB, MADV_DONTNEED), 0);
  std::memset(p, 8, kMiB);
  EXPECT_EQ(::madvise(p, kPageBytes, MADV_COLD), 0);  // EINVAL for what is locked
  EXPECT_TRUE(heap_->Shareable(At(p), kMiB));
}

TEST_F(HeapTest, AMappingOverItIsNotShareableUntilItIsGone) {
  uint8_t* p = Map(kMiB);
  const int file = ::memfd_create("over", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(file, kPageBytes), 0);
  ASSERT_EQ(::pwrite(file, "file", 4, 0), 4);
  ASSERT_EQ(
      heap_->MapFixed(At(p) + kPageBytes, kPageBytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0),
      0);
  EXPECT_EQ(std::memcmp(p + kPageBytes, "file", 4), 0);
  EXPECT_EQ(List(/*partial=*/false).size(), 0U);
  EXPECT_EQ(List(/*partial=*/true).size(), 1U);
  EXPECT_TRUE(heap_->Shareable(At(p), kPageBytes));
  EXPECT_FALSE(heap_->Shareable(At(p), 2 * kPageBytes));
  heap_->Unmap(At(p), kMiB);
  EXPECT_EQ(List(/*partial=*/false).size(), 1U);
  uint8_t* again = Allocate(kMiB);
  ASSERT_EQ(again, p);
  std::memset(again, 9, kMiB);
  EXPECT_TRUE(heap_->Shareable(At(p), kMiB));
  ::close(file);
}

TEST_F(HeapTest, MappingAnonymousMemoryOverItClearsIt) {
  uint8_t* p = Map(kMiB);
  std::memset(p, 7, kMiB);
  ASSERT_EQ(heap_->MapFixed(At(p), kMiB / 2, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            0);
  EXPECT_TRUE(AllZero(p, kMiB / 2));
  EXPECT_EQ(p[kMiB / 2], 7);
  EXPECT_TRUE(heap_->Shareable(At(p), kMiB));
}

// Many buffers in chunks that they share, of which few are left.
class HeapKeepTest : public HeapTest {
 protected:
  static constexpr size_t kCount = 600;

  std::vector<uint8_t*> AllocateMany() {
    std::vector<uint8_t*> buffers;
    for (size_t i = 0; i < kCount; ++i) {
      buffers.push_back(Allocate(kMiB));
      std::memset(buffers.back(), 1, kMiB);
    }
    return buffers;
  }
  // RELEASE has no answer, but a request is answered after it.
  size_t BackedBytes() {
    heap_->Free(Allocate(100 * kMiB));
    return broker_->backed_bytes();
  }
  size_t GivenBackBytes() {
    return heap_->stats().punched_bytes + broker_->released() * kSlotBytes;
  }
};

TEST_F(HeapKeepTest, WhatIsFreedGoesBackWhereverItLies) {
  // All over the chunks, only at the end, only at the begin.
  const auto is_kept = {+[](size_t i) { return i % 30 == 7; }, +[](size_t i) { return i >= 580; },
                        +[](size_t i) { return i < 20; }};
  for (const auto keep : is_kept) {
    const std::vector<uint8_t*> buffers = AllocateMany();
    for (size_t i = 0; i < kCount; ++i) {
      if (!keep(i)) heap_->Free(buffers[i]);
    }
    EXPECT_LT(BackedBytes(), kKeepAtFirstBytes + 80 * kMiB);
    for (size_t i = 0; i < kCount; ++i) {
      if (!keep(i)) continue;
      EXPECT_EQ(buffers[i][0] + buffers[i][kMiB - 1], 2) << i;
      heap_->Free(buffers[i]);
    }
    GiveBackRange();
    heap_ = std::make_unique<Heap>();
    broker_ = std::make_unique<TestBroker>();
    heap_->Start(broker_->TakeSocket());
  }
}

TEST_F(HeapKeepTest, WhatWasGivenBackReadsAsZeros) {
  std::vector<uint8_t*> buffers = AllocateMany();
  for (size_t i = 1; i < kCount; ++i) heap_->Free(buffers[i]);
  for (size_t i = 1; i < kCount; ++i) {
    buffers[i] = Allocate(kMiB, /*zeroed=*/true);
    ASSERT_TRUE(AllZero(buffers[i], kMiB)) << i;
  }
  EXPECT_EQ(buffers[0][0], 1);
}

// Fresh pages are dear: a program that wants its memory back pays for it once.
TEST_F(HeapKeepTest, WhatIsWantedAgainIsKept) {
  size_t given_back = 0;
  for (int round = 0; round < 6; ++round) {
    const std::vector<uint8_t*> buffers = AllocateMany();
    const size_t before = GivenBackBytes();
    for (size_t i = 0; i < 450; ++i) heap_->Free(buffers[i * 4 / 3]);
    given_back = GivenBackBytes() - before;
    for (size_t i = 0; i < kCount; ++i) {
      if (i % 4 == 3) heap_->Free(buffers[i]);
    }
    if (round == 0) {
      EXPECT_GT(given_back, 100 * kMiB);
    }
  }
  EXPECT_EQ(given_back, 0U);
}

}  // namespace
}  // namespace zerrow::shim
