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

constexpr int64_t kMiB = 1 << 20;
using Ranges = std::vector<ByteRange>;

TEST(Ledger, OfWhatOthersHoldItTellsWhatTheyUse) {
  Ledger ledger;
  ledger.Hold(Table(0), {7, 100 * kMiB});
  ledger.Hold(Table(1), {7, 100 * kMiB, {{3 * kMiB, kMiB}, {9 * kMiB, kMiB}}});
  ledger.Hold(Table(2), {7, 100 * kMiB, {{4 * kMiB, kMiB}, {9 * kMiB, 100}}});
  EXPECT_TRUE(ledger.TakeRemainders().empty());
  EXPECT_EQ(ledger.Release(Table(0)), Ids{});
  const auto remainders = ledger.TakeRemainders();
  ASSERT_EQ(remainders.size(), 1);
  EXPECT_EQ(remainders[0].segment, 7);
  EXPECT_EQ(remainders[0].used, (Ranges{{3 * kMiB, 2 * kMiB}, {9 * kMiB, kMiB}}));
  EXPECT_TRUE(ledger.TakeRemainders().empty()) << "it has been told";
  // Of the 3 MiB that are left, two are used by nobody else.
  ledger.Release(Table(1));
  const auto again = ledger.TakeRemainders();
  ASSERT_EQ(again.size(), 1);
  EXPECT_EQ(again[0].used, (Ranges{{4 * kMiB, kMiB}, {9 * kMiB, 100}}));
  EXPECT_EQ(ledger.Release(Table(2)), Ids{7});
  EXPECT_TRUE(ledger.TakeRemainders().empty());
}

TEST(Ledger, WhoHoldsAllOfASegmentKeepsAll) {
  Ledger ledger;
  ledger.Hold(Table(0), {7, 100 * kMiB, {{0, 100 * kMiB}}});
  ledger.Hold(Table(1), {7, 100 * kMiB, {{0, kMiB}}});
  ledger.Hold(Result(5), {7, 100 * kMiB});
  ledger.Release(Table(0));
  EXPECT_TRUE(ledger.TakeRemainders().empty());
  ledger.Release(Result(5));
  EXPECT_EQ(ledger.TakeRemainders().size(), 1);
}

TEST(Ledger, WhoHoldsItTwiceUsesBoth) {
  Ledger ledger;
  ledger.Hold(Table(0), {7, 100 * kMiB});
  ledger.Hold(Table(1), {7, 100 * kMiB, {{5 * kMiB, kMiB}}});
  ledger.Hold(Table(1), {7, 100 * kMiB, {{0, kMiB}}});
  ledger.Hold(Table(2), {8, 100 * kMiB, {{0, kMiB}}});
  ledger.Hold(Table(2), {8, 100 * kMiB});
  ledger.Hold(Table(0), {8, 100 * kMiB});
  ledger.Release(Table(0));
  const auto remainders = ledger.TakeRemainders();
  ASSERT_EQ(remainders.size(), 1);
  EXPECT_EQ(remainders[0].used, (Ranges{{0, kMiB}, {5 * kMiB, kMiB}}));
}

TEST(Ledger, LittleThatIsUnreadStays) {
  const auto told = [](int64_t bytes, int64_t used_bytes) {
    Ledger ledger;
    ledger.Hold(Table(0), {7, bytes});
    ledger.Hold(Table(1), {7, bytes, {{0, used_bytes}}});
    ledger.Release(Table(0));
    return ledger.TakeRemainders().size();
  };
  EXPECT_EQ(told(2 * kMiB, kMiB), 1);
  EXPECT_EQ(told(2 * kMiB, kMiB + 1), 0);
  EXPECT_EQ(told(100 * kMiB, 75 * kMiB), 1);
  EXPECT_EQ(told(100 * kMiB, 75 * kMiB + 1), 0);
}

TEST(Ledger, HoldersHaveNames) {
  EXPECT_EQ(Table(3, 12).ToString(), "table of task 3 of run 12");
  EXPECT_EQ(Result(3, 12).ToString(), "result of task 3 of run 12");
  EXPECT_NE(Table(3), Result(3));
}

}  // namespace
}  // namespace zerrow::resource
