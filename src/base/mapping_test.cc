#include "base/mapping.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/fd.h"

namespace zerrow::base {
namespace {

TEST(Mapping, SharesTheFilesBytes) {
  UniqueFd fd = MakeMemfd("test", 4096).ValueOrDie();
  Mapping writer = Mapping::Map(fd.get(), 4096, Mapping::Access::kReadWrite).ValueOrDie();
  Mapping reader = Mapping::Map(fd.get(), 4096, Mapping::Access::kReadOnly).ValueOrDie();
  std::memcpy(writer.data(), "abc", 3);
  EXPECT_EQ(std::memcmp(reader.data(), "abc", 3), 0);
}

TEST(Mapping, OutlivesTheDescriptorAndMoves) {
  UniqueFd fd = MakeSealedMemfd("test", "abc").ValueOrDie();
  Mapping first = Mapping::Map(fd.get(), 3, Mapping::Access::kReadOnly).ValueOrDie();
  fd.reset();
  Mapping second = std::move(first);
  EXPECT_EQ(first.data(), nullptr);
  EXPECT_EQ(std::memcmp(second.data(), "abc", 3), 0);
}

TEST(Mapping, RefusesWhatCannotBe) {
  EXPECT_TRUE(Mapping::Map(-1, -1, Mapping::Access::kReadOnly).status().IsInvalid());
  EXPECT_TRUE(Mapping::Map(-1, 4096, Mapping::Access::kReadOnly).status().IsIOError());
  EXPECT_EQ(Mapping::Map(-1, 0, Mapping::Access::kReadOnly).ValueOrDie().size(), 0);
}

}  // namespace
}  // namespace zerrow::base
