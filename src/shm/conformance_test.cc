#include "shm/conformance.h"

#include <random>
#include <thread>

namespace zerrow::shm {
namespace {

TEST_P(Conformance, WhatIsPublishedIsWhatWasWritten) {
  SegmentId id;
  {
    TestWorker worker = AddWorker(1);
    TestWorker::Area* area = worker.Grant(8 * kMiB);
    ASSERT_NE(area, nullptr);
    EXPECT_FALSE(area->dirty);
    EXPECT_EQ(area->mapping.size(), 8 * kMiB);
    std::memset(area->data(), 'a', 4096);
    std::memset(area->data() + kMiB, 'b', 10000);
    id = area->id;
  }
  const auto out = Publish(1, {{id, 0, 4096}, {id, kMiB, 10000}}).ValueOrDie();
  ASSERT_EQ(out.segments.size(), 1u);
  const Segment& segment = *out.segments[0];
  EXPECT_EQ(segment.id(), id);
  EXPECT_EQ(segment.size_bytes(), 8 * kMiB);
  EXPECT_EQ(base::FileSize(segment.Open().ValueOrDie().get()).ValueOrDie(), 8 * kMiB);
  EXPECT_EQ(Read(segment, 0, 4096), std::string(4096, 'a'));
  EXPECT_EQ(Read(segment, kMiB, 10000), std::string(10000, 'b'));
  EXPECT_EQ(out.referenced_bytes, 14096);
  EXPECT_EQ(out.backed_bytes, segment.backed_bytes());
}

TEST_P(Conformance, OnlyReferencedMemoryStaysBehindASegment) {
  SegmentId id;
  {
    TestWorker worker = AddWorker(1);
    TestWorker::Area* area = worker.Grant(64 * kMiB);
    ASSERT_NE(area, nullptr);
    std::memset(area->data(), 'x', 64 * kMiB);
    id = area->id;
    EXPECT_EQ(memory_->broker().BackedBytes(1), 64 * kMiB);
  }
  const auto out = Publish(1, {{id, 10 * kMiB, 16 * kMiB}}).ValueOrDie();
  EXPECT_EQ(out.segments.at(0)->backed_bytes(), 16 * kMiB);
  EXPECT_EQ(out.trimmed_bytes, 48 * kMiB);
  EXPECT_EQ(memory_->broker().BackedBytes(1), 0);
}

TEST_P(Conformance, SeveralChunksAndReferencesToInputs) {
  std::vector<Reference> references = {{1000, 0, 77}};  // an input's
  {
    TestWorker worker = AddWorker(1);
    for (int i = 0; i < 5; ++i) {
      TestWorker::Area* area = worker.Grant(2 * kMiB);
      ASSERT_NE(area, nullptr);
      area->data()[5] = static_cast<uint8_t>('0' + i);
      if (i % 2 == 0) references.push_back({area->id, 5, 1});
    }
  }
  std::ranges::sort(references);
  const auto out = Publish(1, references).ValueOrDie();
  ASSERT_EQ(out.segments.size(), 3u);
  EXPECT_EQ(Read(*out.segments[0], 5, 1), "0");
  EXPECT_EQ(Read(*out.segments[1], 5, 1), "2");
  EXPECT_EQ(Read(*out.segments[2], 5, 1), "4");
  EXPECT_EQ(memory_->pool().stats().free_chunks, 2);
}

TEST_P(Conformance, ASecretInFreedMemoryIsNotPublished) {
  const std::string secret = "the-secret-of-the-freed-heap";
  SegmentId id;
  {
    TestWorker worker = AddWorker(1);
    TestWorker::Area* area = worker.Grant(4 * kMiB);
    ASSERT_NE(area, nullptr);
    // Everywhere: in pages of its own, and right before and behind what is published.
    for (int64_t at = 0; at + 64 <= 4 * kMiB; at += 64) {
      std::memcpy(area->data() + at, secret.data(), secret.size());
    }
    std::memset(area->data() + 100'000, 'p', 5'000);
    std::memset(area->data() + 200'123, 'q', 1);
    id = area->id;
  }
  const auto out = Publish(1, {{id, 100'000, 5'000}, {id, 200'123, 1}}).ValueOrDie();
  const std::string all = Read(*out.segments.at(0), 0, 4 * kMiB);
  EXPECT_EQ(all.find(secret.substr(0, 8)), std::string::npos);
  EXPECT_EQ(all.find_first_not_of('\0'), 100'000u);
  EXPECT_EQ(std::ranges::count(all, '\0'), 4 * kMiB - 5'001);
}

TEST_P(Conformance, TrimAgreesWithAModelForRandomReferences) {
  for (uint32_t seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    constexpr int64_t kSize = 2 * kMiB;
    std::string model(kSize, '\0');
    std::vector<Reference> references;
    SegmentId id;
    {
      TestWorker worker = AddWorker(1);
      TestWorker::Area* area = worker.Grant(kSize);
      ASSERT_NE(area, nullptr);
      id = area->id;
      for (int64_t i = 0; i < kSize; ++i) area->data()[i] = static_cast<uint8_t>(1 + i % 251);
      const int64_t step = 1 + static_cast<int64_t>(random() % 300'000);
      for (int64_t at = static_cast<int64_t>(random()) % step; at < kSize;) {
        const int64_t length = std::min<int64_t>(random() % step, kSize - at);
        references.push_back({id, at, length});
        std::memcpy(model.data() + at, area->data() + at, static_cast<size_t>(length));
        // Sometimes side by side.
        at += length + (random() % 4 == 0 ? 0 : static_cast<int64_t>(random()) % step);
      }
    }
    const auto out = Publish(1, references).ValueOrDie();
    if (references.empty()) continue;
    std::vector<bool> pages(kSize / 4096);
    for (const Reference& r : references) {
      for (int64_t at = r.offset / 4096; at * 4096 < r.offset + r.length; ++at) pages[at] = true;
    }
    // Huge pages may be kept whole for an eighth of what is referenced.
    const int64_t waste = huge() ? kSize / 8 : 0;
    EXPECT_LE(out.segments.at(0)->backed_bytes(), std::ranges::count(pages, true) * 4096 + waste);
    // Only now: to read a hole through a mapping puts a page behind it.
    ASSERT_EQ(Read(*out.segments.at(0), 0, kSize), model) << "seed " << seed;
  }
}

// Small pages would cost the next worker a fault each.
TEST_P(Conformance, WhatTrimmingBrokeUpDoesNotComeBack) {
  if (!recycles() || !huge()) GTEST_SKIP();
  SegmentId id;
  {
    TestWorker worker = AddWorker(1);
    TestWorker::Area* area = worker.Grant(8 * kMiB);
    ASSERT_NE(area, nullptr);
    std::memset(area->data(), 'x', 8 * kMiB);
    id = area->id;
  }
  auto out = Publish(1, {{id, 0, 4 * kMiB}, {id, 5 * kMiB, 4096}}).ValueOrDie();
  EXPECT_EQ(out.segments.at(0)->backed_bytes(), 4 * kMiB + 4096);
  out.segments.clear();
  memory_->reaper().Flush();
  EXPECT_EQ(memory_->pool().stats().free_chunks, 1);
  EXPECT_EQ(memory_->pool().stats().free_bytes, 4 * kMiB);
}

TEST_P(Conformance, WhatNobodyUsesOfASegmentCanGo) {
  constexpr int64_t kSize = 16 * kMiB;
  const auto segment = MakeSegment(kSize, 'x');
  ASSERT_NE(segment, nullptr);
  const int64_t before_bytes = segment->backed_bytes();
  const auto reader = segment->Open().ValueOrDie();
  const auto mapping =
      base::Mapping::Map(reader.get(), kSize, base::Mapping::Access::kReadOnly).ValueOrDie();
  const std::vector<ByteRange> used = {{kMiB / 2, 100}, {5 * kMiB, 4 * kMiB}};
  const auto freed = segment->Discard(used);
  if (!recycles()) {
    EXPECT_TRUE(freed.status().IsNotImplemented());
    EXPECT_EQ(segment->backed_bytes(), before_bytes);
    return;
  }
  // Whole pages only: of 2 MiB those from 0 and from 4 to 10 stay.
  EXPECT_EQ(*freed, huge() ? 8 * kMiB : kSize - 4 * kMiB - 4096);
  EXPECT_EQ(segment->backed_bytes(), before_bytes - *freed);
  for (const ByteRange& range : used) {
    const std::string bytes(reinterpret_cast<const char*>(mapping.data()) + range.offset,
                            static_cast<size_t>(range.length));
    EXPECT_EQ(bytes, std::string(bytes.size(), 'x'));
    EXPECT_EQ(Read(*segment, range.offset, range.length), bytes);
  }
  EXPECT_EQ(Read(*segment, kSize - 10, 10), std::string(10, '\0'));
  const std::vector<ByteRange> beyond = {{0, kSize + 1}};
  EXPECT_TRUE(segment->Discard(beyond).status().IsSerializationError());
}

TEST_P(Conformance, ADiscardedSegmentComesBackAsAnyOther) {
  auto segment = MakeSegment(16 * kMiB, 'x');
  ASSERT_NE(segment, nullptr);
  if (!segment->Discard({}).ok()) GTEST_SKIP() << "nothing goes";
  EXPECT_EQ(segment->backed_bytes(), 0);
  segment.reset();
  const auto again = MakeSegment(16 * kMiB, 'y', 2);
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(Read(*again, 0, 16 * kMiB), std::string(16 * kMiB, 'y'));
}

TEST_P(Conformance, MemoryComesBackAfterTheLastLease) {
  auto segment = MakeSegment(32 * kMiB, 'x');
  ASSERT_NE(segment, nullptr);
  const auto second_lease = segment;
  segment.reset();
  memory_->reaper().Flush();
  EXPECT_EQ(Read(*second_lease, 0, 1), "x");
  EXPECT_EQ(memory_->pool().stats().free_chunks, 0);
  const_cast<std::shared_ptr<const Segment>&>(second_lease).reset();
  memory_->reaper().Flush();
  EXPECT_EQ(memory_->pool().stats().free_chunks, recycles() ? 1 : 0);
  EXPECT_EQ(memory_->pool().stats().free_bytes, recycles() ? 32 * kMiB : 0);
}

TEST_P(Conformance, ARecycledChunkIsDirtyAndHasANewId) {
  SegmentId first;
  {
    TestWorker worker = AddWorker(1);
    TestWorker::Area* area = worker.Grant(2 * kMiB);
    ASSERT_NE(area, nullptr);
    std::memset(area->data(), 'o', 2 * kMiB);
    first = area->id;
  }
  ASSERT_TRUE(Publish(1, {}).ok());
  TestWorker worker = AddWorker(2);
  TestWorker::Area* area = worker.Grant(2 * kMiB);
  ASSERT_NE(area, nullptr);
  EXPECT_TRUE(area->dirty);
  EXPECT_EQ(area->data()[77], 'o') << "still backed";
  EXPECT_NE(area->id, first);
}

TEST_P(Conformance, ARecycledChunkPublishesNothingOld) {
  MakeSegment(2 * kMiB, 'o').reset();
  memory_->reaper().Flush();
  SegmentId id;
  {
    TestWorker worker = AddWorker(2);
    TestWorker::Area* area = worker.Grant(2 * kMiB);
    ASSERT_NE(area, nullptr);
    area->data()[1000] = 'n';
    id = area->id;
  }
  const auto out = Publish(2, {{id, 1000, 1}}).ValueOrDie();
  std::string expected(2 * kMiB, '\0');
  expected[1000] = 'n';
  EXPECT_EQ(Read(*out.segments.at(0), 0, 2 * kMiB), expected);
}

// The engine may be wrong about who still reads; the kernel isn't.
TEST_P(Conformance, WhatSomebodyStillReadsIsNeverRecycled) {
  auto segment = MakeSegment(2 * kMiB, 'r');
  ASSERT_NE(segment, nullptr);
  const auto mapping = base::Mapping::Map(segment->Open().ValueOrDie().get(), 2 * kMiB,
                                          base::Mapping::Access::kReadOnly)
                           .ValueOrDie();
  segment.reset();
  memory_->reaper().Flush();
  EXPECT_EQ(memory_->pool().stats().free_chunks, 0);
  MakeSegment(2 * kMiB, 'z', 2);
  EXPECT_EQ(mapping.data()[0], 'r');
}

// One descriptor each, and one more to be recycled by, as long as half of the budget is free.
TEST_P(Conformance, SegmentsGiveUpComingBackWhenDescriptorsAreScarce) {
  SharedMemoryOptions options;
  options.source = GetParam();
  options.pool.limit_bytes = 256 * kMiB;
  options.descriptors = 14;
  memory_ = SharedMemory::Make(options).ValueOrDie();
  const int fds = CountOpenFds();
  std::vector<std::shared_ptr<const Segment>> segments;
  const int spares = recycles() ? 2 : 0;
  for (uint64_t i = 1; i <= 6; ++i) {
    segments.push_back(MakeSegment(2 * kMiB, static_cast<uint8_t>(i), i));
    ASSERT_NE(segments.back(), nullptr);
    memory_->reaper().Flush();
    // The memory's own thread may have something open for a moment.
    const int expected = fds + static_cast<int>(i) + std::min(static_cast<int>(i), spares);
    EXPECT_TRUE(Eventually([&] { return CountOpenFds() == expected; })) << CountOpenFds();
  }
  EXPECT_EQ(Read(*segments[0], 0, 1), "\1");
  EXPECT_EQ(Read(*segments[5], 0, 1), "\6");
  segments.clear();
  memory_->reaper().Flush();
  EXPECT_EQ(memory_->pool().stats().free_chunks, spares);
  EXPECT_EQ(memory_->descriptors().used(), spares * (kDescriptorsPerChunk + 1));
}

TEST_P(Conformance, LeasesMayOutliveEverything) {
  const auto segment = MakeSegment(2 * kMiB, 'l');
  ASSERT_NE(segment, nullptr);
  memory_.reset();
  EXPECT_EQ(Read(*segment, 2 * kMiB - 1, 1), "l");
}

TEST_P(Conformance, ReferencesOutOfBoundsPublishNothing) {
  const int fds = CountOpenFds();
  std::vector<Reference> references;
  {
    TestWorker worker = AddWorker(1);
    for (int i = 0; i < 3; ++i) {
      TestWorker::Area* area = worker.Grant(2 * kMiB);
      ASSERT_NE(area, nullptr);
      area->data()[0] = 1;
      references.push_back({area->id, 0, 4096});
    }
  }
  references[1].length = 2 * kMiB + 1;
  const auto out = Publish(1, references);
  EXPECT_TRUE(out.status().IsSerializationError()) << out.status();
  memory_->reaper().Flush();
  memory_->pool().Shrink(std::numeric_limits<int64_t>::max());
  memory_->reaper().Flush();
  EXPECT_EQ(memory_->pool().stats().free_chunks, 0);
  // The memory's own thread may have something open for a moment.
  EXPECT_TRUE(Eventually([&] { return CountOpenFds() == fds; })) << CountOpenFds();
}

TEST_P(Conformance, UnsortedReferencesAreRefused) {
  EXPECT_TRUE(Publish(1, {{2, 0, 1}, {1, 0, 1}}).status().IsInvalid());
}

TEST_P(Conformance, MemfdsOfOthersBecomeSegmentsWhenSealed) {
  base::UniqueFd fd = base::MakeMemfd("file", 3 * 4096).ValueOrDie();
  const int writable = fd.get();
  {
    const auto mapping =
        base::Mapping::Map(writable, 4096, base::Mapping::Access::kReadWrite).ValueOrDie();
    auto copy = base::Duplicate(writable).ValueOrDie();
    EXPECT_TRUE(memory_->PublishMemfd(7, std::move(copy), 3 * 4096).status().IsIOError());
  }
  auto copy = base::Duplicate(writable).ValueOrDie();
  EXPECT_TRUE(memory_->PublishMemfd(7, std::move(copy), 4096).status().IsInvalid());
  const auto segment = memory_->PublishMemfd(7, std::move(fd), 3 * 4096).ValueOrDie();
  EXPECT_TRUE(base::IsSealed(segment->Open().ValueOrDie().get()));
  EXPECT_EQ(segment->size_bytes(), 3 * 4096);
}

INSTANTIATE_TEST_SUITE_P(Sources, Conformance,
                         ::testing::Values(SharedMemoryOptions::Source::kTmpfs,
                                           SharedMemoryOptions::Source::kMemfd),
                         SourceName);

}  // namespace
}  // namespace zerrow::shm
