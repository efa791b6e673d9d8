// What happens beyond a limit: freezing, stopping, running again alone, failing.
#include "resource/memory_fixture.h"

namespace zerrow::resource {
namespace {

class PressureTest : public MemoryTest {};

TEST_F(PressureTest, BeyondTheLimitAttemptsAreFrozenAndTheOneThatGrewIsStopped) {
  Add({Needs(300, Value({})), Needs(300, Value({}))});
  Measure(1, 200);
  EXPECT_EQ(Measure(0, 900), (Said{"freeze 1:0#1", "freeze 1:1#1", "stop 1:0#1"}));
  EXPECT_EQ(Why(Reason::kOverLimit), "more is used than the engine's memory limit of 1 kB allows");
  EXPECT_EQ(Add({Value({})}, 2), Said{}) << "nothing starts meanwhile";
  // The other goes on; what was stopped waits until nothing else runs.
  EXPECT_EQ(End(0), (Said{"thaw 1:1#1", "start 2:0#1"}));
  Tell(TaskEnded{{2, 0}, 1, kSuccess, false, {}});
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 1:0#2"}));
  EXPECT_EQ(decisions_.back().reason, Reason::kAgainAlone);
  EXPECT_EQ(Add({Value({})}, 3), Said{});
  EXPECT_EQ(Measure(0, 950, 2), Said{});
  EXPECT_EQ(Succeed(0, {}, 2), (Said{"finish 1:0 success", "start 3:0#1", "end 1"}));
}

TEST_F(PressureTest, WhatDoesntFitAloneFailsAndSaysWhy) {
  Add({Needs(300, Reads({})), Value({0})});
  EXPECT_EQ(Measure(0, 1200), (Said{"freeze 1:0#1", "stop 1:0#1"}));
  EXPECT_EQ(End(0), (Said{"finish 1:0 failed", "finish 1:1 skipped", "end 1"}));
  EXPECT_EQ(Why(Reason::kTooLarge),
            "it needs at least 1.2 kB with its inputs, which the engine's memory limit of 1 kB "
            "doesn't allow; raise --memory-limit, or give it less to do");
}

TEST_F(PressureTest, ItsInputsCount) {
  Add({Reads({}), Needs(100, Value({0}))});
  Succeed(0, {{7, 800}});
  EXPECT_EQ(Measure(1, 300), (Said{"freeze 1:1#1", "stop 1:1#1"}));
  EXPECT_EQ(End(1), (Said{"finish 1:1 failed", "release 1:0", "free 7", "end 1"}));
  EXPECT_EQ(decisions_[0].why.needed_bytes, 1100);
}

TEST_F(PressureTest, WhatIsTooLargeBesideOthersIsTriedAgainWhenTheyHoldLess) {
  // Nothing can be evicted: the tables are in somebody's hands, or nothing may be.
  Core core({1, {1000, 0}, EvictionPolicy::kNone});
  core.On(RunAdded{1, 1, {Reads({}), Needs(10, Value({})), Needs(20, Value({0}))}}, 0);
  core.On(TaskEnded{{1, 0}, 1, kSuccess, false, {{7, 600}}}, 0);  // 2, its last reader, starts
  core.On(TaskEnded{{1, 2}, 1, kFailed, true, {}}, 0);            // lost, and again
  auto decisions = core.On(TaskMeasured{{1, 2}, 2, 10}, 0);
  EXPECT_TRUE(decisions.empty());
  decisions = core.On(TaskEnded{{1, 2}, 2, kSuccess, false, {}}, 0);
  EXPECT_EQ(Say(decisions.back()), "start 1:1#1");
}

TEST_F(PressureTest, AParkedTaskFailsOnlyOnceNothingElseCanRun) {
  core_.On(BudgetChanged{{}, {}}, 0);
  Core core({1, {1000, 0}, EvictionPolicy::kNone});
  // 1 reads nothing and comes first in the plan; 2 would free the table of 0.
  core.On(RunAdded{1, 1, {Reads({}), Needs(100, Value({})), Needs(900, Value({0}))}}, 0);
  auto decisions = core.On(TaskEnded{{1, 0}, 1, kSuccess, false, {{7, 600}}}, 0);
  EXPECT_EQ(Say(decisions.back()), "start 1:1#1") << "2 doesn't fit";
  decisions = core.On(TaskMeasured{{1, 1}, 1, 500}, 0);
  EXPECT_EQ(Say(decisions.back()), "stop 1:1#1");
  decisions = core.On(TaskEnded{{1, 1}, 1, kKilled, false, {}}, 0);
  EXPECT_EQ(Say(decisions.back()), "start 1:2#1") << "1 is too large beside the table of 0";
  decisions = core.On(TaskEnded{{1, 2}, 1, kSuccess, false, {}}, 0);
  EXPECT_EQ(Say(decisions.back()), "start 1:1#2") << "which has gone by now";
}

TEST_F(PressureTest, WhatWasExpectedIsNoReasonToFail) {
  Add({Needs(5000, Value({}))});
  EXPECT_EQ(Measure(0, 1200), (Said{"freeze 1:0#1", "stop 1:0#1"}));
  EXPECT_EQ(Limit(2000), Said{});
  EXPECT_EQ(End(0), Said{"start 1:0#2"}) << "what it had would fit by now";
}

TEST_F(PressureTest, WhatOutgrowsALimitThatRisesAndFallsIsRefusedInTheEnd) {
  Add({Needs(100, Value({}))});
  for (int attempt = 1; attempt < Scheduler::kMostOutgrown; ++attempt) {
    Limit(1000);
    EXPECT_EQ(Measure(0, 1200, attempt).back(), "stop 1:0#" + std::to_string(attempt));
    Limit(1500);
    EXPECT_EQ(End(0, attempt).back(), "start 1:0#" + std::to_string(attempt + 1));
  }
  Limit(1000);
  Measure(0, 1200, Scheduler::kMostOutgrown);
  Limit(1500);
  EXPECT_EQ(End(0, Scheduler::kMostOutgrown), (Said{"finish 1:0 failed", "end 1"}));
  EXPECT_EQ(decisions_[0].reason, Reason::kTooLarge);
}

TEST_F(PressureTest, WhatTheEngineTakesForAMomentIsNoReasonToFail) {
  const auto with_reserve = [this](int64_t bytes) {
    return Tell(BudgetChanged{{}, {2000, bytes}});
  };
  with_reserve(500);
  Add({Needs(100, Value({}))});
  with_reserve(1000);
  EXPECT_EQ(Measure(0, 1200), (Said{"freeze 1:0#1", "stop 1:0#1"}));
  EXPECT_EQ(End(0), Said{"start 1:0#2"}) << "it had fitted before";
  EXPECT_EQ(Measure(0, 1600, 2), (Said{"freeze 1:0#2", "stop 1:0#2"}));
  EXPECT_EQ(End(0, 2), (Said{"finish 1:0 failed", "end 1"})) << "there was never so much";
}

TEST_F(PressureTest, AShrinkingLimitStopsTheYoungest) {
  Add({Needs(400, Value({})), Needs(400, Value({}))});
  Measure(0, 400);
  Measure(1, 400);
  EXPECT_EQ(Limit(500), (Said{"freeze 1:0#1", "freeze 1:1#1", "stop 1:1#1"}));
  EXPECT_EQ(End(1), Said{"thaw 1:0#1"});
  EXPECT_EQ(Succeed(0), (Said{"finish 1:0 success", "start 1:1#2"}));
  EXPECT_EQ(decisions_.back().reason, Reason::kMadeRoom);
}

TEST_F(PressureTest, AWiderLimitLetsThemGoOn) {
  Add({Needs(400, Value({})), Needs(400, Value({}))});
  Measure(0, 400);
  Measure(1, 400);
  Limit(500);
  EXPECT_EQ(Limit(Budget::kUnlimited), Said{"thaw 1:0#1"});
  EXPECT_EQ(End(1), Said{"start 1:1#2"});
}

TEST_F(PressureTest, FrozenTimeDoesntCount) {
  Add({Timed(Needs(100, Value({})), 10), Needs(100, Value({}))});
  Tell(TaskRunning{{1, 0}, 1}, 1);
  EXPECT_EQ(core_.next_deadline(), 11);
  Tell(TaskMeasured{{1, 1}, 1, 1500}, 4);
  EXPECT_EQ(core_.next_deadline(), std::nullopt);
  Tell(TaskEnded{{1, 1}, 1, kKilled, false, {}}, 104);
  EXPECT_EQ(core_.next_deadline(), 111);
}

TEST_F(PressureTest, OneThatIsFrozenMayHaveAnswered) {
  Add({Needs(100, Reads({})), Needs(100, Value({})), Value({0})});
  Measure(1, 1500);
  EXPECT_EQ(Tell(TaskPublished{{1, 0}, 1, {{7, 10}}}), Said{"thaw 1:0#1"});
}

TEST_F(PressureTest, CancelEndsWhatIsFrozenOrStoppedForItsMemory) {
  Add({Needs(100, Value({})), Needs(100, Value({}))});
  Measure(1, 1500);
  EXPECT_EQ(Tell(RunCancelled{1}), Said{"stop 1:0#1"});
  EXPECT_EQ(End(1), Said{"finish 1:1 cancelled"});
  EXPECT_EQ(End(0), (Said{"finish 1:0 cancelled", "end 1"}));
}

// The first time it only waits until there is room for what it had.
TEST_F(PressureTest, WhatIsRefusedMemoryAgainRunsBesideNobody) {
  Add({Needs(100, Reads({})), Needs(500, Value({}))});
  const auto refuse = [this](int attempt) {
    Measure(0, 300, attempt);
    TaskEnded ended{{kRun, 0}, attempt, kFailed, true};
    ended.for_memory = true;
    return Tell(ended);
  };
  EXPECT_EQ(refuse(1), Said{"start 1:0#2"});
  EXPECT_EQ(decisions_.back().reason, Reason::kRefused);
  EXPECT_EQ(refuse(2), Said());
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 1:0#3"}));
}

TEST_F(PressureTest, WhatIsRefusedMemoryIsExpectedToNeedAsMuchAsItHad) {
  Add({Needs(100, Reads({})), Needs(700, Value({}))});
  Measure(0, 200);
  TaskEnded ended{{kRun, 0}, 1, kFailed, true};
  ended.for_memory = true;
  EXPECT_EQ(Tell(ended), Said{"start 1:0#2"});
  EXPECT_EQ(Add({Needs(150, Value({}))}, 2), Said()) << "it is expected to have that again";
  EXPECT_EQ(Add({Needs(50, Value({}))}, 3), Said{"start 3:0#1"});
}

TEST_F(PressureTest, ARunBeyondItsLimitLeavesOthersAlone) {
  Add({Needs(100, Value({})), Needs(100, Value({}))}, 1, {300, 0});
  Add({Needs(100, Value({}))}, 2);
  EXPECT_EQ(Measure(0, 400), (Said{"freeze 1:0#1", "freeze 1:1#1", "stop 1:0#1"}));
  EXPECT_TRUE(Last(Decision::Kind::kStop).why.of_run);
  EXPECT_EQ(Last(Decision::Kind::kStop).why.limit_bytes, 300);
}

}  // namespace
}  // namespace zerrow::resource
