#include "shm/chunk_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <thread>

#include "base/mapping.h"

namespace zerrow::shm {
namespace {

using std::chrono::seconds;
constexpr int64_t kMiB = 1 << 20;
constexpr auto kEverything = std::numeric_limits<int64_t>::max();

void Touch(const ChunkSource& source, const Chunk& chunk, int64_t bytes) {
  const auto fd = source.OpenForWriting(chunk).ValueOrDie();
  const auto mapping =
      base::Mapping::Map(fd.get(), chunk.size_bytes, base::Mapping::Access::kReadWrite)
          .ValueOrDie();
  std::memset(mapping.data(), 1, static_cast<size_t>(bytes));
}

class Pool : public ::testing::Test {
 protected:
  std::unique_ptr<ChunkPool> Make(PoolOptions options) {
    return std::make_unique<ChunkPool>(MakeMemfdSource(), options, descriptors_, reaper_.handle());
  }
  const std::shared_ptr<DescriptorBudget> descriptors_ = DescriptorBudget::Make(100);
  const base::TaskThread reaper_;
  const ChunkPool::TimePoint start_{};
};

TEST_F(Pool, KeepsWhatComesBackAndItsMemory) {
  const auto pool = Make({.limit_bytes = 64 * kMiB});
  Chunk chunk = pool->Take(8 * kMiB).ValueOrDie();
  EXPECT_FALSE(chunk.dirty);
  Touch(pool->source(), chunk, 4 * kMiB);
  pool->Give(std::move(chunk), start_);
  EXPECT_EQ(pool->stats().free_bytes, 4 * kMiB);
  const Chunk again = pool->Take(8 * kMiB).ValueOrDie();
  EXPECT_TRUE(again.dirty);
  EXPECT_EQ(BackedBytes(again), 4 * kMiB);
  EXPECT_EQ(pool->stats().free_bytes, 0);
  EXPECT_EQ(pool->stats().chunks_made, 1);
  EXPECT_EQ(pool->stats().chunks_reused, 1);
}

TEST_F(Pool, GivesAChunkTheSizeThatIsAskedFor) {
  auto source = MakeTmpfsSource();
  if (!source.ok()) GTEST_SKIP() << source.status().message();
  ChunkPool pool(std::move(*source), {.limit_bytes = 64 * kMiB}, descriptors_, reaper_.handle());
  Chunk chunk = pool.Take(4 * kMiB).ValueOrDie();
  Touch(pool.source(), chunk, 4 * kMiB);
  pool.Give(std::move(chunk), start_);
  Chunk longer = pool.Take(8 * kMiB).ValueOrDie();
  EXPECT_EQ(longer.size_bytes, 8 * kMiB);
  EXPECT_TRUE(longer.dirty);
  EXPECT_EQ(BackedBytes(longer), 4 * kMiB);
  Touch(pool.source(), longer, 8 * kMiB);
  pool.Give(std::move(longer), start_);
  Chunk shorter = pool.Take(6 * kMiB).ValueOrDie();
  EXPECT_EQ(shorter.size_bytes, 6 * kMiB);
  EXPECT_EQ(BackedBytes(shorter), 6 * kMiB);
  auto reader = pool.source().Freeze(shorter).ValueOrDie();
  EXPECT_TRUE(CheckSize(reader.get(), 6 * kMiB).ok());
  EXPECT_EQ(pool.stats().chunks_made, 1);
  EXPECT_EQ(pool.stats().chunks_reused, 2);
}

TEST_F(Pool, HoldsItsLimitByTheMemoryThatIsThere) {
  const auto pool = Make({.limit_bytes = 10 * kMiB});
  for (int i = 0; i < 5; ++i) {
    Chunk chunk = pool->source().Make(8 * kMiB).ValueOrDie();
    Touch(pool->source(), chunk, 4 * kMiB);
    pool->Give(std::move(chunk), start_);
  }
  EXPECT_EQ(pool->stats().free_chunks, 2);
  EXPECT_EQ(pool->stats().free_bytes, 8 * kMiB);
  EXPECT_EQ(pool->stats().chunks_dropped, 3);
}

TEST_F(Pool, HandsIdleMemoryBack) {
  const auto pool = Make({.limit_bytes = 64 * kMiB, .idle = seconds(10)});
  Chunk chunk = pool->Take(2 * kMiB).ValueOrDie();
  Touch(pool->source(), chunk, 2 * kMiB);
  pool->Give(std::move(chunk), start_);
  pool->Tick(start_ + seconds(9));
  EXPECT_EQ(pool->stats().free_bytes, 2 * kMiB);
  pool->Tick(start_ + seconds(10));
  EXPECT_EQ(pool->stats().free_bytes, 0);
}

TEST_F(Pool, ShrinksWhenAsked) {
  const auto pool = Make({.limit_bytes = 64 * kMiB});
  for (int i = 0; i < 4; ++i) {
    Chunk chunk = pool->source().Make(2 * kMiB).ValueOrDie();
    Touch(pool->source(), chunk, 2 * kMiB);
    pool->Give(std::move(chunk), start_);
  }
  EXPECT_EQ(pool->Shrink(3 * kMiB), 4 * kMiB);
  EXPECT_EQ(pool->stats().free_bytes, 4 * kMiB);
  EXPECT_EQ(pool->Shrink(kEverything), 4 * kMiB);
  EXPECT_EQ(pool->Shrink(kEverything), 0);
}

TEST_F(Pool, WhatIsStillHeldIsNotTakenBack) {
  const auto pool = Make({.limit_bytes = 64 * kMiB});
  Chunk chunk = pool->Take(2 * kMiB).ValueOrDie();
  Touch(pool->source(), chunk, 4096);
  auto writer = pool->source().OpenForWriting(chunk).ValueOrDie();
  EXPECT_TRUE(pool->TryGive(chunk, start_).IsIOError());
  EXPECT_TRUE(chunk.writable.valid()) << "still the caller's";
  writer.reset();
  EXPECT_TRUE(pool->TryGive(chunk, start_).ok());
  EXPECT_EQ(pool->stats().free_chunks, 1);
}

TEST_F(Pool, FreeChunksGiveTheirDescriptorsToFreshOnes) {
  const auto descriptors = DescriptorBudget::Make(2 * kDescriptorsPerChunk + 1);
  ChunkPool pool(MakeMemfdSource(), {.limit_bytes = 64 * kMiB}, descriptors, reaper_.handle());
  Chunk first = pool.Take(2 * kMiB).ValueOrDie();
  Chunk second = pool.Take(2 * kMiB).ValueOrDie();
  EXPECT_TRUE(pool.Take(2 * kMiB).status().IsCapacityError());
  for (Chunk* chunk : {&first, &second}) {
    Touch(pool.source(), *chunk, kMiB);
    pool.Give(std::move(*chunk), start_);
  }
  EXPECT_EQ(pool.stats().free_chunks, 2);
  const Chunk large = pool.Take(32 * kMiB).ValueOrDie();
  EXPECT_EQ(pool.stats().free_chunks, 1) << "the oldest one has gone, no more than was needed";
  const Chunk same = pool.Take(2 * kMiB).ValueOrDie();
  EXPECT_TRUE(same.dirty);
  EXPECT_TRUE(pool.Take(2 * kMiB).status().IsCapacityError());
  EXPECT_EQ(descriptors->used(), 2 * kDescriptorsPerChunk);
}

TEST_F(Pool, MayGoBeforeItsReaperAndAfter) {
  auto reaper = std::make_unique<base::TaskThread>();
  ChunkPool first(MakeMemfdSource(), {.limit_bytes = 64 * kMiB}, descriptors_, reaper->handle());
  {
    ChunkPool second(MakeMemfdSource(), {.limit_bytes = 64 * kMiB}, descriptors_, reaper->handle());
    second.Give(second.Take(2 * kMiB).ValueOrDie());
  }
  Chunk chunk = first.Take(2 * kMiB).ValueOrDie();
  Touch(first.source(), chunk, kMiB);
  reaper.reset();
  first.Give(std::move(chunk));
  EXPECT_EQ(first.Shrink(kEverything), kMiB);
}

TEST_F(Pool, ServesThreads) {
  const auto pool = Make({.limit_bytes = 16 * kMiB, .idle = std::chrono::milliseconds(1)});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        Chunk chunk = pool->Take(kMiB * (1 + i % 4)).ValueOrDie();
        Touch(pool->source(), chunk, 4096);
        pool->Give(std::move(chunk));
        if (i % 10 == 0) pool->Tick(std::chrono::steady_clock::now());
        if (i % 33 == 0) pool->Shrink(kMiB);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const PoolStats stats = pool->stats();
  EXPECT_EQ(stats.chunks_made + stats.chunks_reused, 400);
  EXPECT_EQ(stats.chunks_made, stats.chunks_dropped + stats.free_chunks);
}

}  // namespace
}  // namespace zerrow::shm
