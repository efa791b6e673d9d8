#include "resource/ledger.h"

#include <gtest/gtest.h>

namespace zerrow::resource {
namespace {

Holder Table(size_t index, RunId run = 1) { return {Holder::Kind::kTable, {run, index}}; }
Holder Result(size_t index, RunId run = 1) { return {Holder::Kind::kResult, {run, index}}; }
using Ids = std::vector<SegmentId>;

TEST(Ledger, CountsASegmentOnceHoweverManyHoldIt) {
  Ledger ledger;
  EXPECT_TRUE(ledger.empty());
  ledger.Hold(Table(0), {7, 100});
  ledger.Hold(Table(1), {7, 100});
  ledger.Hold(Result(1), {7, 100});
  ledger.Hold(Table(1), {8, 10});
  EXPECT_EQ(ledger.bytes(), 110);
  EXPECT_EQ(ledger.segment_count(), 2);
  EXPECT_EQ(ledger.HoldersOf(7), (std::vector<Holder>{Table(0), Table(1), Result(1)}));
  EXPECT_FALSE(ledger.empty());
}

TEST(Ledger, TheLastReleaseTellsWhatToFree) {
  Ledger ledger;
  ledger.Hold(Table(0), {7, 100});
  ledger.Hold(Table(1), {7, 100});
  ledger.Hold(Table(1), {9, 1});
  ledger.Hold(Table(1), {8, 10});
  EXPECT_EQ(ledger.Release(Table(0)), Ids{});
  EXPECT_EQ(ledger.bytes(), 111);
  EXPECT_EQ(ledger.Release(Table(1)), (Ids{7, 9, 8}));
  EXPECT_EQ(ledger.bytes(), 0);
  EXPECT_TRUE(ledger.empty());
  EXPECT_EQ(ledger.HoldersOf(7), std::vector<Holder>{});
}

TEST(Ledger, ReleasesOnceWhatWasHeldTwice) {
  Ledger ledger;
  ledger.Hold(Table(0), {7, 100});
  ledger.Hold(Table(0), {7, 100});
  EXPECT_EQ(ledger.Release(Table(0)), Ids{7});
  EXPECT_EQ(ledger.Release(Table(0)), Ids{});
  EXPECT_EQ(ledger.Release(Result(0)), Ids{});
}

TEST(Ledger, TheFirstHoldersBytesCount) {
  Ledger ledger;
  ledger.Hold(Table(0), {7, 100});
  ledger.Hold(Table(1), {7, 5});
  EXPECT_EQ(ledger.bytes(), 100);
  ledger.Release(Table(0));
  ledger.Release(Table(1));
  EXPECT_EQ(ledger.bytes(), 0);
  ledger.Hold(Table(1), {7, 5});  // another first holder
  EXPECT_EQ(ledger.bytes(), 5);
}

TEST(Ledger, ExclusiveIsWhatItsReleaseWouldFree) {
  Ledger ledger;
  EXPECT_EQ(ledger.Exclusive(Table(0)), 0);
  ledger.Hold(Table(0), {7, 100});
  ledger.Hold(Table(0), {8, 10});
  ledger.Hold(Table(1), {7, 100});
  EXPECT_EQ(ledger.Exclusive(Table(0)), 10);
  EXPECT_EQ(ledger.Exclusive(Table(1)), 0);
  ledger.Release(Table(1));
  EXPECT_EQ(ledger.Exclusive(Table(0)), 110);
}

TEST(Ledger, HoldersHaveNames) {
  EXPECT_EQ(Table(3, 12).ToString(), "table of task 3 of run 12");
  EXPECT_EQ(Result(3, 12).ToString(), "result of task 3 of run 12");
  EXPECT_NE(Table(3), Result(3));
}

}  // namespace
}  // namespace zerrow::resource
