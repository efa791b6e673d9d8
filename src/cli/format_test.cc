#include "cli/format.h"

#include <gtest/gtest.h>

namespace zerrow::cli {
namespace {

TEST(FormatTest, Bytes) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.0 KiB");
  EXPECT_EQ(FormatBytes(1024 * 1024 - 1), "1.0 MiB") << "never 1024.0 KiB";
  EXPECT_EQ(FormatBytes(int64_t{32} << 20), "32.0 MiB");
  EXPECT_EQ(FormatBytes(int64_t{5} << 50), "5120.0 TiB");
}

TEST(FormatTest, Counts) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(336776), "336,776");
  EXPECT_EQ(FormatCount(-1234567), "-1,234,567");
  EXPECT_EQ(FormatPlural(1, "row"), "1 row");
  EXPECT_EQ(FormatPlural(0, "row"), "0 rows");
}

TEST(FormatTest, Seconds) {
  EXPECT_EQ(FormatSeconds(0.0042), "0.004 s");
  EXPECT_EQ(FormatSeconds(1.234), "1.23 s");
  EXPECT_EQ(FormatSeconds(75.04), "75.0 s");
  EXPECT_EQ(FormatSeconds(200), "3 min 20 s");
}

TEST(OneLineTest, CutsByCharactersNotBytes) {
  EXPECT_EQ(OneLine("short", 10), "short");
  EXPECT_EQ(OneLine("0123456789", 10), "0123456789");
  EXPECT_EQ(OneLine("0123456789a", 10), "012345678…");
  EXPECT_EQ(OneLine("äöüäöüäöüäö", 10), "äöüäöüäöü…");
  EXPECT_EQ(DisplayWidth("äöü…"), 4u);
  EXPECT_EQ(DisplayWidth("東京 🚕"), 7u);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1u) << "a letter and its accent";
  EXPECT_EQ(OneLine("東京都港区", 10), "東京都港区");
  EXPECT_EQ(OneLine("東京都港区", 9), "東京都港…");
  EXPECT_EQ(OneLine("東京都港区", 8), "東京都…") << "half a character has no place";
}

TEST(OneLineTest, DisarmsControlCharacters) {
  EXPECT_EQ(OneLine("a\nb\tc\r", 20), "a\\nb\\tc\\r");
  EXPECT_EQ(OneLine("\033[2J\x7F", 20), "\\x1b[2J\\x7f");
  EXPECT_EQ(OneLine("ab\033", 4), "ab…");
  EXPECT_EQ(OneLine("\u009b2J", 20), "\\u009b2J") << "also begins an escape sequence";
  EXPECT_EQ(OneLine("caf\xe9!", 20), "caf\\xe9!");
  EXPECT_EQ(OneLine(std::string_view("a\0b", 3), 20), "a\\x00b");
}

TEST(TextTableTest, AlignsAndLeavesNoTrailingBlanks) {
  TextTable table({{"name", TextTable::Align::kLeft},
                   {"n", TextTable::Align::kRight},
                   {"note", TextTable::Align::kLeft}});
  table.AddRow({{"ä", ""}, {"1,000", ""}, {"x", ""}});
  table.AddRow({{"long name", ""}, {"7", ""}, {"", ""}});
  EXPECT_EQ(table.ToString(),
            "name           n  note\n"
            "ä          1,000  x\n"
            "long name      7\n");
}

TEST(TextTableTest, AlignsWideCharacters) {
  TextTable table({{"city"}, {"n", TextTable::Align::kRight}});
  table.AddRow({{"東京", ""}, {"1", ""}});
  table.AddRow({{"Oslo", ""}, {"22", ""}});
  EXPECT_EQ(table.ToString(),
            "city   n\n"
            "東京   1\n"
            "Oslo  22\n");
}

TEST(TextTableTest, StylesDontCountForTheWidth) {
  TextTable table({{"a", TextTable::Align::kRight}, {"b", TextTable::Align::kLeft}});
  table.AddRow({{"x", "\033[31m"}, {"y", ""}});
  table.AddRow({{"wide", ""}, {"y", ""}});
  EXPECT_EQ(table.ToString(),
            "   a  b\n"
            "   \033[31mx\033[0m  y\n"
            "wide  y\n");
}

}  // namespace
}  // namespace zerrow::cli
