#include "shm/pool_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace zerrow::shm {
namespace {

using std::chrono::milliseconds;
using Keys = std::vector<PoolPolicy::Key>;

PoolPolicy::TimePoint At(int64_t ms) { return PoolPolicy::TimePoint(milliseconds(ms)); }

TEST(PoolOptions, KeepAnEighthOfTheMemory) {
  EXPECT_EQ(PoolOptions::ForMemory(int64_t{8} << 30).limit_bytes, 1 << 30);
  EXPECT_EQ(PoolOptions::ForMemory(int64_t{1} << 40).limit_bytes, int64_t{4} << 30);
}

TEST(PoolPolicy, TakesWhatFitsAndSavesMost) {
  PoolPolicy policy({.limit_bytes = 10000});
  policy.Add(1, 110, 110, At(0));
  policy.Add(2, 101, 10, At(0));
  policy.Add(3, 99, 99, At(0));
  policy.Add(4, 1000, 1000, At(0));
  EXPECT_EQ(policy.Take(100), 1u);
  EXPECT_EQ(policy.Take(100), 2u);
  EXPECT_EQ(policy.Take(100), std::nullopt) << "99 is too small, 1000 too large";
  EXPECT_EQ(policy.backed_bytes(), 1099);
}

TEST(PoolPolicy, ResizableChunksServeOtherSizes) {
  PoolPolicy policy({.limit_bytes = 10000}, /*resizable=*/true);
  policy.Add(1, 1000, 60, At(0));
  policy.Add(2, 70, 70, At(0));
  policy.Add(3, 150, 150, At(0));
  policy.Add(4, 300, 200, At(0));
  policy.Add(5, 100, 50, At(0));
  EXPECT_EQ(policy.Take(100), 5u) << "50, and 25 as it needn't be resized";
  EXPECT_EQ(policy.Take(100), 2u) << "70";
  EXPECT_EQ(policy.Take(100), 1u) << "60";
  EXPECT_EQ(policy.Take(100), 3u) << "100, less the 50 that it loses";
  EXPECT_EQ(policy.Take(100), std::nullopt) << "it would lose what it saves";
  EXPECT_EQ(policy.Take(2000), std::nullopt) << "too little for so much";
}

TEST(PoolPolicy, OfEqualsTheOneWithMostMemoryThenTheLatest) {
  PoolPolicy policy({.limit_bytes = 10000});
  policy.Add(1, 100, 50, At(0));
  policy.Add(2, 100, 90, At(1));
  policy.Add(3, 100, 90, At(2));
  EXPECT_EQ(policy.Take(100), 3u);
  EXPECT_EQ(policy.Take(100), 2u);
  EXPECT_EQ(policy.Take(100), 1u);
}

TEST(PoolPolicy, TheLimitCostsTheOldest) {
  PoolPolicy policy({.limit_bytes = 250});
  EXPECT_EQ(policy.Add(1, 100, 100, At(0)), Keys{});
  EXPECT_EQ(policy.Add(2, 100, 100, At(1)), Keys{});
  EXPECT_EQ(policy.Add(3, 100, 100, At(2)), Keys{1});
  EXPECT_EQ(policy.Add(4, 300, 300, At(3)), Keys{4}) << "what can never stay displaces nothing";
  EXPECT_EQ(policy.count(), 2);
}

TEST(PoolPolicy, KeepsNothingWithoutMemoryAndNotTooMany) {
  PoolPolicy policy({.limit_bytes = 1000, .limit_chunks = 2});
  EXPECT_EQ(policy.Add(1, 100, 0, At(0)), Keys{1});
  EXPECT_EQ(policy.Add(2, 100, 1, At(0)), Keys{});
  EXPECT_EQ(policy.Add(3, 100, 1, At(0)), Keys{});
  EXPECT_EQ(policy.Add(4, 100, 1, At(0)), Keys{2});
}

TEST(PoolPolicy, IdleChunksExpire) {
  PoolPolicy policy({.limit_bytes = 1000, .idle = milliseconds(100)});
  policy.Add(1, 100, 100, At(0));
  policy.Add(2, 100, 100, At(50));
  EXPECT_EQ(policy.Expire(At(99)), Keys{});
  EXPECT_EQ(policy.Expire(At(100)), Keys{1});
  EXPECT_EQ(policy.Expire(At(1000)), Keys{2});
}

TEST(PoolPolicy, ShrinksByTheOldest) {
  PoolPolicy policy({.limit_bytes = 1000});
  for (PoolPolicy::Key key = 1; key <= 4; ++key) policy.Add(key, 100, 100, At(0));
  EXPECT_EQ(policy.Shrink(150), (Keys{1, 2}));
  EXPECT_EQ(policy.Shrink(0), Keys{});
  EXPECT_EQ(policy.Shrink(std::numeric_limits<int64_t>::max()), (Keys{3, 4}));
}

// Against a map of what is in it: whatever the order of calls, the sums hold, the limit holds,
// nothing is named twice, and what is taken fits.
TEST(PoolPolicy, HoldsItsInvariantsInAnyOrderOfCalls) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % n); };
    const int64_t limit = below(5000);
    const bool resizable = below(2) == 0;
    PoolPolicy policy({.limit_bytes = limit, .limit_chunks = 20, .idle = milliseconds(100)},
                      resizable);
    struct Model {
      int64_t size, backed, since;
    };
    std::map<PoolPolicy::Key, Model> model;
    int64_t now = 0;
    const auto remove = [&](const Keys& keys) {
      for (const auto key : keys) ASSERT_EQ(model.erase(key), 1u) << "seed " << seed;
    };
    for (PoolPolicy::Key key = 0; key < 500; ++key) {
      now += below(20);
      const int64_t size = 1 + below(1000);
      switch (below(4)) {
        case 0:
        case 1: {
          const int64_t backed = below(size + 1);
          model[key] = {size, backed, now};
          remove(policy.Add(key, size, backed, At(now)));
          break;
        }
        case 2:
          if (const auto taken = policy.Take(size)) {
            const Model entry = model.at(*taken);
            ASSERT_TRUE(resizable || PoolPolicy::Fits(entry.size, size)) << "seed " << seed;
            ASSERT_TRUE(PoolPolicy::Fits(entry.size, size) || entry.backed < 2 * size);
            for (const auto& [other, m] : model) {
              const bool as_good = m.size == entry.size && m.backed <= size;
              ASSERT_FALSE(as_good && m.backed > entry.backed) << "seed " << seed;
            }
            remove({*taken});
          } else {
            for (const auto& [other, m] : model) {
              ASSERT_FALSE(PoolPolicy::Fits(m.size, size)) << "seed " << seed;
              ASSERT_FALSE(resizable && m.backed > size / 8 && m.backed <= size) << "seed " << seed;
            }
          }
          break;
        default:
          remove(policy.Expire(At(now)));
          for (const auto& [other, m] : model) ASSERT_LT(now - m.since, 100);
          if (below(5) == 0) remove(policy.Shrink(below(2000)));
      }
      int64_t backed = 0;
      for (const auto& [other, m] : model) backed += m.backed;
      ASSERT_EQ(policy.backed_bytes(), backed) << "seed " << seed;
      ASSERT_EQ(policy.count(), static_cast<int64_t>(model.size()));
      ASSERT_LE(backed, limit);
      ASSERT_LE(policy.count(), 20);
    }
  }
}

}  // namespace
}  // namespace zerrow::shm
