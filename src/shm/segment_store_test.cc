#include "shm/segment_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

namespace zerrow::shm {
namespace {

constexpr int64_t kBytes = 64 * 4096;

class SegmentStoreTest : public ::testing::Test {
 protected:
  std::shared_ptr<const Segment> Make() {
    auto fd = base::MakeMemfd("test", kBytes).ValueOrDie();
    EXPECT_EQ(::write(fd.get(), std::string(kBytes, 'x').data(), kBytes), kBytes);
    return Segment::FromMemfd(store_.ids()->Next(), std::move(fd), kBytes, store_.reaper())
        .ValueOrDie();
  }
  std::shared_ptr<const Segment> Read(SegmentId id) {
    return store_.Copy(id)->Load(nullptr, store_.reaper()).ValueOrDie();
  }
  void ExpectBytes(int64_t memory, int64_t disk) {
    EXPECT_EQ(store_.bytes(), memory);
    EXPECT_EQ(store_.spilled_bytes(), disk);
    store_.reaper().Flush();
    EXPECT_EQ(folder_->used_bytes(), disk);
  }

  const std::shared_ptr<SpillFolder> folder_ =
      SpillFolder::Make(std::filesystem::current_path().string()).ValueOrDie();
  SegmentStore store_;
};

TEST_F(SegmentStoreTest, ASegmentGoesToDiskAndComesBackClean) {
  const SegmentId id = [&] {
    const auto segment = Make();
    store_.Add(segment);
    store_.NoteCopy(SpillFile::Write(folder_, *segment).ValueOrDie());
    return segment->id();
  }();
  ExpectBytes(kBytes, kBytes);
  const std::weak_ptr<const Segment> memory = store_.Find(id);
  store_.Unload(id);
  store_.reaper().Flush();
  EXPECT_TRUE(memory.expired());
  EXPECT_EQ(store_.Find(id), nullptr);
  ASSERT_NE(store_.Copy(id), nullptr);
  EXPECT_EQ(store_.size(), 1u);
  ExpectBytes(0, kBytes);
  for (int i = 0; i < 2; ++i) {
    store_.Load(Read(id));
    ASSERT_NE(store_.Find(id), nullptr);
    EXPECT_EQ(store_.Find(id)->id(), id);
    ExpectBytes(kBytes, kBytes);
    store_.Unload(id);  // without writing again
    ExpectBytes(0, kBytes);
  }
  store_.Measure(id);
  ExpectBytes(0, kBytes);
  store_.Free(id);
  EXPECT_EQ(store_.Copy(id), nullptr);
  EXPECT_EQ(store_.size(), 0u);
  ExpectBytes(0, 0);
}

TEST_F(SegmentStoreTest, WithoutACopyNothingIsUnloaded) {
  const auto segment = Make();
  store_.Add(segment);
  store_.Unload(segment->id());
  EXPECT_EQ(store_.Find(segment->id()), segment);
  ExpectBytes(kBytes, 0);
}

TEST_F(SegmentStoreTest, FreeTakesMemoryAndCopy) {
  const auto segment = Make();
  store_.Add(segment);
  store_.NoteCopy(SpillFile::Write(folder_, *segment).ValueOrDie());
  store_.Free(segment->id());
  ExpectBytes(0, 0);
}

TEST_F(SegmentStoreTest, WhatWasFreedMeanwhileStaysAway) {
  const auto segment = Make();
  store_.NoteCopy(SpillFile::Write(folder_, *segment).ValueOrDie());
  EXPECT_EQ(store_.Copy(segment->id()), nullptr);
  store_.Load(segment);
  EXPECT_EQ(store_.Find(segment->id()), nullptr);
  EXPECT_EQ(store_.size(), 0u);
  ExpectBytes(0, 0);
}

// Free during a read: who reads has the copy.
TEST_F(SegmentStoreTest, ACopyThatIsBeingReadOutlivesItsSegment) {
  const auto segment = Make();
  store_.Add(segment);
  store_.NoteCopy(SpillFile::Write(folder_, *segment).ValueOrDie());
  const auto copy = store_.Copy(segment->id());
  store_.Free(segment->id());
  EXPECT_TRUE(copy->Load(nullptr, store_.reaper()).ok());
  EXPECT_EQ(folder_->used_bytes(), kBytes);
}

TEST_F(SegmentStoreTest, ASecondCopyTakesTheFirstOnesPlace) {
  const auto segment = Make();
  store_.Add(segment);
  for (int i = 0; i < 2; ++i) {
    store_.NoteCopy(SpillFile::Write(folder_, *segment).ValueOrDie());
    ExpectBytes(kBytes, kBytes);
  }
}

TEST_F(SegmentStoreTest, SomebodyElsesLeaseKeepsTheMemory) {
  const auto segment = Make();
  store_.Add(segment);
  store_.NoteCopy(SpillFile::Write(folder_, *segment).ValueOrDie());
  store_.Unload(segment->id());
  EXPECT_EQ(segment->backed_bytes(), kBytes);
  store_.Add(segment);  // whoever has it puts it back
  EXPECT_EQ(store_.Find(segment->id()), segment);
  ExpectBytes(kBytes, kBytes);
}

}  // namespace
}  // namespace zerrow::shm
