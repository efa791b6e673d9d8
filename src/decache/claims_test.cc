#include "decache/claims.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace zerrow::decache {
namespace {

Columns Of(const std::string& path, std::set<std::string> names) {
  return {{FileIdentity{.path = path}, std::move(names)}};
}

using Scans = std::vector<ScanId>;

TEST(Claims, ScansOfOtherColumnsDontWait) {
  Claims claims;
  EXPECT_TRUE(claims.Claim(1, Of("f", {"a", "b"})));
  EXPECT_TRUE(claims.Claim(2, Of("f", {"c"})));
  EXPECT_TRUE(claims.Claim(3, Of("g", {"a"})));
  EXPECT_TRUE(claims.Claim(4, {}));
  EXPECT_EQ(claims.num_holding(), 4);
  EXPECT_EQ(claims.Release(1), Scans{});
}

TEST(Claims, WhoWantsAClaimedColumnWaits) {
  Claims claims;
  EXPECT_TRUE(claims.Claim(1, Of("f", {"a", "b"})));
  EXPECT_FALSE(claims.Claim(2, Of("f", {"b", "c"})));
  // What waits holds nothing.
  EXPECT_TRUE(claims.Claim(3, Of("f", {"c"})));
  EXPECT_EQ(claims.Release(1), Scans{});
  EXPECT_EQ(claims.Release(3), Scans{2});
  EXPECT_TRUE(claims.Claim(2, Of("f", {"c"})));
  EXPECT_EQ(claims.num_waiting(), 0);
}

TEST(Claims, AllThatWaitCanLookAgain) {
  Claims claims;
  EXPECT_TRUE(claims.Claim(1, Of("f", {"a"})));
  for (ScanId scan : {5, 3, 4}) EXPECT_FALSE(claims.Claim(scan, Of("f", {"a"})));
  EXPECT_EQ(claims.Release(1), (Scans{5, 3, 4}));
  EXPECT_TRUE(claims.Claim(5, Of("f", {"a"})));  // the first one's decoding failed, say
  EXPECT_FALSE(claims.Claim(3, Of("f", {"a"})));
  EXPECT_EQ(claims.Release(4), Scans{});
  EXPECT_EQ(claims.Release(5), Scans{3});
}

TEST(Claims, AScanThatEndsWhileItWaitsIsForgotten) {
  Claims claims;
  EXPECT_TRUE(claims.Claim(1, Of("f", {"a"})));
  EXPECT_FALSE(claims.Claim(2, Of("f", {"a"})));
  EXPECT_EQ(claims.Release(2), Scans{});
  EXPECT_EQ(claims.Release(1), Scans{});
  EXPECT_EQ(claims.Release(1), Scans{});
  EXPECT_EQ(claims.Release(99), Scans{});
  EXPECT_EQ(claims.num_holding() + claims.num_waiting(), 0);
}

TEST(ClaimsDeathTest, OneClaimAtATime) {
  Claims claims;
  EXPECT_TRUE(claims.Claim(1, Of("f", {"a"})));
  EXPECT_DEATH((void)claims.Claim(1, Of("f", {"b"})), "earlier claim");
}

// Scans of random columns end at random; what they decoded is found or, if they failed, isn't.
class ClaimsProperty : public ::testing::TestWithParam<uint64_t> {
 protected:
  struct Scan {
    Columns wanted;
    bool holds = false;
  };

  Columns AnyColumns() {
    Columns columns;
    for (uint64_t i = 0, n = 1 + random_() % 5; i < n; ++i) {
      columns[FileIdentity{.path = std::string(1, "fg"[random_() % 2])}].insert(
          std::string(1, "abcd"[random_() % 4]));
    }
    return columns;
  }
  Columns Missing(const Scan& scan) const {
    Columns missing = scan.wanted;
    for (auto& [file, names] : missing) {
      const auto known = cached_.find(file);
      if (known == cached_.end()) continue;
      for (const std::string& name : known->second) names.erase(name);
    }
    std::erase_if(missing, [](const auto& file) { return file.second.empty(); });
    return missing;
  }
  /// A scan asks the cache, then claims the rest; one that misses nothing is done.
  void Look(ScanId id) {
    Scan& scan = scans_.at(id);
    const Columns missing = Missing(scan);
    if (missing.empty()) return End(id);
    scan.holds = claims_.Claim(id, missing);
    if (!scan.holds) return;
    for (const auto& [file, names] : missing) {
      for (const std::string& name : names) {
        EXPECT_TRUE(decoding_[file].insert(name).second) << "decoded twice at once";
      }
    }
    held_[id] = missing;
  }
  void End(ScanId id) {
    for (const auto& [file, names] : held_[id]) {
      for (const std::string& name : names) decoding_[file].erase(name);
    }
    held_.erase(id);
    scans_.erase(id);
    for (const ScanId free : claims_.Release(id)) {
      if (scans_.contains(free) && !scans_[free].holds) Look(free);
    }
  }

  std::mt19937_64 random_{GetParam()};
  Claims claims_;
  std::map<ScanId, Scan> scans_;
  std::map<ScanId, Columns> held_;
  Columns cached_, decoding_;
};

TEST_P(ClaimsProperty, NoColumnIsDecodedTwiceAtOnceAndNobodyWaitsForEver) {
  ScanId next = 1;
  auto end_one = [&] {
    // Whoever holds something can end; if all wait, they wait for ever.
    const auto holding = std::ranges::find_if(scans_, [](auto& scan) { return scan.second.holds; });
    ASSERT_NE(holding, scans_.end());
    if (random_() % 2 == 0) {  // it didn't fail
      for (const auto& [file, names] : held_[holding->first]) {
        cached_[file].insert(names.begin(), names.end());
      }
    }
    End(holding->first);
  };
  for (int step = 0; step < 300; ++step) {
    if (random_() % 2 == 0) {
      scans_[next] = {.wanted = AnyColumns()};
      Look(next++);
    } else if (!scans_.empty()) {
      end_one();
    }
    if (random_() % 20 == 0) cached_.clear();
    if (random_() % 10 == 0 && !scans_.empty()) End(scans_.begin()->first);  // cancelled
  }
  while (!scans_.empty()) end_one();
  EXPECT_EQ(claims_.num_holding() + claims_.num_waiting(), 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ClaimsProperty, ::testing::Range<uint64_t>(0, 100));

}  // namespace
}  // namespace zerrow::decache
