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

TEST(PlanTrim, HugePagesStayWholeForAnEighthOfWhatIsReferenced) {
  constexpr int64_t kPage = kHugePageBytes;
  // Of 8 pages 0 is half covered, 1 all but an eighth in two parts, 2 and 3 not at all.
  const std::vector<ByteRange> uncovered = {{kPage / 2, kPage / 2},
                                            {kPage, kPage / 16},
                                            {kPage + kPage / 2, kPage / 16},
                                            {2 * kPage, 2 * kPage}};
  const TrimPlan plan = PlanTrim(uncovered, 8 * kPage, /*huge=*/true);
  EXPECT_EQ(plan.zero, (std::vector<ByteRange>{uncovered[0], uncovered[1], uncovered[2]}));
  EXPECT_EQ(plan.punch, (std::vector<ByteRange>{uncovered[3]}));
  EXPECT_TRUE(plan.broken.empty());
}

TEST(PlanTrim, WhatWastesMostIsBrokenUpFirst) {
  constexpr int64_t kPage = kHugePageBytes;
  // Referenced: 2.25 pages, so that an eighth of it is enough for page 1 and not for page 0 too.
  const std::vector<ByteRange> uncovered = {{kPage / 4, kPage / 2}, {kPage, kPage / 4}};
  const TrimPlan plan = PlanTrim(uncovered, 3 * kPage, /*huge=*/true);
  EXPECT_EQ(plan.zero, (std::vector<ByteRange>{uncovered[1]}));
  EXPECT_EQ(plan.punch, (std::vector<ByteRange>{uncovered[0]}));
  EXPECT_EQ(plan.broken, (std::vector<ByteRange>{{0, kPage}}));
}

TEST(PlanTrim, ARangeThatSpansPagesIsCutWhereTheyDiffer) {
  constexpr int64_t kPage = kHugePageBytes;
  const std::vector<ByteRange> uncovered = {{kPage - 100, kPage + 200}};
  const TrimPlan plan = PlanTrim(uncovered, 3 * kPage, /*huge=*/true);
  EXPECT_EQ(plan.zero, (std::vector<ByteRange>{{kPage - 100, 100}, {2 * kPage, 100}}));
  EXPECT_TRUE(plan.broken.empty());
  EXPECT_EQ(plan.punch, (std::vector<ByteRange>{{kPage, kPage}}));
}

}  // namespace
}  // namespace zerrow::shm
