#include "engine/selector.h"

#include <gtest/gtest.h>

namespace zerrow::engine {
namespace {

using Texts = std::vector<std::string>;

/// flights -> raw -> clean -> late, late_check; clean -> report; planes -> report.
std::vector<Selectable> Items() {
  return {{"flights", {}, {}, true},         {"planes", {}, {}, true}, {"raw", {"daily"}, {0}},
          {"clean", {"daily", "core"}, {2}}, {"late", {"core"}, {3}},  {"late_check", {}, {4}},
          {"report", {"weekly"}, {3, 1}}};
}

Texts Names(const std::set<size_t>& found) {
  const auto items = Items();
  Texts names;
  for (const size_t item : found) names.push_back(items.at(item).name);
  return names;
}

struct Case {
  Texts select;
  Texts exclude;
  Texts wanted;
  Texts runs;
};

void Check(const Case& expected, const Texts& failed = {}) {
  const auto found = Select(Items(), expected.select, expected.exclude, failed);
  const std::string what = ::testing::PrintToString(expected.select) + " without " +
                           ::testing::PrintToString(expected.exclude);
  ASSERT_TRUE(found.ok()) << what << ": " << found.status();
  EXPECT_EQ(Names(found->wanted), expected.wanted) << what;
  EXPECT_EQ(Names(found->runs), expected.runs) << what;
}

std::string Refusal(const Texts& select, const Texts& exclude = {}, const Texts& failed = {}) {
  const auto found = Select(Items(), select, exclude, failed);
  EXPECT_TRUE(found.status().IsInvalid()) << ::testing::PrintToString(select);
  return found.status().message();
}

TEST(Selector, WithoutOneAllModelsRunAndWhatNoneReadsIsWanted) {
  Check({{}, {}, {}, {"flights", "planes", "raw", "clean", "late", "late_check", "report"}});
}

TEST(Selector, ANameRunsWhatItNeedsAsWell) {
  Check({{"clean"}, {}, {"clean"}, {"flights", "raw", "clean"}});
  Check({{"flights"}, {}, {"flights"}, {"flights"}});
}

TEST(Selector, APlusAddsWhatIsNeededOrNeeds) {
  Check({{"+clean"}, {}, {"raw", "clean"}, {"flights", "raw", "clean"}});
  Check({{"late+"}, {}, {"late", "late_check"}, {"flights", "raw", "clean", "late", "late_check"}});
  Check({{"+late+"},
         {},
         {"raw", "clean", "late", "late_check"},
         {"flights", "raw", "clean", "late", "late_check"}});
  Check({{"planes+"}, {}, {"report"}, {"flights", "planes", "raw", "clean", "report"}});
}

TEST(Selector, PatternsAndTagsMeanModels) {
  Check({{"la*"}, {}, {"late", "late_check"}, {"flights", "raw", "clean", "late", "late_check"}});
  Check({{"[rp]?*"}, {"report"}, {"raw"}, {"flights", "raw"}});
  Check({{"tag:daily"}, {}, {"raw", "clean"}, {"flights", "raw", "clean"}});
  Check({{"tag:w*"}, {}, {"report"}, {"flights", "planes", "raw", "clean", "report"}});
  Check({{"+tag:core,tag:daily+"}, {"tag:daily"}, {"late"}, {"flights", "raw", "clean", "late"}});
}

TEST(Selector, SeveralAreAUnionAndCommasAnIntersection) {
  Check({{"raw", "late"}, {}, {"raw", "late"}, {"flights", "raw", "clean", "late"}});
  Check({{"tag:daily,tag:core"}, {}, {"clean"}, {"flights", "raw", "clean"}});
  Check({{"raw+,+report,clean"}, {}, {"clean"}, {"flights", "raw", "clean"}});
}

TEST(Selector, WhatIsExcludedRunsOnlyIfItIsNeeded) {
  Check({{}, {"late+"}, {}, {"flights", "planes", "raw", "clean", "report"}});
  Check({{}, {"clean"}, {}, {"flights", "planes", "raw", "clean", "late", "late_check", "report"}});
  Check({{"tag:core"}, {"clean"}, {"late"}, {"flights", "raw", "clean", "late"}});
}

TEST(Selector, WhatFailedRunsWithWhatDependsOnIt) {
  const Texts runs = {"flights", "raw", "clean", "late", "late_check"};
  Check({{"state:failed"}, {}, {}, runs}, {"late", "gone"});
  Check({{"state:failed,tag:core"}, {}, {"late"}, {"flights", "raw", "clean", "late"}}, {"late"});
  Check({{}, {"state:failed"}, {}, {"flights", "planes", "raw", "clean", "report"}}, {"late"});
  EXPECT_EQ(Refusal({"state:failed"}), "nothing failed in the last run of this project");
  EXPECT_TRUE(AsksForFailed({"a", "tag:x,state:failed"}));
  EXPECT_FALSE(AsksForFailed({"failed"}));
}

TEST(Selector, ANameMeansItselfWhateverItHas) {
  const std::vector<Selectable> odd = {
      {"a", {}, {}}, {"a+", {}, {0}}, {"tag:x", {}, {}}, {"a,b*", {}, {}}, {"*", {}, {}}};
  for (size_t i = 0; i < odd.size(); ++i) {
    const auto found = Select(odd, {odd[i].name}, {}, {}).ValueOrDie();
    EXPECT_EQ(found.wanted, std::set<size_t>{i}) << odd[i].name;
  }
}

TEST(Selector, WhatIsUnknownIsNamed) {
  EXPECT_EQ(Refusal({"raww"}), "unknown model \"raww\" in --select; did you mean \"raw\"?");
  EXPECT_EQ(Refusal({"+raww+"}), "unknown model \"raww\" in --select; did you mean \"raw\"?");
  EXPECT_EQ(Refusal({}, {"cleam"}),
            "unknown model \"cleam\" in --exclude; did you mean \"clean\"?");
  EXPECT_EQ(Refusal({"tag:dayly"}),
            "no model has the tag \"dayly\" of --select; did you mean \"daily\"?");
  EXPECT_NE(Refusal({"x*"}).find("no model is called like \"x*\" in --select"), std::string::npos);
  EXPECT_EQ(Refusal({"state:new"}), "there is no \"state:new\" for --select, only state:failed");
  for (const char* text : {"", ",", "raw,", ",raw"}) {
    EXPECT_EQ(Refusal({text}), "--select '" + std::string(text) + "' lacks a name");
  }
  for (const char* text : {"+", "++"}) {
    EXPECT_NE(Refusal({text}).find("unknown model"), std::string::npos) << text;
  }
}

TEST(Selector, NothingIsNoSelection) {
  EXPECT_EQ(Refusal({"raw,late"}), "no model is all that --select asks for");
  EXPECT_EQ(Refusal({"fl*"}), "no model is all that --select asks for");
  EXPECT_EQ(Refusal({"raw"}, {"tag:daily"}), "--exclude leaves nothing of what is selected");
}

}  // namespace
}  // namespace zerrow::engine
