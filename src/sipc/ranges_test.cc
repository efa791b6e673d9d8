#include "sipc/ranges.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace zerrow::sipc {
namespace {

TEST(MergeReferences, OverlappingAndTouchingBecomeOne) {
  const auto merged =
      MergeReferences({{2, 0, 5}, {1, 10, 5}, {1, 0, 4}, {1, 4, 2}, {1, 1, 1}, {1, 8, 0}});
  EXPECT_EQ(merged, (std::vector<Reference>{{1, 0, 6}, {1, 10, 5}, {2, 0, 5}}));
  EXPECT_EQ(TotalBytes(merged), 16);
  EXPECT_TRUE(MergeReferences({}).empty());
}

// Many of them, small and huge offsets, so that each way of sorting is taken.
TEST(MergeReferences, CoversTheSameBytesAsBefore) {
  for (const auto& [stride, segments] :
       {std::pair<int64_t, int>{1, 3}, {1LL << 40, 2}, {1LL << 52, 70}, {1, 70000}}) {
    std::mt19937_64 random(7);
    std::vector<Reference> references;
    std::set<std::pair<SegmentId, int64_t>> covered;
    for (int i = 0; i < 5000; ++i) {
      const auto segment = static_cast<SegmentId>(1 + random() % segments);
      const auto at = static_cast<int64_t>(random() % 2000) * stride;
      const auto length = static_cast<int64_t>(random() % 4);
      references.push_back({segment, at, length});
      for (int64_t byte = 0; byte < length; ++byte) covered.insert({segment, at + byte});
    }
    const auto merged = MergeReferences(references);
    EXPECT_TRUE(std::is_sorted(merged.begin(), merged.end()));
    EXPECT_EQ(TotalBytes(merged), static_cast<int64_t>(covered.size()));
    for (const Reference& part : merged) EXPECT_TRUE(covered.contains({part.segment, part.offset}));
  }
}

}  // namespace
}  // namespace zerrow::sipc
