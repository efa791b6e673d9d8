#include "base/byte_size.h"

#include <gtest/gtest.h>

namespace zerrow::base {
namespace {

TEST(ParseBytes, TakesPlainBytesAndUnitsInAnyCase) {
  EXPECT_EQ(ParseBytes("0").ValueOrDie(), 0);
  EXPECT_EQ(ParseBytes("4096").ValueOrDie(), 4096);
  EXPECT_EQ(ParseBytes("7B").ValueOrDie(), 7);
  EXPECT_EQ(ParseBytes("1kB").ValueOrDie(), 1'000);
  EXPECT_EQ(ParseBytes("1GB").ValueOrDie(), 1'000'000'000);
  EXPECT_EQ(ParseBytes("1gb").ValueOrDie(), 1'000'000'000);
  EXPECT_EQ(ParseBytes("512MiB").ValueOrDie(), int64_t{512} << 20);
  EXPECT_EQ(ParseBytes("512 mib").ValueOrDie(), int64_t{512} << 20);
  EXPECT_EQ(ParseBytes("3TiB").ValueOrDie(), int64_t{3} << 40);
  EXPECT_EQ(ParseBytes("1.5KiB").ValueOrDie(), 1536);
  EXPECT_EQ(ParseBytes("0.25GB").ValueOrDie(), 250'000'000);
  EXPECT_EQ(ParseBytes("1.29kB").ValueOrDie(), 1'290);
}

TEST(ParseBytes, RefusesWhatIsNoSize) {
  for (const char* text : {"",      " ",     "GB",    "-1",   "-1GB", "+1",  "1G B",    "1GBs",
                           "1 GB ", " 1GB",  "1  GB", "1.GB", ".5GB", "1.5", "1.5B",    "1e9",
                           "0x10",  "1,5GB", "1 ",    "one",  "nan",  "inf", "1GB 2GB", "1\n"}) {
    const auto bytes = ParseBytes(text);
    EXPECT_TRUE(bytes.status().IsInvalid()) << text;
    EXPECT_NE(bytes.status().message().find("is no size"), std::string::npos) << text;
  }
  EXPECT_TRUE(ParseBytes(std::string_view("1\0GB", 4)).status().IsInvalid());
}

TEST(ParseBytes, CountsUpTo63Bits) {
  EXPECT_EQ(ParseBytes("9223372036854775807").ValueOrDie(), 9223372036854775807);
  EXPECT_EQ(ParseBytes("8388607TiB").ValueOrDie(), int64_t{8388607} << 40);
  for (const char* text : {"9223372036854775808", "8388608TiB", "99999999999999999999GB",
                           "8388607.9999999999999999999TiB"}) {
    const auto bytes = ParseBytes(text);
    EXPECT_TRUE(bytes.status().IsInvalid()) << text << bytes.ValueOr(0);
    EXPECT_NE(bytes.status().message().find("63 bits"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace zerrow::base
