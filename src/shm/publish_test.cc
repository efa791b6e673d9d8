#include "shm/publish.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <random>

#include "shm/shared_memory.h"
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

}  // namespace
}  // namespace zerrow::shm
