// Random calls of the malloc family, in several threads, that also pass blocks to each other.
#include <gtest/gtest.h>
#include <malloc.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "shm/shim/preload_test.h"

namespace zerrow::shim {
namespace {

constexpr size_t kStride = 1024;  // one word in so many bytes is written and compared
constexpr size_t kLarge = 64 << 10;
constexpr size_t kLargest = size_t{48} << 20;

struct Block {
  uint8_t* p;
  size_t size;
  uint64_t stamp;
};

uint64_t WordAt(uint64_t stamp, size_t offset) { return (stamp + offset) * 0x9E3779B97F4A7C15U; }

void Fill(const Block& block) {
  for (size_t at = 0; at + sizeof(uint64_t) <= block.size; at += kStride) {
    const uint64_t word = WordAt(block.stamp, at);
    std::memcpy(block.p + at, &word, sizeof(word));
  }
  block.p[block.size - 1] = static_cast<uint8_t>(block.stamp);
}

bool Holds(const Block& block, size_t size) {
  for (size_t at = 0; at + sizeof(uint64_t) <= size; at += kStride) {
    uint64_t word = 0;
    std::memcpy(&word, block.p + at, sizeof(word));
    // The last byte of a block, which may lie in a word, was written on top.
    if (at + sizeof(word) < block.size && word != WordAt(block.stamp, at)) return false;
  }
  return size < block.size || block.p[size - 1] == static_cast<uint8_t>(block.stamp);
}

bool IsZero(const Block& block) {
  for (size_t at = 0; at < block.size; at += 64) {
    if (block.p[at] != 0) return false;
  }
  return block.p[block.size - 1] == 0;
}

class Mailbox {
 public:
  void Put(const Block& block) {
    const std::lock_guard lock(mutex_);
    blocks_.push_back(block);
  }
  bool Take(Block* block) {
    const std::lock_guard lock(mutex_);
    if (blocks_.empty()) return false;
    *block = blocks_.back();
    blocks_.pop_back();
    return true;
  }

 private:
  std::mutex mutex_;
  std::vector<Block> blocks_;
};

class Player {
 public:
  Player(uint32_t seed, Mailbox* mailbox)
      : random_(seed), mailbox_(mailbox), stamp_(uint64_t{seed} << 32) {}
  ~Player() {
    for (const Block& block : blocks_) std::free(block.p);
  }

  void Step() {
    const size_t choice = random_.Below(12);
    if (blocks_.empty() || (choice < 5 && held_ < kMostHeld)) {
      Allocate();
    } else if (choice < 8) {
      Resize();
    } else if (choice < 10) {
      const Block block = TakeOne();
      EXPECT_TRUE(Holds(block, block.size));
      std::free(block.p);
    } else if (choice == 10) {
      mailbox_->Put(TakeOne());
    } else {
      Block block = {};
      if (mailbox_->Take(&block)) Keep(block);
    }
  }

 private:
  static constexpr size_t kMostHeld = size_t{160} << 20;

  size_t SomeSize() { return random_.Size(1 << 10, random_.Below(8) == 0 ? kLargest : 1 << 20); }

  void Keep(const Block& block) {
    EXPECT_TRUE(Holds(block, block.size));
    blocks_.push_back(block);
    held_ += block.size;
  }

  Block TakeOne() {
    const size_t index = random_.Below(blocks_.size());
    const Block block = blocks_[index];
    blocks_[index] = blocks_.back();
    blocks_.pop_back();
    held_ -= block.size;
    return block;
  }

  void Allocate() {
    Block block = {nullptr, SomeSize(), ++stamp_};
    size_t alignment = alignof(std::max_align_t);
    errno = 12345;
    switch (random_.Below(4)) {
      case 0:
        block.p = static_cast<uint8_t*>(std::malloc(block.size));
        break;
      case 1:
        block.p = static_cast<uint8_t*>(std::calloc(block.size, 1));
        ASSERT_TRUE(IsZero(block));
        break;
      case 2: {
        alignment = size_t{8} << random_.Below(20);
        void* p = nullptr;
        ASSERT_EQ(::posix_memalign(&p, alignment, block.size), 0);
        block.p = static_cast<uint8_t*>(p);
        break;
      }
      default:
        alignment = size_t{16} << random_.Below(8);
        block.p = static_cast<uint8_t*>(::memalign(alignment, block.size));
    }
    ASSERT_NE(block.p, nullptr);
    ASSERT_TRUE(!Preloaded() || block.size < kLarge || errno == 12345);  // glibc's may change it
    ASSERT_EQ(reinterpret_cast<uintptr_t>(block.p) % alignment, 0U);
    ASSERT_GE(::malloc_usable_size(block.p), block.size);
    Fill(block);
    Keep(block);
  }

  void Resize() {
    Block block = TakeOne();
    const size_t kept = block.size;
    // Growing by a little, as a string or a builder does, shrinking, and jumping.
    const size_t sizes[] = {block.size + block.size / 8 + 1, block.size / 2 + 1, SomeSize()};
    const size_t size = std::min(sizes[random_.Below(3)], kLargest);
    auto* p = static_cast<uint8_t*>(::reallocarray(block.p, size, 1));
    ASSERT_NE(p, nullptr);
    block.p = p;
    ASSERT_TRUE(Holds(block, std::min(kept, size)));
    block.size = size;
    block.stamp = ++stamp_;
    Fill(block);
    Keep(block);
  }

  Random random_;
  Mailbox* mailbox_;
  uint64_t stamp_;
  size_t held_ = 0;
  std::vector<Block> blocks_;
};

class PreloadMalloc : public ::testing::TestWithParam<uint32_t> {};

TEST_P(PreloadMalloc, BlocksKeepTheirBytes) {
  const zerrow_shim_stats before = Stats();
  Mailbox mailbox;
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < 3; ++i) {
    threads.emplace_back([&mailbox, i] {
      Player player(GetParam() * 3 + i, &mailbox);
      for (int step = 0; step < 400 * Scale() && !HasFatalFailure(); ++step) player.Step();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (Block block; mailbox.Take(&block);) std::free(block.p);
  if (Preloaded()) {
    EXPECT_GT(Stats().allocations, before.allocations + 100);
    EXPECT_EQ(Stats().refused, before.refused);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PreloadMalloc, ::testing::Range(0U, 4U));

TEST(PreloadMalloc, RefusesWhatCannotBe) {
  const volatile size_t huge = SIZE_MAX / 2;
  void* p = nullptr;
  EXPECT_EQ(std::malloc(huge), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  EXPECT_EQ(std::calloc(huge, 4), nullptr);
  EXPECT_EQ(::reallocarray(nullptr, huge, 4), nullptr);
  EXPECT_EQ(::posix_memalign(&p, 24, 1 << 20), EINVAL);
  EXPECT_EQ(::posix_memalign(&p, 64, huge), ENOMEM);
  EXPECT_EQ(::pvalloc(SIZE_MAX), nullptr);
  auto* volatile block = static_cast<char*>(std::malloc(1 << 20));
  std::strcpy(block, "still here");
  EXPECT_EQ(::reallocarray(block, huge, 1), nullptr);
  EXPECT_STREQ(block, "still here");
  std::free(block);
}

TEST(PreloadMalloc, AlignsAsAsked) {
  for (size_t alignment = 8; alignment <= size_t{128} << 20; alignment *= 2) {
    void* p = std::aligned_alloc(alignment, 1 << 20);
    ASSERT_EQ(reinterpret_cast<uintptr_t>(p) % alignment, 0U);
    std::memset(p, 1, 1 << 20);
    std::free(p);
  }
  for (void* p : {::valloc(100 << 10), ::pvalloc(100 << 10)}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 4096, 0U);
    std::free(p);
  }
}

TEST(PreloadMalloc, AGrowingBufferIsNotCopiedEachTime) {
  size_t size = 1 << 10;
  auto* p = static_cast<uint8_t*>(std::malloc(size));
  const uint64_t copied_before = Stats().copied_bytes;
  for (; size < kLargest; size += size / 8) {
    p = static_cast<uint8_t*>(std::realloc(p, size));
    p[size - 1] = 1;
  }
  std::free(p);
  EXPECT_LE(Stats().copied_bytes - copied_before, 2 * kLargest);
}

}  // namespace
}  // namespace zerrow::shim
