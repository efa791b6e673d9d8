// Where segments are, and what of their memory could go.
#include <gtest/gtest.h>

#include "resource/ledger.h"

namespace zerrow::resource {
namespace {

Holder Table(size_t index, RunId run = 1) { return {Holder::Kind::kTable, {run, index}}; }
Holder Cache(SegmentId segment) { return {Holder::Kind::kCache, {0, segment}}; }

int64_t Unwritten(const Ledger& ledger, size_t table) {
  return ledger.IdleOf(Table(table)).unwritten_bytes;
}

TEST(LedgerPlaces, OnDiskASegmentTakesNoMemory) {
  Ledger ledger;
  ledger.Hold(Table(0), {7, 100});
  EXPECT_EQ(ledger.use(), (SegmentUse{100, 0}));
  ledger.Move(7, Place::kWriting);
  EXPECT_EQ(ledger.use(), (SegmentUse{100, 100}));
  EXPECT_EQ(ledger.writing(), 1);
  ledger.Move(7, Place::kCopied);
  EXPECT_EQ(ledger.use(), (SegmentUse{100, 0}));
  EXPECT_EQ(ledger.disk_bytes(), 100);
  ledger.Move(7, Place::kDisk);
  EXPECT_EQ(ledger.use(), SegmentUse{});
  EXPECT_EQ(ledger.bytes(), 100);
  ledger.Move(7, Place::kReading);
  EXPECT_EQ(ledger.use(), (SegmentUse{100, 0}));
  EXPECT_EQ(ledger.reading(), 1);
  ledger.Release(Table(0));
  EXPECT_EQ(ledger.use(), SegmentUse{});
  EXPECT_EQ(ledger.disk_bytes(), 0);
  EXPECT_EQ(ledger.reading(), 0);
}

TEST(LedgerPlaces, ARunIsChargedForWhatItAloneHolds) {
  Ledger ledger;
  ledger.Hold(Table(0, 1), {7, 100});
  ledger.Hold(Table(1, 1), {7, 100});
  ledger.Hold(Cache(7), {7, 100});
  EXPECT_EQ(ledger.use(1).memory_bytes, 100);
  ledger.Hold(Table(0, 2), {7, 100});
  EXPECT_EQ(ledger.use(1).memory_bytes, 0);
  EXPECT_EQ(ledger.use(2).memory_bytes, 0);
  EXPECT_EQ(ledger.use().memory_bytes, 100);
  ledger.Release(Table(0, 1));
  ledger.Release(Table(1, 1));
  EXPECT_EQ(ledger.use(2).memory_bytes, 100);
  ledger.Release(Table(0, 2));
  EXPECT_EQ(ledger.use(2).memory_bytes, 0);
  EXPECT_EQ(ledger.use().memory_bytes, 100);
}

TEST(LedgerPlaces, WhatIsPinnedIsntIdle) {
  Ledger ledger;
  ledger.Hold(Table(0), {7, 100});
  ledger.Hold(Table(0), {8, 10});
  ledger.Hold(Table(1), {8, 10});
  EXPECT_EQ(Unwritten(ledger, 0), 110);
  EXPECT_EQ(ledger.IdleOf(Table(0)).exclusive_bytes, 100);
  ledger.Pin(Table(1));
  EXPECT_EQ(Unwritten(ledger, 0), 100);
  ledger.Pin(Table(0));
  ledger.Unpin(Table(1));
  EXPECT_EQ(Unwritten(ledger, 0), 0);
  EXPECT_EQ(ledger.IdleOf(Table(0)).exclusive_bytes, 0);
  EXPECT_TRUE(ledger.IsPinned(8));
  // Pinned while it is written, it doesn't leave.
  ledger.Move(7, Place::kWriting);
  EXPECT_EQ(ledger.use().leaving_bytes, 0);
  ledger.Unpin(Table(0));
  EXPECT_EQ(ledger.use().leaving_bytes, 100);
  EXPECT_EQ(Unwritten(ledger, 0), 10);
}

TEST(LedgerPlaces, WhatHasACopyOrCantHaveOneNeedntBeWritten) {
  Ledger ledger;
  ledger.Hold(Table(0), {7, 100});
  ledger.Hold(Table(0), {8, 10});
  ledger.Move(7, Place::kCopied);
  ledger.MarkUnwritable(8);
  const Idle idle = ledger.IdleOf(Table(0));
  EXPECT_EQ(idle.unwritten_bytes, 0);
  EXPECT_EQ(idle.copied_bytes, 100);
  EXPECT_EQ(idle.exclusive_bytes, 110);
  EXPECT_TRUE(ledger.IsIdle(7));
  EXPECT_FALSE(ledger.IsIdle(8));
}

TEST(LedgerPlaces, TheCachesSegmentsAreForgottenOldestFirstOnceNobodyElseHoldsThem) {
  Ledger ledger;
  for (const SegmentId id : {9, 5, 7}) ledger.Hold(Cache(id), {id, 10});
  ledger.Hold(Table(0), {5, 10});
  EXPECT_EQ(ledger.IdleOf(Table(0)).unwritten_bytes, 10);
  EXPECT_EQ(ledger.IdleOf(Table(0)).exclusive_bytes, 10) << "the cache doesn't count";
  EXPECT_EQ(ledger.OldestOnlyCached(), 7);
  EXPECT_TRUE(ledger.IsCached(7));
  ledger.MarkUncaching(7);
  EXPECT_FALSE(ledger.IsCached(7));
  EXPECT_EQ(ledger.use().leaving_bytes, 10);
  EXPECT_EQ(ledger.OldestOnlyCached(), 9);
  // Somebody takes it before it is forgotten.
  ledger.Hold(Table(1), {7, 10});
  EXPECT_EQ(ledger.use().leaving_bytes, 0);
  ledger.Release(Cache(7));
  EXPECT_EQ(ledger.IdleOf(Table(1)).unwritten_bytes, 10);
  ledger.Release(Table(0));
  EXPECT_EQ(ledger.OldestOnlyCached(), 5);
}

}  // namespace
}  // namespace zerrow::resource
