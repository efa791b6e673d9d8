#include "decache/cache.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <set>

namespace zerrow::decache {
namespace {

FileIdentity File(const std::string& path, int64_t mtime_ns = 1) {
  return {.path = path, .device = 1, .inode = 2, .size_bytes = 3, .mtime_ns = mtime_ns};
}

EntryKey Column(const std::string& column, int first_group = 0, const std::string& path = "f") {
  return {.file = File(path), .first_group = first_group, .column = column, .options = ""};
}

Entry Of(SegmentId segment, int64_t bytes, double decode_s) {
  return {.piece = nullptr, .segment = segment, .bytes = bytes, .decode_s = decode_s};
}

using Segments = std::vector<SegmentId>;

TEST(Cache, FindsWhatWasInserted) {
  Cache cache({.bytes = 100, .entries = 10});
  EXPECT_EQ(cache.Insert(Column("a"), Of(1, 60, 2)), Segments{});
  ASSERT_NE(cache.Find(Column("a")), nullptr);
  EXPECT_EQ(cache.Find(Column("a"))->segment, 1);
  EXPECT_EQ(cache.Find(Column("b")), nullptr);
  EXPECT_EQ(cache.Find(Column("a", 1)), nullptr);
  EXPECT_EQ(cache.Find(Column("a", 0, "g")), nullptr);
  EntryKey other = Column("a");
  other.options = "dictionary";
  EXPECT_EQ(cache.Find(other), nullptr);
  other = Column("a");
  other.file.ctime_ns = 9;
  EXPECT_EQ(cache.Find(other), nullptr);
  EXPECT_EQ(cache.bytes(), 60);
}

TEST(Cache, CountsUses) {
  Cache cache({.bytes = 100, .entries = 10});
  EXPECT_EQ(cache.Insert(Column("a"), Of(1, 60, 2)), Segments{});
  for (int i = 0; i < 3; ++i) cache.Use(Column("a"));
  cache.Use(Column("b"));
  cache.Use(Column("a", 0, "g"));
  EXPECT_EQ(cache.Find(Column("a"))->hits, 3);
  EXPECT_EQ(cache.Find(Column("a"))->saved_s, 6);
}

TEST(Cache, TheFirstEntryOfAKeyStays) {
  Cache cache({.bytes = 100, .entries = 10});
  EXPECT_EQ(cache.Insert(Column("a"), Of(1, 60, 2)), Segments{});
  EXPECT_EQ(cache.Insert(Column("a"), Of(2, 10, 9)), Segments{2});
  EXPECT_EQ(cache.Insert(Column("a"), Of(1, 60, 2)), Segments{});
  EXPECT_EQ(cache.Find(Column("a"))->segment, 1);
  EXPECT_EQ(cache.bytes(), 60);
}

Entry IndicesOf(const EntryKey& values, SegmentId segment, int64_t bytes, double decode_s) {
  Entry entry = Of(segment, bytes, decode_s);
  entry.values = std::make_shared<const EntryKey>(values);
  return entry;
}

TEST(Cache, ALaterVersionTakesThePlaceOfValues) {
  Cache cache({.bytes = 100, .entries = 10});
  EXPECT_EQ(cache.Insert(Column("values"), Of(1, 20, 2)), Segments{});
  cache.Use(Column("values"));
  EXPECT_EQ(cache.Replace(Column("values"), 1, Of(2, 30, 3)), Segments{1});
  const Entry& entry = *cache.Find(Column("values"));
  EXPECT_EQ(entry.segment, 2);
  EXPECT_EQ(entry.hits, 1);
  EXPECT_EQ(entry.saved_s, 2);
  EXPECT_EQ(entry.decode_s, 5);
  EXPECT_EQ(cache.bytes(), 30);
  EXPECT_EQ(cache.num_entries(), 1);
}

TEST(Cache, OnlyTheVersionThatWasExtendedIsReplaced) {
  Cache cache({.bytes = 100, .entries = 10});
  EXPECT_EQ(cache.Replace(Column("values"), 1, Of(2, 30, 3)), Segments{2});
  EXPECT_EQ(cache.Insert(Column("values"), Of(1, 20, 2)), Segments{});
  EXPECT_EQ(cache.Replace(Column("values"), 1, Of(3, 30, 3)), Segments{1});
  EXPECT_EQ(cache.Replace(Column("values"), 1, Of(4, 30, 3)), Segments{4});
  EXPECT_EQ(cache.Find(Column("values"))->segment, 3);
}

// Else the old one would serve entries that were made since.
TEST(Cache, AVersionThatIsTooLargeLeavesNone) {
  Cache cache({.bytes = 100, .entries = 10});
  EXPECT_EQ(cache.Insert(Column("a"), Of(1, 50, 2)), Segments{});
  EXPECT_EQ(cache.Insert(Column("values"), Of(2, 20, 2)), Segments{});
  EXPECT_EQ(cache.Replace(Column("values"), 2, Of(3, 101, 3)), (Segments{2, 3}));
  EXPECT_EQ(cache.Find(Column("values")), nullptr);
  EXPECT_NE(cache.Find(Column("a")), nullptr);
}

TEST(Cache, AVersionThatIsWorthLittleGoesAtOnce) {
  Cache cache({.bytes = 100, .entries = 10});
  EXPECT_EQ(cache.Insert(Column("a"), Of(1, 80, 100)), Segments{});
  EXPECT_EQ(cache.Insert(Column("values"), Of(2, 20, 1)), Segments{});
  EXPECT_EQ(cache.Replace(Column("values"), 2, Of(3, 30, 1)), (Segments{2, 3}));
  EXPECT_EQ(cache.bytes(), 80);
}

TEST(Cache, WhatReliesOnAnEntryMakesItDearer) {
  Cache cache({.bytes = 100, .entries = 10});
  EXPECT_EQ(cache.Insert(Column("values"), Of(1, 50, 1)), Segments{});
  EXPECT_EQ(cache.Insert(Column("b"), Of(2, 50, 2)), Segments{});
  cache.Charge(Column("values"), 4);
  cache.Charge(Column("nothing"), 4);
  EXPECT_EQ(cache.Find(Column("values"))->decode_s, 5);
  EXPECT_EQ(cache.Insert(Column("c"), Of(3, 50, 3)), Segments{2});
}

TEST(Cache, IndicesWithoutTheirValuesAreInNobodysWay) {
  Cache cache({.bytes = 100, .entries = 10});
  const EntryKey old = Column("old values"), values = Column("values");
  EXPECT_EQ(cache.Insert(Column("a"), IndicesOf(old, 1, 20, 1)), Segments{1});
  EXPECT_EQ(cache.Insert(old, Of(2, 60, 1)), Segments{});
  EXPECT_EQ(cache.Insert(Column("a"), IndicesOf(old, 3, 20, 8)), Segments{});
  EXPECT_EQ(cache.Insert(values, Of(4, 50, 9)), Segments{2});
  EXPECT_EQ(cache.Insert(Column("a"), IndicesOf(values, 5, 20, 8)), Segments{3});
  EXPECT_EQ(cache.Insert(Column("a"), IndicesOf(values, 6, 20, 8)), Segments{6}) << "it has them";
  EXPECT_EQ(cache.Find(Column("a"))->segment, 5);
  EXPECT_EQ(cache.bytes(), 70);
}

TEST(Cache, WhatCostLeastPerByteGoes) {
  Cache cache({.bytes = 100, .entries = 10});
  EXPECT_EQ(cache.Insert(Column("dear"), Of(1, 50, 5)), Segments{});
  EXPECT_EQ(cache.Insert(Column("cheap"), Of(2, 50, 1)), Segments{});
  EXPECT_EQ(cache.Insert(Column("middle"), Of(3, 50, 3)), Segments{2});
  EXPECT_EQ(cache.num_entries(), 2);
}

TEST(Cache, OfEqualOnesTheOneUnusedForLongestGoes) {
  Cache cache({.bytes = 100, .entries = 2});
  EXPECT_EQ(cache.Insert(Column("a"), Of(1, 10, 1)), Segments{});
  EXPECT_EQ(cache.Insert(Column("b"), Of(2, 10, 1)), Segments{});
  EXPECT_EQ(cache.Insert(Column("c"), Of(3, 10, 1)), Segments{1});
  EXPECT_EQ(cache.Insert(Column("d"), Of(4, 10, 1)), Segments{2});
}

// Else several would go for one that then goes as well.
TEST(Cache, NothingGoesForWhatIsWorthLess) {
  Cache cache({.bytes = 100, .entries = 10});
  EXPECT_EQ(cache.Insert(Column("cheap"), Of(1, 40, 1)), Segments{});
  EXPECT_EQ(cache.Insert(Column("dear"), Of(2, 60, 60)), Segments{});
  EXPECT_EQ(cache.Insert(Column("large"), Of(3, 90, 9)), Segments{3});
  EXPECT_NE(cache.Find(Column("cheap")), nullptr);
  EXPECT_EQ(cache.Insert(Column("too large"), Of(4, 101, 1e9)), Segments{4});
  EXPECT_EQ(cache.num_entries(), 2);
}

TEST(Cache, ALongScanLeavesWhatIsReadAgainAndAgain) {
  Cache cache({.bytes = 1000, .entries = 1000});
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(cache.Insert(Column("hot", i), Of(i + 1, 10, 1)), Segments{});
    cache.Use(Column("hot", i));
    cache.Use(Column("hot", i));
  }
  // As much as the cache holds once more, each read once and as dear as what is there.
  for (int i = 0; i < 100; ++i) (void)cache.Insert(Column("scan", i), Of(1000 + i, 10, 1));
  for (int i = 0; i < 50; ++i) EXPECT_NE(cache.Find(Column("hot", i)), nullptr) << i;
}

TEST(Cache, WhatIsNotUsedAnyMoreGoesInTheEnd) {
  Cache cache({.bytes = 1000, .entries = 1000});
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(cache.Insert(Column("once popular", i), Of(i + 1, 10, 1)), Segments{});
    for (int use = 0; use < 1000; ++use) cache.Use(Column("once popular", i));
  }
  for (int i = 0; i < 1000; ++i) (void)cache.Insert(Column("new", i), Of(1000 + i, 10, 1));
  for (int i = 0; i < 50; ++i) EXPECT_EQ(cache.Find(Column("once popular", i)), nullptr) << i;
}

// A dear entry that is never read again must not keep cheaper ones out for ever.
TEST(Cache, WhatIsRefusedAgesTheRest) {
  Cache cache({.bytes = 100, .entries = 10});
  EXPECT_EQ(cache.Insert(Column("dear"), Of(1, 100, 1000)), Segments{});
  int refused = 0;
  for (; refused < 100; ++refused) {
    if (cache.Insert(Column("cheap"), Of(2, 100, 90)) != Segments{2}) break;
  }
  EXPECT_EQ(refused, 11);
  EXPECT_EQ(cache.Find(Column("dear")), nullptr);
}

TEST(Cache, CostsThatAreNoNumbers) {
  Cache cache({.bytes = 20, .entries = 10});
  SegmentId segment = 1;
  for (const double cost : {std::nan(""), std::numeric_limits<double>::infinity(), -1.0, 0.0}) {
    (void)cache.Insert(Column("a", static_cast<int>(segment)), Of(segment, 10, cost));
    ++segment;
  }
  EXPECT_EQ(cache.num_entries(), 2);
  EXPECT_EQ(cache.Insert(Column("b"), Of(9, 20, 1)), (Segments{3, 4}));
}

TEST(Cache, ResizedCacheDropsWhatNoLongerFits) {
  Cache cache({.bytes = 100, .entries = 10, .footer_bytes = 10000});
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(cache.Insert(Column("a", i), Of(i + 1, 20, 5 - i)), Segments{});
  }
  cache.InsertFooter(File("f"), {.size_bytes = 10});
  EXPECT_EQ(cache.Resize({.bytes = 60, .entries = 10, .footer_bytes = 10000}), (Segments{5, 4}));
  EXPECT_NE(cache.FindFooter(File("f")), nullptr);
  EXPECT_EQ(cache.Resize({.bytes = 60, .entries = 1}), (Segments{3, 2}));
  EXPECT_EQ(cache.FindFooter(File("f")), nullptr);
  EXPECT_EQ(cache.Resize({.bytes = 60, .entries = 0}), Segments{1});
  EXPECT_EQ(cache.Insert(Column("b"), Of(6, 1, 1)), Segments{6});
}

TEST(Cache, ClearedCacheIsEmpty) {
  Cache cache({.bytes = 100, .entries = 10, .footer_bytes = 10000});
  EXPECT_EQ(cache.Insert(Column("a"), Of(1, 20, 1)), Segments{});
  EXPECT_EQ(cache.Insert(Column("a", 0, "g"), Of(2, 20, 1)), Segments{});
  cache.InsertFooter(File("f"), {.size_bytes = 10});
  EXPECT_EQ(cache.Clear(), (Segments{1, 2}));
  EXPECT_EQ(cache.bytes(), 0);
  EXPECT_EQ(cache.footer_bytes(), 0);
  EXPECT_EQ(cache.List().size(), 0);
  EXPECT_EQ(cache.Insert(Column("a"), Of(3, 20, 1)), Segments{});
}

TEST(Cache, SupersededIdentitiesAreForgotten) {
  Cache cache({.bytes = 100, .entries = 10, .footer_bytes = 10000});
  auto insert = [&](const FileIdentity& file, SegmentId segment) {
    EXPECT_EQ(cache.Insert({.file = file, .column = "a"}, Of(segment, 10, 1)), Segments{});
    cache.InsertFooter(file, {.size_bytes = 10});
  };
  // A clock that was set back makes a later file look older.
  insert(File("f", -5), 1);
  insert(File("f", 1), 2);
  insert(File("f", 7), 3);
  insert(File("f/", 1), 4);
  insert(File("e", 9), 5);
  EXPECT_EQ(cache.Supersede(File("f", 1)), (Segments{1, 3}));
  EXPECT_EQ(cache.Supersede(File("f", 1)), Segments{});
  EXPECT_EQ(cache.List().size(), 3);
  EXPECT_EQ(cache.FindFooter(File("f", -5)), nullptr);
  EXPECT_NE(cache.FindFooter(File("f", 1)), nullptr);
  EXPECT_NE(cache.FindFooter(File("f/", 1)), nullptr);
  EXPECT_EQ(cache.Supersede(File("f", 2)), Segments{2});
}

TEST(Cache, ListsByFileBlockAndColumn) {
  Cache cache({.bytes = 100, .entries = 10});
  EXPECT_EQ(cache.Insert(Column("b", 4, "g"), Of(1, 10, 0.5)), Segments{});
  EXPECT_EQ(cache.Insert(Column("b", 0, "f"), Of(2, 10, 0.5)), Segments{});
  EXPECT_EQ(cache.Insert(Column("a", 4, "g"), Of(3, 10, 0.5)), Segments{});
  EXPECT_EQ(cache.Insert(Column("z", 0, "g"), Of(4, 10, 0.5)), Segments{});
  cache.Use(Column("z", 0, "g"));
  Segments order;
  for (const Listed& listed : cache.List()) order.push_back(listed.entry.segment);
  EXPECT_EQ(order, (Segments{2, 4, 3, 1}));
  const Listed listed = cache.List()[1];
  EXPECT_EQ(listed.key, Column("z", 0, "g"));
  EXPECT_EQ(listed.entry.hits, 1);
  EXPECT_EQ(listed.entry.saved_s, 0.5);
}

// The same decisions as the formula says, by looking at all entries each time.
class Model {
 public:
  struct Kept {
    EntryKey key;
    Entry entry;
    double h;
    int used_at;
  };

  explicit Model(Cache::Limits limits) : limits_(limits) {}

  const Entry* Find(const EntryKey& key) {
    for (Kept& kept : kept_) {
      if (kept.key == key) return &kept.entry;
    }
    return nullptr;
  }
  void Use(const EntryKey& key) {
    for (Kept& kept : kept_) {
      if (kept.key != key) continue;
      ++kept.entry.hits;
      kept.h = H(kept.entry);
      kept.used_at = now_++;
    }
  }
  Segments Insert(const EntryKey& key, const Entry& entry) {
    Segments gone;
    if (const Entry* known = Find(key)) {
      if (HasValues(*known)) return {entry.segment};
      gone.push_back(known->segment);
      std::erase_if(kept_, [&](const Kept& kept) { return kept.key == key; });
    }
    const auto gone_and = [&](Segments more) {
      more.insert(more.end(), gone.begin(), gone.end());
      return more;
    };
    if (entry.bytes > limits_.bytes || !HasValues(entry)) return gone_and({entry.segment});
    const std::vector<Kept> before = kept_;
    kept_.push_back({key, entry, H(entry), now_++});
    const double l_before = l_;
    const Segments dropped = Evict();
    if (std::ranges::find(dropped, entry.segment) == dropped.end()) return gone_and(dropped);
    kept_ = before;
    l_ = l_before + Value(entry);
    return gone_and({entry.segment});
  }
  Segments Replace(const EntryKey& key, SegmentId base, Entry entry) {
    for (Kept& kept : kept_) {
      if (kept.key != key || kept.entry.segment != base) continue;
      entry.hits = kept.entry.hits;
      entry.decode_s += kept.entry.decode_s;
      if (entry.bytes > limits_.bytes) {
        std::erase_if(kept_, [&](const Kept& other) { return other.key == key; });
        return {base, entry.segment};
      }
      kept = {key, entry, H(entry), now_++};
      Segments dropped = Evict();
      dropped.push_back(base);
      return dropped;
    }
    return {entry.segment};
  }
  void Charge(const EntryKey& key, double decode_s) {
    for (Kept& kept : kept_) {
      if (kept.key != key) continue;
      kept.entry.decode_s += decode_s;
      kept.h = H(kept.entry);
      kept.used_at = now_++;
    }
  }
  Segments Resize(Cache::Limits limits) {
    limits_ = limits;
    return Evict();
  }
  Segments Supersede(const FileIdentity& file) {
    Segments dropped;
    std::erase_if(kept_, [&](const Kept& kept) {
      if (kept.key.file.path != file.path || kept.key.file == file) return false;
      dropped.push_back(kept.entry.segment);
      return true;
    });
    return dropped;
  }
  size_t size() const { return kept_.size(); }

 private:
  bool HasValues(const Entry& entry) { return !entry.values || Find(*entry.values) != nullptr; }
  static double Value(const Entry& entry) {
    return std::min(static_cast<double>(entry.hits + 1), 8.0) * entry.decode_s /
           static_cast<double>(entry.bytes);
  }
  double H(const Entry& entry) const { return l_ + Value(entry); }
  Segments Evict() {
    Segments dropped;
    auto fits = [&] {
      int64_t bytes = 0;
      for (const Kept& kept : kept_) bytes += kept.entry.bytes;
      return bytes <= limits_.bytes && kept_.size() <= limits_.entries;
    };
    while (!fits()) {
      const auto least = std::ranges::min_element(kept_, [](const Kept& a, const Kept& b) {
        return a.h != b.h ? a.h < b.h : a.used_at < b.used_at;
      });
      l_ = std::max(l_, least->h);
      dropped.push_back(least->entry.segment);
      kept_.erase(least);
    }
    return dropped;
  }

  Cache::Limits limits_;
  std::vector<Kept> kept_;
  double l_ = 0;
  int now_ = 0;
};

class CacheProperty : public ::testing::TestWithParam<uint64_t> {
 protected:
  int64_t Between(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  FileIdentity AnyFile() { return File(std::string(1, "fgh"[Between(0, 2)]), Between(0, 2)); }
  EntryKey AnyKey() {
    return {.file = AnyFile(),
            .first_group = static_cast<int>(Between(0, 3)),
            .column = std::string(1, "abc"[Between(0, 2)])};
  }
  Entry AnyEntry(SegmentId segment) {
    const auto decode_s = static_cast<double>(Between(0, 8));
    if (Between(0, 2) > 0) return Of(segment, Between(1, 120), decode_s);
    return IndicesOf(AnyKey(), segment, Between(1, 120), decode_s);
  }
  Cache::Limits AnyLimits() {
    return {.bytes = Between(0, 400), .entries = static_cast<size_t>(Between(0, 20))};
  }

  /// Segments that go must have been there, and go once.
  void Gone(const Segments& dropped) {
    for (const SegmentId segment : dropped) EXPECT_EQ(live_.erase(segment), 1) << segment;
  }

  std::mt19937_64 random_{GetParam()};
  std::set<SegmentId> live_;
};

TEST_P(CacheProperty, DecidesAsTheFormulaSays) {
  Cache::Limits limits = {.bytes = 300, .entries = 12};
  Cache cache(limits);
  Model model(limits);
  SegmentId next = 1;
  for (int step = 0; step < 600; ++step) {
    const EntryKey key = AnyKey();
    const int64_t what = Between(0, 99);
    Segments dropped, expected;
    if (what < 50) {
      const Entry entry = AnyEntry(next);
      live_.insert(next++);
      dropped = cache.Insert(key, entry);
      expected = model.Insert(key, entry);
    } else if (what < 65) {
      const Entry entry = AnyEntry(next);
      live_.insert(next++);
      // Mostly the one that is there.
      const Entry* known = Between(0, 4) > 0 ? cache.Find(key) : nullptr;
      const SegmentId base = known ? known->segment : static_cast<SegmentId>(Between(1, 9));
      dropped = cache.Replace(key, base, entry);
      expected = model.Replace(key, base, entry);
    } else if (what < 70) {
      const auto decode_s = static_cast<double>(Between(0, 8));
      cache.Charge(key, decode_s);
      model.Charge(key, decode_s);
    } else if (what < 95) {
      cache.Use(key);
      model.Use(key);
    } else if (what < 98) {
      dropped = cache.Supersede(key.file);
      expected = model.Supersede(key.file);
      for (const Listed& listed : cache.List()) {
        EXPECT_TRUE(listed.key.file.path != key.file.path || listed.key.file == key.file);
      }
    } else {
      limits = AnyLimits();
      dropped = cache.Resize(limits);
      expected = model.Resize(limits);
    }
    Gone(dropped);
    std::ranges::sort(dropped);
    std::ranges::sort(expected);
    ASSERT_EQ(dropped, expected) << "step " << step;

    int64_t bytes = 0;
    std::set<SegmentId> listed_segments;
    for (const Listed& listed : cache.List()) {
      bytes += listed.entry.bytes;
      listed_segments.insert(listed.entry.segment);
      const Entry* same = model.Find(listed.key);
      ASSERT_NE(same, nullptr);
      EXPECT_EQ(same->segment, listed.entry.segment);
      EXPECT_EQ(same->hits, listed.entry.hits);
      EXPECT_EQ(same->decode_s, listed.entry.decode_s);
    }
    ASSERT_EQ(listed_segments, live_) << "step " << step;
    ASSERT_EQ(cache.bytes(), bytes);
    ASSERT_LE(bytes, limits.bytes);
    ASSERT_LE(cache.num_entries(), limits.entries);
    ASSERT_EQ(cache.num_entries(), model.size());
  }
  Gone(cache.Clear());
  EXPECT_TRUE(live_.empty());
}

INSTANTIATE_TEST_SUITE_P(Seeds, CacheProperty, ::testing::Range<uint64_t>(0, 100));

}  // namespace
}  // namespace zerrow::decache
