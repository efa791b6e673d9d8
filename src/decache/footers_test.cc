#include "decache/footers.h"

#include <gtest/gtest.h>

#include <random>

namespace zerrow::decache {
namespace {

FileIdentity File(const std::string& path, int64_t mtime_ns = 1) {
  return {.path = path, .mtime_ns = mtime_ns};
}

Footer Of(int64_t size_bytes) {
  return {.schema = arrow::schema({arrow::field("a", arrow::int64())}),
          .blocks = {{.first_group = 0, .groups = 2, .rows = 10}, {.first_group = 2, .rows = 5}},
          .size_bytes = size_bytes};
}

TEST(Footers, FindsWhatWasInserted) {
  Footers footers(100000);
  footers.Insert(File("f"), Of(1000));
  ASSERT_NE(footers.Find(File("f")), nullptr);
  EXPECT_EQ(footers.Find(File("f"))->blocks, Of(0).blocks);
  EXPECT_EQ(footers.Find(File("f", 2)), nullptr);
  EXPECT_GE(footers.bytes(), 1000);
}

TEST(Footers, ANewFooterTakesThePlaceOfTheOld) {
  Footers footers(100000);
  footers.Insert(File("f"), Of(1000));
  footers.InsertKept(File("f"), "a > 1", {0});
  footers.Insert(File("f"), Of(2000));
  EXPECT_EQ(footers.size(), 1);
  EXPECT_EQ(footers.Find(File("f"))->size_bytes, 2000);
  EXPECT_EQ(footers.FindKept(File("f"), "a > 1"), nullptr);
  // One that is too large takes away the old one all the same, which is no longer true.
  footers.Insert(File("f"), Of(200000));
  EXPECT_EQ(footers.Find(File("f")), nullptr);
  EXPECT_EQ(footers.bytes(), 0);
}

TEST(Footers, TheOneUnusedForLongestGoes) {
  Footers footers(3500);
  for (const char* path : {"a", "b"}) footers.Insert(File(path), Of(1000));
  EXPECT_NE(footers.Find(File("a")), nullptr);
  footers.Insert(File("c"), Of(1000));
  EXPECT_EQ(footers.Find(File("b")), nullptr);
  EXPECT_NE(footers.Find(File("a")), nullptr);
  EXPECT_EQ(footers.FindKept(File("c"), "x"), nullptr);  // a use too
  footers.Insert(File("d"), Of(1000));
  EXPECT_EQ(footers.Find(File("a")), nullptr);
  EXPECT_NE(footers.Find(File("c")), nullptr);
}

TEST(Footers, RemembersWhatFiltersKeep) {
  Footers footers(100000);
  footers.InsertKept(File("f"), "a > 1", {0});
  EXPECT_EQ(footers.FindKept(File("f"), "a > 1"), nullptr);  // no footer, no filters
  footers.Insert(File("f"), Of(1000));
  footers.InsertKept(File("f"), "a > 1", {1});
  footers.InsertKept(File("f"), "a > 9", {});
  ASSERT_NE(footers.FindKept(File("f"), "a > 1"), nullptr);
  EXPECT_EQ(*footers.FindKept(File("f"), "a > 1"), std::vector<int>{1});
  EXPECT_EQ(*footers.FindKept(File("f"), "a > 9"), std::vector<int>{});
  EXPECT_EQ(footers.FindKept(File("f"), "a > 5"), nullptr);
}

// Each run that reads a file tells its footer.
TEST(Footers, TheSameFooterLeavesFiltersAlone) {
  Footers footers(100000);
  Footer footer = Of(1000);
  footer.schema = arrow::schema({arrow::field("a", arrow::int32())});
  footers.Insert(File("f"), footer);
  footers.InsertKept(File("f"), "a > 1", {0});
  footer.schema = arrow::schema({arrow::field("a", arrow::int32())});
  footers.Insert(File("f"), footer);
  ASSERT_NE(footers.FindKept(File("f"), "a > 1"), nullptr);
  footer.schema = arrow::schema({arrow::field("a", arrow::int64())});
  footers.Insert(File("f"), footer);
  EXPECT_EQ(footers.FindKept(File("f"), "a > 1"), nullptr) << "it is compared otherwise";
}

TEST(Footers, FiltersAreBoundedToo) {
  Footers footers(1 << 20);
  footers.Insert(File("f"), Of(1000));
  for (int i = 0; i < 10000; ++i) {
    footers.InsertKept(File("f"), "a > " + std::to_string(i), {0, 1});
    ASSERT_NE(footers.FindKept(File("f"), "a > " + std::to_string(i)), nullptr);
    ASSERT_LE(footers.bytes(), 1000 + 400 * static_cast<int64_t>(Footers::kMaxFilters + 1));
  }
  // One that would never fit changes nothing.
  footers.InsertKept(File("f"), std::string(1 << 20, 'x'), {});
  EXPECT_NE(footers.FindKept(File("f"), "a > 9999"), nullptr);
  footers.Clear();
  EXPECT_EQ(footers.bytes(), 0);
  EXPECT_EQ(footers.size(), 0);
}

TEST(Footers, BudgetIsNeverExceeded) {
  std::mt19937_64 random(7);
  int64_t limit = 20000;
  Footers footers(limit);
  for (int i = 0; i < 20000; ++i) {
    const FileIdentity file = File(std::string(1 + random() % 8, 'f'), random() % 2);
    switch (random() % 6) {
      case 0:
      case 1:
        footers.Insert(file, Of(static_cast<int64_t>(random() % 8000)));
        break;
      case 2:
      case 3:
        footers.InsertKept(file, std::string(random() % 3000, 'x'), {});
        break;
      case 4:
        footers.Supersede(file);
        break;
      default:
        if (random() % 50 == 0) limit = static_cast<int64_t>(random() % 30000);
        footers.Resize(limit);
    }
    ASSERT_LE(footers.bytes(), limit);
    ASSERT_GE(footers.bytes(), 0);
    ASSERT_EQ(footers.bytes() == 0, footers.size() == 0);
  }
}

}  // namespace
}  // namespace zerrow::decache
