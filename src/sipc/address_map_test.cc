#include "sipc/address_map.h"

#include <gtest/gtest.h>

namespace zerrow::sipc {
namespace {

const uint8_t* At(uintptr_t address) { return reinterpret_cast<const uint8_t*>(address); }

TEST(AddressMap, FindsWhatLiesWholeInOneRange) {
  AddressMap map;
  map.Add(7, At(0x2000), 0x1000);
  map.Add(5, At(0x1000), 0x1000);
  EXPECT_EQ(map.Find(At(0x1000), 0x1000), (Reference{5, 0, 0x1000}));
  EXPECT_EQ(map.Find(At(0x2010), 0x10), (Reference{7, 0x10, 0x10}));
  EXPECT_EQ(map.Find(At(0x1fff), 2), std::nullopt);  // spans two segments
  EXPECT_EQ(map.Find(At(0xfff), 1), std::nullopt);
  EXPECT_EQ(map.Find(At(0x3000), 0), std::nullopt);
  EXPECT_EQ(map.Find(At(0x2fff), 1), (Reference{7, 0xfff, 1}));
  EXPECT_EQ(map.Find(At(0x2fff), 2), std::nullopt);
}

TEST(AddressMap, HugeOrNegativeLengthIsNotFound) {
  AddressMap map;
  map.Add(1, At(0x1000), 0x1000);
  EXPECT_EQ(map.Find(At(0x1000), INT64_MAX), std::nullopt);
  EXPECT_EQ(map.Find(At(0x1000), -1), std::nullopt);
}

TEST(AddressMap, ALaterRangeReplacesWhatItOverlaps) {
  AddressMap map;
  map.Add(1, At(0x1000), 0x3000);
  map.Add(2, At(0x2000), 0x1000);
  EXPECT_EQ(map.Find(At(0x1000), 1), std::nullopt);
  EXPECT_EQ(map.Find(At(0x2000), 1), (Reference{2, 0, 1}));
}

}  // namespace
}  // namespace zerrow::sipc
