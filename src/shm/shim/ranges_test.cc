#include "shm/shim/ranges.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <vector>

namespace zerrow::shim {
namespace {

int TagAt(const Ranges& ranges, uintptr_t at) {
  int found = Ranges::kNoTag;
  ranges.ForEachPiece(at, at + 1, [&](uintptr_t, uintptr_t, int tag) { found = tag; });
  return found;
}

TEST(Ranges, AgreesWithAnArrayOfTags) {
  std::mt19937 random(7);
  const auto ranges = std::make_unique<Ranges>();
  std::vector<int> tags(300, Ranges::kNoTag);
  for (int step = 0; step < 3000; ++step) {
    const uintptr_t begin = random() % 300;
    const uintptr_t end = begin + random() % (301 - begin);
    const int tag = static_cast<int>(random() % 4) - 1;
    ASSERT_TRUE(ranges->Set(begin, end, tag));
    for (uintptr_t i = begin; i < end; ++i) tags[i] = tag;
    bool any = false;
    for (uintptr_t i = 0; i < tags.size(); ++i) {
      ASSERT_EQ(TagAt(*ranges, i), tags[i]);
      any |= tags[i] != Ranges::kNoTag;
    }
    ASSERT_EQ(ranges->Intersects(0, tags.size()), any);
    ASSERT_EQ(ranges->empty(), !any);
  }
}

TEST(Ranges, PiecesCoverTheWholeRangeInOrder) {
  Ranges ranges;
  ranges.Set(10, 20, 1);
  ranges.Set(30, 40, 2);
  std::vector<std::vector<uintptr_t>> pieces;
  ranges.ForEachPiece(15, 50, [&](uintptr_t begin, uintptr_t end, int tag) {
    pieces.push_back({begin, end, static_cast<uintptr_t>(tag + 1)});
  });
  EXPECT_EQ(pieces, (std::vector<std::vector<uintptr_t>>{
                        {15, 20, 2}, {20, 30, 0}, {30, 40, 3}, {40, 50, 0}}));
}

TEST(Ranges, RefusesWhenFull) {
  const auto ranges = std::make_unique<Ranges>();
  uintptr_t at = 0;
  while (ranges->Set(at, at + 1, 1)) at += 2;
  EXPECT_GE(at / 2, Ranges::kCapacity - 2);
  EXPECT_EQ(TagAt(*ranges, at), Ranges::kNoTag);
  EXPECT_EQ(TagAt(*ranges, 0), 1);
}

}  // namespace
}  // namespace zerrow::shim
