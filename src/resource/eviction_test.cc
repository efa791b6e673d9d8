#include "resource/eviction.h"

#include <gtest/gtest.h>

#include <vector>

namespace zerrow::resource {
namespace {

using enum EvictionPolicy;
using How = Eviction::How;

constexpr int64_t kMb = 1'000'000;

/// A table of so many MB that only it holds.
Candidate Table(size_t index, int64_t mb, double remake_s, int steps = 1) {
  return {{1, index}, {mb * kMb, 0, mb * kMb}, remake_s, steps};
}

std::optional<size_t> Chosen(EvictionPolicy policy, const std::vector<Candidate>& tables,
                             double max_restore_s = kNever) {
  const auto eviction = Choose(policy, tables, DiskSpeed(), max_restore_s);
  return eviction ? std::optional(eviction->table.index) : std::nullopt;
}

TEST(Eviction, NoneLetsNothingGo) { EXPECT_EQ(Chosen(kNone, {Table(0, 100, 0.1)}), std::nullopt); }

TEST(Eviction, SwapGoesByDistanceAsAllBytesCostTheSame) {
  EXPECT_EQ(Chosen(kSwap, {Table(0, 100, kNever, 1), Table(1, 100, kNever, 5)}), 1);
  // The remake's price doesn't matter.
  EXPECT_EQ(Chosen(kSwap, {Table(0, 100, 0.001, 1), Table(1, 100, 9, 5)}), 1);
}

TEST(Eviction, OfSmallTablesTheLargerOneGoes) {
  std::vector<Candidate> tables = {Table(0, 1, kNever), Table(1, 3, kNever)};
  for (Candidate& table : tables) table.idle.unwritten_bytes /= 1000;
  EXPECT_EQ(Chosen(kSwap, tables), 1);
}

TEST(Eviction, WhatIsOnDiskAlreadyGoesBeforeWhatMustBeWritten) {
  Candidate copied = Table(0, 100, kNever);
  std::swap(copied.idle.copied_bytes, copied.idle.unwritten_bytes);
  EXPECT_EQ(Chosen(kSwap, {Table(1, 100, kNever), copied}), 0);
}

TEST(Eviction, RollbackGoesByRunTimePerByte) {
  EXPECT_EQ(Chosen(kRollback, {Table(0, 100, 1), Table(1, 100, 0.1)}), 1);
  EXPECT_EQ(Chosen(kRollback, {Table(0, 1000, 1), Table(1, 10, 0.1)}), 0);
}

TEST(Eviction, RollbackSparesWhatCantBeMadeAgainOrFreesNothing) {
  EXPECT_EQ(Chosen(kRollback, {Table(0, 100, kNever)}), std::nullopt);
  Candidate shared = Table(1, 100, 0.1);
  shared.idle.exclusive_bytes = 0;
  EXPECT_EQ(Chosen(kRollback, {shared}), std::nullopt);
  EXPECT_EQ(Chosen(kSwap, {shared}), 1);
}

TEST(Eviction, AdaptiveTakesTheCheaperWayOfEachTable) {
  // 100 MB cost 0.3 s to write and read.
  const auto cheap = Weigh(kAdaptive, Table(0, 100, 0.1), DiskSpeed());
  EXPECT_EQ(cheap->how, How::kRollback);
  EXPECT_DOUBLE_EQ(cheap->restore_s, 0.1);
  const auto dear = Weigh(kAdaptive, Table(0, 100, 2), DiskSpeed());
  EXPECT_EQ(dear->how, How::kSwap);
  EXPECT_DOUBLE_EQ(dear->restore_s, 0.3);
  EXPECT_EQ(dear->freed_bytes, 100 * kMb);
  EXPECT_EQ(Chosen(kAdaptive, {Table(0, 100, 2), Table(1, 100, 0.1)}), 1);
}

TEST(Eviction, AdaptiveSwapsWhatARollbackWouldHardlyFree) {
  Candidate table = Table(0, 100, 0.2);
  table.idle.exclusive_bytes = 10 * kMb;
  EXPECT_EQ(Weigh(kAdaptive, table, DiskSpeed())->how, How::kSwap);
}

TEST(Eviction, NothingGoesThatCostsMoreThanItIsWorth) {
  EXPECT_EQ(Chosen(kAdaptive, {Table(0, 100, 0.2)}, 0.1), std::nullopt);
  EXPECT_EQ(Chosen(kAdaptive, {Table(0, 100, 0.2), Table(1, 10, 0.05)}, 0.1), 1);
}

TEST(Eviction, EqualsGoInTheirOrder) {
  EXPECT_EQ(Chosen(kAdaptive, {Table(2, 100, 0.2), Table(1, 100, 0.2)}), 2);
}

TEST(DiskSpeed, LearnsFromWhatHappened) {
  DiskSpeed disk;
  EXPECT_DOUBLE_EQ(disk.RestoreSeconds(100 * kMb, 0), 0.3);
  EXPECT_DOUBLE_EQ(disk.RestoreSeconds(0, 100 * kMb), 0.1);
  for (int i = 0; i < 50; ++i) {
    disk.NoteWrite(100 * kMb, 1);
    disk.NoteRead(100 * kMb, 2);
  }
  EXPECT_NEAR(disk.RestoreSeconds(100 * kMb, 0), 3, 0.01);
  EXPECT_NEAR(disk.RestoreSeconds(0, 100 * kMb), 2, 0.01);
  disk.NoteRead(0, 1);
  disk.NoteRead(1, 0);
  EXPECT_NEAR(disk.ReadSeconds(100 * kMb), 2, 0.01);
}

}  // namespace
}  // namespace zerrow::resource
