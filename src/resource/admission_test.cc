// What may start under a limit, and in which order.
#include "resource/memory_fixture.h"

namespace zerrow::resource {
namespace {

class Admission : public MemoryTest {};

TEST_F(Admission, ATaskStartsWhenItsPeakFits) {
  EXPECT_EQ(Add({Needs(600, Value({})), Needs(400, Value({})), Needs(1, Value({}))}),
            (Said{"start 1:0#1", "start 1:1#1"}));
  EXPECT_EQ(core_.committed_bytes(), 1000);
  EXPECT_EQ(core_.charged_bytes(), 0);
  EXPECT_EQ(core_.blocked(), (TaskId{1, 2}));
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 1:2#1"}));
  EXPECT_EQ(core_.blocked(), std::nullopt);
}

TEST_F(Admission, TheReserveIsntGivenAway) {
  Tell(BudgetChanged{{}, {1000, 100}});
  EXPECT_EQ(Add({Needs(500, Value({})), Needs(500, Value({}))}), Said{"start 1:0#1"});
}

TEST_F(Admission, TablesThatAreThereCount) {
  Add({Reads({}), Needs(500, Value({0})), Needs(300, Value({0}))});
  EXPECT_EQ(Succeed(0, {{7, 400}}), (Said{"finish 1:0 success", "start 1:1#1"}));
  EXPECT_EQ(core_.charged_bytes(), 400);
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 1:2#1"}));
}

TEST_F(Admission, WhatItHasGrownToCountsIfThatIsMore) {
  Add({Needs(100, Value({})), Needs(100, Value({0}))});
  Measure(0, 850);
  EXPECT_EQ(core_.charged_bytes(), 850);
  EXPECT_EQ(Add({Needs(200, Value({}))}, 2), Said{});
  EXPECT_EQ(Measure(0, 50), Said{"start 2:0#1"});
}

TEST_F(Admission, PublishingMovesWhatWasTheAttempts) {
  Add({Needs(500, Reads({})), Value({0})});
  Measure(0, 450);
  Tell(TaskPublished{{1, 0}, 1, {{7, 300}}});
  EXPECT_EQ(core_.charged_bytes(), 450);
  Succeed(0, {{7, 300}});
  EXPECT_EQ(core_.charged_bytes(), 300);
}

TEST_F(Admission, OthersPassWhatDoesntFitButNotForEver) {
  std::vector<TaskSpec> tasks = {Needs(600, Value({})), Needs(900, Value({}))};
  for (int i = 0; i < 20; ++i) tasks.push_back(Needs(100, Value({})));
  EXPECT_EQ(Add(tasks), (Said{"start 1:0#1", "start 1:2#1", "start 1:3#1", "start 1:4#1"}));
  int passes = 3;
  for (size_t i = 2; core_.running() > 1; ++i) {
    const Said said = Succeed(i);
    if (said.back().starts_with("start")) ++passes;
  }
  EXPECT_EQ(passes, 8);
  EXPECT_EQ(Succeed(0).back(), "start 1:10#1") << "the large one alone needs more than is free";
}

TEST_F(Admission, ASmallRunIsntStarvedByALargeOne) {
  Add({10, Needs(400, Value({}))});  // two of them run
  EXPECT_EQ(Add({Needs(50, Value({}))}, 2), Said{"start 2:0#1"});
  // Where there is no room the small run is the next nevertheless.
  EXPECT_EQ(Add({Needs(300, Value({}))}, 3), Said{});
  EXPECT_EQ(Succeed(0).back(), "start 3:0#1");
}

TEST_F(Admission, ARunThatHoldsNothingWaitsWhileHalfIsCommitted) {
  Add({Needs(600, Reads({})), Needs(100, Reads({0}))});
  EXPECT_EQ(Add({Needs(200, Reads({}))}, 2), Said{});
  EXPECT_EQ(Add({Needs(50, Reads({}))}, 3), Said{"start 3:0#1"}) << "it needs little";
  // The run that has begun goes on first.
  EXPECT_EQ(Succeed(0, {{7, 450}}).back(), "start 1:1#1");
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "release 1:0", "free 7", "release 1:1",
                              "start 2:0#1", "end 1"}));
}

TEST_F(Admission, WhatIsLikeTheLargestTableWithoutInputsIsExpectedOfOthers) {
  Add({Reads({}), Reads({}, {0}), Reads({}, {0}), Value({0}, {1, 2})});
  EXPECT_EQ(Succeed(0, {{7, 400}}, 1, 1), (Said{"finish 1:0 success", "start 1:1#1"}));
  EXPECT_EQ(core_.blocked(), (TaskId{1, 2}));
  // In other runs too.
  EXPECT_EQ(Add({Reads({})}, 2), Said{});
}

TEST_F(Admission, APartOfItsInputsIsExpectedOfWhatWasNeverSeen) {
  Add({Reads({}), Value({0}), Value({0}), Value({0})});
  EXPECT_EQ(Succeed(0, {{7, 600}}), (Said{"finish 1:0 success", "start 1:1#1", "start 1:2#1"}));
  EXPECT_EQ(core_.committed_bytes(), 900);
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 1:3#1"}));
}

TEST_F(Admission, WhatAddsLessToMemoryGoesFirst) {
  const auto makes = [](int64_t bytes, TaskSpec spec) {
    spec.expected = {bytes, 0, 1};
    return spec;
  };
  const std::vector<TaskSpec> tasks = {makes(300, Reads({})), makes(200, Reads({})),
                                       makes(400, Reads({})), makes(0, Value({0, 1}))};
  // The table of 2 is freed at once.
  EXPECT_EQ(Add(tasks, kRun, {}, 1), Said{"start 1:2#1"});
  EXPECT_EQ(Succeed(2, {{9, 400}}),
            (Said{"finish 1:2 success", "release 1:2", "free 9", "start 1:1#1"}));
}

TEST_F(Admission, WhatIsTooLargeIsTriedAlone) {
  Add({Needs(100, Value({})), Needs(5000, Value({}))});
  EXPECT_EQ(Succeed(0), (Said{"finish 1:0 success", "start 1:1#1"}));
  EXPECT_EQ(decisions_.back().reason, Reason::kTriedAlone);
  EXPECT_EQ(Add({Value({})}, 2), Said{}) << "nothing runs beside it";
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 2:0#1", "end 1"}));
}

TEST_F(Admission, ARunHasALimitOfItsOwn) {
  EXPECT_EQ(Add({Needs(200, Value({})), Needs(200, Value({}))}, 1, {300, 0}), Said{"start 1:0#1"});
  EXPECT_EQ(Add({Needs(200, Value({})), Needs(200, Value({}))}, 2),
            (Said{"start 2:0#1", "start 2:1#1"}));
  EXPECT_EQ(Succeed(0), (Said{"finish 1:0 success", "start 1:1#1"}));
}

TEST_F(Admission, WhatIsTooLargeForItsRunIsTriedAloneInIt) {
  Add({Needs(100, Value({}))}, 2);
  EXPECT_EQ(Add({Needs(400, Value({})), Value({})}, 1, {300, 0}), Said{"start 1:1#1"});
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 1:0#1"}));
  EXPECT_EQ(decisions_.back().reason, Reason::kTriedAlone);
}

TEST_F(Admission, AWiderLimitStartsWhatWaits) {
  Add({Needs(600, Value({})), Needs(600, Value({}))});
  EXPECT_EQ(Limit(1200), Said{"start 1:1#1"});
  EXPECT_EQ(Limit(Budget::kUnlimited), Said{});
}

TEST_F(Admission, MemoryGoesToTheRunOfHigherPriorityFirst) {
  Add({Needs(600, Value({})), Needs(600, Value({}))}, 1);
  EXPECT_EQ(Tell(RunAdded{2, 4, {Needs(700, Reads({})), Value({0})}, {}, 1}), Said{});
  EXPECT_EQ(Succeed(0), (Said{"finish 1:0 success", "start 2:0#1"}));
}

}  // namespace
}  // namespace zerrow::resource
