#include "base/json.h"

#include <gtest/gtest.h>

#include <string>

namespace zerrow::base {
namespace {

using nlohmann::json;

std::string Repeat(const std::string& text, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += text;
  return all;
}

TEST(ParseJson, IsWhatNlohmannParses) {
  for (const std::string text :
       {"null", "true", "-7", "18446744073709551615", "1.5e300", R"("a\u00e4\ud83d\ude00")", "[]",
        "{}", R"([1,[2,{"a":[],"b":{"a":null}}],"x"])", R"({"":{"":0}, "k" : [ {} , [] ] })"}) {
    EXPECT_EQ(ParseJson(text).ValueOrDie(), json::parse(text)) << text;
  }
}

TEST(ParseJson, RefusesWhatIsntOneDocument) {
  for (const std::string& text :
       {std::string(), std::string(" "), std::string("{"), std::string("[1,]"), std::string("1 2"),
        std::string("[1]]"), std::string("{\"a\"}"), std::string("NaN"), std::string("Infinity"),
        std::string("1e999"), std::string("-1e999"), std::string("\"\xff\""),
        std::string("\"\xc3\""), std::string("\"\xed\xa0\x80\""), std::string(R"("\ud800")"),
        std::string("\"a\nb\""), std::string("nul\0", 4), std::string("// x\n1")}) {
    const auto status = ParseJson(text).status();
    EXPECT_TRUE(status.IsSerializationError()) << text << status;
  }
}

TEST(ParseJson, RefusesAKeyThatStandsTwice) {
  const auto status = ParseJson(R"({"a":{"b":1,"c":2,"b":{}}})").status();
  EXPECT_TRUE(status.IsSerializationError());
  EXPECT_NE(status.message().find("\"b\""), std::string::npos) << status;
}

TEST(ParseJson, DepthIsLimitedWhileParsing) {
  for (const size_t depth : {size_t{1}, size_t{63}, size_t{64}}) {
    EXPECT_TRUE(ParseJson(Repeat("[", depth) + Repeat("]", depth)).ok());
    EXPECT_TRUE(ParseJson(Repeat("{\"a\":", depth) + "1" + Repeat("}", depth)).ok());
  }
  for (const size_t depth : {size_t{65}, size_t{4} << 20}) {
    for (const std::string& open :
         {std::string("["), std::string("{\"a\":"), std::string("[[],")}) {
      const auto status = ParseJson(Repeat(open, depth)).status();
      EXPECT_NE(status.message().find("deeper than 64"), std::string::npos) << status;
    }
  }
}

TEST(ParseJson, ValuesAreLimited) {
  EXPECT_TRUE(ParseJson("[1,[],{\"a\":2}]", {.values = 5}).ok());
  for (const std::string text : {"[1,[],{\"a\":2}]", "[[],[],[],[]]"}) {
    EXPECT_TRUE(ParseJson(text, {.values = 4}).status().IsSerializationError());
  }
  EXPECT_TRUE(ParseJson("[" + Repeat("0,", 5 << 20) + "0]").status().IsSerializationError());
}

}  // namespace
}  // namespace zerrow::base
