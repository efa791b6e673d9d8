#include "engine/observations.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace zerrow::engine {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

Observation Seen(int64_t input, int64_t table, int64_t peak = 0, double run_s = 0) {
  return {input, table, table, peak, run_s};
}

int64_t TableAt(const Observations& all, int64_t input) { return all.Predict(input)->table_bytes; }

TEST(Observations, OfNothingNothingFollows) {
  EXPECT_EQ(Observations().Predict(100), std::nullopt);
}

TEST(Observations, WhatWasSeenOnceGrowsWithTheInput) {
  Observations all;
  all.Add(Seen(1000, 600, 0, 2));
  EXPECT_EQ(TableAt(all, 1000), 600);
  EXPECT_EQ(TableAt(all, 10'000), 6000);
  EXPECT_EQ(TableAt(all, 100), 60);
  EXPECT_EQ(all.Predict(500)->run_s, 1);
}

TEST(Observations, WhatAProcessTakesAnywayDoesNotGrow) {
  Observations all;
  all.Add(Seen(1000, 0, Observations::kBaseBytes - 1));
  EXPECT_EQ(all.Predict(int64_t{1} << 30)->peak_bytes, Observations::kBaseBytes - 1);
  EXPECT_EQ(all.Predict(1)->peak_bytes, Observations::kBaseBytes - 1);
  Observations larger;
  larger.Add(Seen(kMiB, 0, Observations::kBaseBytes + 10 * kMiB));
  EXPECT_EQ(larger.Predict(3 * kMiB)->peak_bytes, Observations::kBaseBytes + 30 * kMiB);
}

TEST(Observations, BetweenAndBeyondTwoSizesLiesALine) {
  Observations all;
  all.Add(Seen(1000, 500));
  all.Add(Seen(3000, 700));
  EXPECT_EQ(TableAt(all, 2000), 600);
  EXPECT_EQ(TableAt(all, 13'000), 1700);
  EXPECT_EQ(TableAt(all, 500), 450);
  EXPECT_EQ(TableAt(all, 0), 400);
}

TEST(Observations, ALineThatFallsIsNotFollowed) {
  Observations all;
  all.Add(Seen(1000, 700));
  all.Add(Seen(3000, 300));
  EXPECT_EQ(TableAt(all, 1'000'000), 700);
  EXPECT_EQ(TableAt(all, 3000), 700);
  EXPECT_EQ(TableAt(all, 10), 700);
}

TEST(Observations, OfOneSizeTheLastFewCount) {
  Observations all;
  all.Add(Seen(1000, 9000));
  for (int i = 0; i < 2; ++i) all.Add(Seen(1000, 100));
  EXPECT_EQ(TableAt(all, 1000), 9000) << "the most of the last three";
  all.Add(Seen(1001, 100));
  EXPECT_EQ(TableAt(all, 1001), 100) << "and what was before them is forgotten";
}

TEST(Observations, InputsOfNoSizeAreOneSize) {
  Observations all;
  all.Add(Seen(0, 500, 7, 1));
  EXPECT_EQ(TableAt(all, 0), 500);
  EXPECT_EQ(TableAt(all, 5000), 500);
}

TEST(Observations, OnlySoManyAreKeptAndTheOldestGo) {
  Observations all;
  for (int size = 0; size < 50; ++size) {
    for (int i = 0; i < 5; ++i) all.Add(Seen(int64_t{1} << size, size));
  }
  ASSERT_EQ(all.all().size(), Observations::kMost);
  EXPECT_EQ(all.all().back().table_bytes, 49);
  EXPECT_EQ(all.all().front().table_bytes,
            50 - static_cast<int64_t>(Observations::kMost / Observations::kMostOfSize));
}

TEST(Observations, WhatCannotBeIsNotSane) {
  EXPECT_TRUE(Observation().IsSane());
  EXPECT_FALSE(Seen(-1, 0).IsSane());
  EXPECT_FALSE(Seen(0, Observation::kMostBytes + 1).IsSane());
  EXPECT_FALSE(Seen(0, 0, INT64_MIN).IsSane());
  EXPECT_FALSE(Seen(0, 0, 0, -1).IsSane());
  EXPECT_FALSE(Seen(0, 0, 0, std::nan("")).IsSane());
  EXPECT_FALSE(Seen(0, 0, 0, INFINITY).IsSane());
}

class AnyObservations : public ::testing::TestWithParam<int> {
 protected:
  int64_t AnyBytes() {
    const int bits = std::uniform_int_distribution<int>(0, 50)(random_);
    return std::uniform_int_distribution<int64_t>(0, int64_t{1} << bits)(random_);
  }
  std::mt19937_64 random_{static_cast<uint64_t>(GetParam())};
};

TEST_P(AnyObservations, Hold) {
  Observations all;
  for (int n = 0; n < 60; ++n) {
    all.Add({AnyBytes(), AnyBytes(), AnyBytes(), AnyBytes(), static_cast<double>(n)});
    std::vector<int64_t> sizes = {0, Observation::kMostBytes};
    for (int i = 0; i < 20; ++i) sizes.push_back(AnyBytes());
    for (const Observation& seen : all.all()) sizes.push_back(seen.input_bytes);
    std::ranges::sort(sizes);
    Observation before;
    for (const int64_t size : sizes) {
      const Observation expected = *all.Predict(size);
      EXPECT_TRUE(expected.IsSane());
      EXPECT_GE(expected.table_bytes, before.table_bytes) << "more input, less output: " << size;
      EXPECT_GE(expected.peak_bytes, before.peak_bytes);
      for (const Observation& seen : all.all()) {
        if (seen.input_bytes > size) continue;
        EXPECT_GE(expected.table_bytes, seen.table_bytes) << "less than was seen of less";
        EXPECT_GE(expected.new_bytes, seen.new_bytes);
        EXPECT_GE(expected.peak_bytes, seen.peak_bytes);
        EXPECT_GE(expected.run_s, seen.run_s);
      }
      before = expected;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, AnyObservations, ::testing::Range(0, 50));

}  // namespace
}  // namespace zerrow::engine
