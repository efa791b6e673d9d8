#include "shm/publish.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "shm/trim.h"

namespace zerrow::shm {
namespace {

TEST(UncoveredRanges, AreTheGaps) {
  const std::vector<Reference> references = {{7, 0, 10}, {7, 10, 5}, {7, 20, 30}};
  EXPECT_EQ(UncoveredRanges(references, 100).ValueOrDie(),
            (std::vector<ByteRange>{{15, 5}, {50, 50}}));
  EXPECT_EQ(UncoveredRanges({}, 8).ValueOrDie(), (std::vector<ByteRange>{{0, 8}}));
  const std::vector<Reference> whole = {{7, 0, 8}};
  EXPECT_TRUE(UncoveredRanges(whole, 8).ValueOrDie().empty());
}

TEST(UncoveredRanges, RefusesWhatLeavesTheSegment) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  for (const Reference bad :
       {Reference{1, 0, 101}, Reference{1, 101, 0}, Reference{1, -1, 5}, Reference{1, 5, -1},
        Reference{1, kMost, 1}, Reference{1, 1, kMost}, Reference{1, kMost, kMost}}) {
    EXPECT_TRUE(UncoveredRanges({&bad, 1}, 100).status().IsSerializationError());
  }
}

TEST(UncoveredRanges, RefusesOverlap) {
  const std::vector<Reference> references = {{1, 0, 10}, {1, 9, 5}};
  EXPECT_TRUE(UncoveredRanges(references, 100).status().IsInvalid());
}

TEST(PlanTrim, WithoutHugePagesEverythingIsPunched) {
  const std::vector<ByteRange> uncovered = {{5, 10}, {3'000'000, 5'000'000}};
  const TrimPlan plan = PlanTrim(uncovered, 8 << 20, /*huge=*/false);
  EXPECT_EQ(plan.punch, uncovered);
  EXPECT_TRUE(plan.zero.empty());
}

TEST(PlanTrim, AHugePageIsKeptWholeIfItIsNearlyAllOutput) {
  constexpr int64_t kPage = kHugePageBytes;
  // Page 0: an eighth is uncovered, in two parts. Page 1: a byte more. Pages 2 and 3: all of it.
  const std::vector<ByteRange> uncovered = {
      {0, kPage / 16}, {kPage / 2, kPage / 16}, {kPage, kPage / 8 + 1}, {2 * kPage, 2 * kPage}};
  const TrimPlan plan = PlanTrim(uncovered, 4 * kPage, /*huge=*/true);
  EXPECT_EQ(plan.zero, (std::vector<ByteRange>{uncovered[0], uncovered[1]}));
  EXPECT_EQ(plan.punch, (std::vector<ByteRange>{uncovered[2], uncovered[3]}));
}

TEST(PlanTrim, ARangeThatSpansPagesIsCutWhereTheyDiffer) {
  constexpr int64_t kPage = kHugePageBytes;
  const std::vector<ByteRange> uncovered = {{kPage - 100, kPage + 200}};
  const TrimPlan plan = PlanTrim(uncovered, 3 * kPage, /*huge=*/true);
  EXPECT_EQ(plan.zero, (std::vector<ByteRange>{{kPage - 100, 100}, {2 * kPage, 100}}));
  EXPECT_EQ(plan.punch, (std::vector<ByteRange>{{kPage, kPage}}));
}

}  // namespace
}  // namespace zerrow::shm
