#include "resource/core_fixture.h"

namespace zerrow::resource {
namespace {

TEST_F(CoreTest, RunsAChainAndFreesEachTableOnceItIsUnread) {
  EXPECT_EQ(Add({Reads({}), Reads({0, 0})}), Said{"start 1:0#1"});
  EXPECT_FALSE(core_.IsResident({kRun, 0}));
  EXPECT_EQ(Succeed(0, {{7, 10}}), (Said{"finish 1:0 success", "start 1:1#1"}));
  EXPECT_TRUE(core_.IsResident({kRun, 0}));
  EXPECT_EQ(core_.ledger().bytes(), 10);
  EXPECT_EQ(Succeed(1, {{8, 5}}), (Said{"finish 1:1 success", "release 1:0", "free 7",
                                        "release 1:1", "free 8", "end 1"}));
  ExpectNothingLeft();
}

TEST_F(CoreTest, ASegmentThatIsResharedOutlivesItsFirstTable) {
  Add({Reads({}), Reads({0}), Value({1})});
  Succeed(0, {{7, 10}, {70, 1}});
  EXPECT_EQ(Succeed(1, {{7, 10}, {8, 5}}),
            (Said{"finish 1:1 success", "release 1:0", "free 70", "start 1:2#1"}));
  EXPECT_EQ(core_.ledger().bytes(), 15);
  EXPECT_EQ(Succeed(2), (Said{"finish 1:2 success", "release 1:1", "free 7", "free 8", "end 1"}));
}

TEST_F(CoreTest, OfAResharedSegmentGoesWhatItsLastReadersDontUse) {
  constexpr int64_t kBytes = 100 << 20;
  Add({Reads({}), Reads({0}), Value({1})});
  Succeed(0, {{7, kBytes, {{0, kBytes}}}});
  EXPECT_EQ(Publish(1, {{7, kBytes, {{4096, 8192}}}}),
            (Said{"release 1:0", "shrink 7", "start 1:2#1"}));
  EXPECT_EQ(decisions_[1].used, (std::vector<ByteRange>{{4096, 8192}}));
  EXPECT_EQ(Succeed(1), Said{"finish 1:1 success"});
  EXPECT_EQ(Succeed(2), (Said{"finish 1:2 success", "release 1:1", "free 7", "end 1"}));
}

TEST_F(CoreTest, ARunWithoutTasksEndsAtOnce) {
  EXPECT_EQ(Add({}), Said{"end 1"});
  ExpectNothingLeft();
}

TEST_F(CoreTest, SkipsWhatNeedsAFailedTaskAndFinishesTheRest) {
  //  0 -> 1 -> 2,  0 -> 3
  Add({Reads({}), Reads({0}), Reads({1}), Reads({0})}, 1);
  EXPECT_EQ(Succeed(0), (Said{"finish 1:0 success", "start 1:1#1"}));
  EXPECT_EQ(End(1, kKilled), (Said{"finish 1:1 killed", "finish 1:2 skipped", "start 1:3#1"}));
  EXPECT_EQ(reasons(), (std::vector{Reason::kEnded, Reason::kInputFailed, Reason::kInputsThere}));
  EXPECT_EQ(Succeed(3), (Said{"finish 1:3 success", "release 1:0", "release 1:3", "end 1"}));
  EXPECT_EQ(reasons().back(), Reason::kAllEnded);
}

TEST_F(CoreTest, ATableIsReleasedOnceItsReadersAreSkipped) {
  //  0 -> 2 <- 1
  Add({Reads({}), Reads({}), Reads({0, 1})});
  Succeed(0, {{7, 1}});
  EXPECT_EQ(End(1, kFailed),
            (Said{"finish 1:1 failed", "finish 1:2 skipped", "release 1:0", "free 7", "end 1"}));
}

TEST_F(CoreTest, ADeadlineCountsFromTheTasksRunning) {
  Add({Timed(Reads({}), 5), Reads({0})});
  EXPECT_EQ(core_.next_deadline(), std::nullopt);
  EXPECT_EQ(Tell(TaskRunning{{kRun, 0}, 2}, 9), Said{});  // of another attempt
  EXPECT_EQ(core_.next_deadline(), std::nullopt);
  EXPECT_EQ(Tell(TaskRunning{{kRun, 0}, 1}, 10), Said{});
  EXPECT_EQ(core_.next_deadline(), 15.0);
  EXPECT_EQ(Tell(TaskRunning{{kRun, 0}, 1}, 12), Said{});  // told twice
  EXPECT_EQ(core_.next_deadline(), 15.0);
  EXPECT_EQ(Tell(Tick{}, 14.9), Said{});
  EXPECT_EQ(Tell(Tick{}, 15), Said{"stop 1:0#1"});
  EXPECT_EQ(reasons(), std::vector{Reason::kTimeUp});
  EXPECT_EQ(core_.next_deadline(), std::nullopt);
  EXPECT_EQ(Tell(Tick{}, 99), Said{});
  EXPECT_EQ(Tell(TaskRunning{{kRun, 0}, 1}, 100), Said{});
  EXPECT_EQ(core_.next_deadline(), std::nullopt);
}

TEST_F(CoreTest, AStoppedTasksReasonStandsHoweverItEnded) {
  Add({Timed(Reads({}), 5), Reads({0})});
  Tell(TaskRunning{{kRun, 0}, 1}, 0);
  Tell(Tick{}, 5);
  EXPECT_TRUE(core_.IsStopping({kRun, 0}));
  EXPECT_EQ(Succeed(0, {{7, 10}}),
            (Said{"finish 1:0 timeout", "finish 1:1 skipped", "free 7", "end 1"}));
  EXPECT_EQ(reasons()[0], Reason::kTimeUp);
  ExpectNothingLeft();
}

TEST_F(CoreTest, ATaskKeepsItsSlotWhileItStops) {
  Add({Timed(Reads({}), 5), Reads({})}, 1);
  Tell(TaskRunning{{kRun, 0}, 1}, 0);
  EXPECT_EQ(Tell(Tick{}, 5), Said{"stop 1:0#1"});
  EXPECT_EQ(core_.running(), 1);
  EXPECT_EQ(End(0, kKilled), (Said{"finish 1:0 timeout", "start 1:1#1"}));
}

TEST_F(CoreTest, CancelStopsTheRunningAndFinishesTheRest) {
  Add({Reads({}), Reads({}), Reads({0})}, 1);
  EXPECT_EQ(Cancel(), (Said{"stop 1:0#1", "finish 1:1 cancelled", "finish 1:2 cancelled"}));
  EXPECT_EQ(reasons(), std::vector(3, Reason::kCancelled));
  EXPECT_EQ(Cancel(), Said{});
  EXPECT_EQ(End(0, kKilled), (Said{"finish 1:0 cancelled", "end 1"}));
  EXPECT_EQ(reasons()[0], Reason::kCancelled);
  EXPECT_EQ(Cancel(), Said{});
  ExpectNothingLeft();
}

TEST_F(CoreTest, CancelDoesntStopTwiceWhatIsOutOfTime) {
  Add({Timed(Reads({}), 5)});
  Tell(TaskRunning{{kRun, 0}, 1}, 0);
  Tell(Tick{}, 5);
  EXPECT_EQ(Cancel(), Said{});
  EXPECT_EQ(End(0, kKilled), (Said{"finish 1:0 timeout", "end 1"}));
}

TEST_F(CoreTest, CancelReleasesWhatWasResident) {
  Add({Reads({}), Reads({0}), Reads({0})}, 1);
  Succeed(0, {{7, 10}});  // 1 runs and reads it
  EXPECT_EQ(Cancel(), (Said{"stop 1:1#1", "finish 1:2 cancelled"}));
  EXPECT_TRUE(core_.IsResident({kRun, 0}));
  EXPECT_EQ(Succeed(1, {{7, 10}, {8, 1}}),
            (Said{"finish 1:1 cancelled", "release 1:0", "free 7", "free 8", "end 1"}));
  ExpectNothingLeft();
}

TEST_F(CoreTest, CancelOfOneRunLeavesOthersAlone) {
  Add({Reads({})}, 1, 1);
  Add({Reads({}), Reads({})}, 1, 2);
  EXPECT_EQ(Cancel(2), (Said{"stop 2:0#1", "finish 2:1 cancelled"}));
  EXPECT_EQ(Succeed({1, 0}), (Said{"finish 1:0 success", "release 1:0", "end 1"}));
}

TEST_F(CoreTest, StartsFirstWhatFreesMemory) {
  // Sources 0, 1, 2; 4 alone reads 1; 3 and 5 read 2.
  Add({Reads({}), Reads({}), Reads({}), Reads({2}), Reads({1}), Reads({2})}, 2);
  EXPECT_EQ(Succeed(1, {{7, 100}}), (Said{"finish 1:1 success", "start 1:4#1"}));
  EXPECT_EQ(Succeed(0, {{8, 500}}),
            (Said{"finish 1:0 success", "release 1:0", "free 8", "start 1:2#1"}));
  EXPECT_EQ(Succeed(2, {{9, 900}}), (Said{"finish 1:2 success", "start 1:3#1"}));
}

TEST_F(CoreTest, TheLastReaderOfATableComesFirst) {
  // 0 and 1 are large; 2 and 5 read 0, 3 and 4 read 1.
  Add({Reads({}), Reads({}), Reads({0}), Reads({1}), Reads({1}), Reads({0})}, 2);
  Succeed(0, {{7, 100}});  // starts 2
  EXPECT_EQ(Succeed(1, {{8, 50}}), (Said{"finish 1:1 success", "start 1:3#1"}));
  // 4 and 5 are each the last of their table now, as soon as 2 and 3 end: 5 frees more.
  EXPECT_EQ(Succeed(2), (Said{"finish 1:2 success", "release 1:2", "start 1:5#1"}));
  EXPECT_EQ(Succeed(3), (Said{"finish 1:3 success", "release 1:3", "start 1:4#1"}));
}

TEST_F(CoreTest, ReadingAKeptTableFreesNothing) {
  // The large one is kept; 3 reads it, 4 reads a small one.
  Core core(1);
  core.On(RunAdded{1, 1, {Kept(Reads({})), Reads({}), Reads({}), Reads({0, 2}), Reads({1, 2})}}, 0);
  core.On(TaskEnded{{1, 0}, 1, kSuccess, false, {{7, 1000}}}, 0);
  core.On(TaskEnded{{1, 1}, 1, kSuccess, false, {{8, 10}}}, 0);
  const auto decisions = core.On(TaskEnded{{1, 2}, 1, kSuccess, false, {{9, 1}}}, 0);
  EXPECT_EQ(Say(decisions.back()), "start 1:4#1");
}

TEST_F(CoreTest, AChainGoesOnBeforeAnotherBegins) {
  Add({Reads({}), Reads({}), Reads({0})}, 1);
  EXPECT_EQ(Succeed(0), (Said{"finish 1:0 success", "start 1:2#1"}));
}

TEST_F(CoreTest, EqualsGoInThePlansOrder) {
  EXPECT_EQ(Add({Reads({}), Reads({}), Reads({})}, 1), Said{"start 1:0#1"});
  EXPECT_EQ(Succeed(0), (Said{"finish 1:0 success", "release 1:0", "start 1:1#1"}));
}

TEST_F(CoreTest, ARunKeepsToItsJobs) {
  Core core(8);
  const auto started = core.On(RunAdded{1, 3, {5, Reads({})}}, 0);
  EXPECT_EQ(started.size(), 3);
  EXPECT_EQ(core.running(), 3);
}

TEST_F(CoreTest, ARunMayBringMoreSlotsThanTheEngineHas) {
  EXPECT_EQ(Add({5, Reads({})}, 4).size(), 4);
  // It shares them: another one waits.
  EXPECT_EQ(Add({Reads({})}, 1, 2), Said{});
  EXPECT_EQ(Succeed(0), (Said{"finish 1:0 success", "release 1:0", "start 2:0#1"}));
  // Without it there are two again.
  EXPECT_EQ(Add({3, Reads({})}, 2, 3), Said{});
  Cancel();
  EXPECT_EQ(End(1, kKilled), (Said{"finish 1:1 cancelled", "start 3:0#1"}));
  EXPECT_EQ(End(2, kKilled), (Said{"finish 1:2 cancelled", "start 3:1#1"}));
  EXPECT_EQ(End(3, kKilled), (Said{"finish 1:3 cancelled", "end 1"}));
  EXPECT_EQ(core_.running(), 3);
  EXPECT_EQ(Succeed({3, 0}), (Said{"finish 3:0 success", "release 3:0"}));
  EXPECT_EQ(Succeed({3, 1}), (Said{"finish 3:1 success", "release 3:1", "start 3:2#1"}));
}

TEST_F(CoreTest, AtLeastOneSlotAndOneJob) {
  Core core(0);
  EXPECT_EQ(core.On(RunAdded{1, 0, {Reads({}), Reads({})}}, 0).size(), 1);
}

TEST_F(CoreTest, SlotsGoToTheRunWithTheFewestRunningTasks) {
  EXPECT_EQ(Add({4, Reads({})}, 8, 1),
            (Said{"start 1:0#1", "start 1:1#1", "start 1:2#1", "start 1:3#1"}));
  EXPECT_EQ(Add({4, Reads({})}, 8, 2),
            (Said{"start 2:0#1", "start 2:1#1", "start 2:2#1", "start 2:3#1"}));
  EXPECT_EQ(core_.running(), 8);
  EXPECT_EQ(Add({4, Reads({})}, 8, 3), Said{});
  EXPECT_EQ(Succeed({1, 0}), (Said{"finish 1:0 success", "release 1:0", "start 3:0#1"}));
  EXPECT_EQ(Succeed({2, 0}), (Said{"finish 2:0 success", "release 2:0", "start 3:1#1"}));
}

TEST_F(CoreTest, OfEqualsTheRunThatHasWaitedLongestComesFirst) {
  Core core(1);
  for (const RunId run : {3, 2, 1}) core.On(RunAdded{run, 1, {3, Reads({})}}, 0);
  Said order;
  TaskId running = {3, 0};
  for (int i = 0; i < 8; ++i) {
    for (const Decision& decision : core.On(TaskEnded{running, 1, kFailed, false, {}}, 0)) {
      if (decision.kind != Decision::Kind::kStart) continue;
      running = decision.task;
      order.push_back(Name(running));
    }
  }
  EXPECT_EQ(order, (Said{"1:0", "2:0", "3:1", "1:1", "2:1", "3:2", "1:2", "2:2"}));
}

TEST_F(CoreTest, SlotsGoToTheRunOfHigherPriorityFirst) {
  Add({Value({}), Value({})}, 2, 1);
  Tell(RunAdded{2, 2, {Value({}), Value({})}, {}, -1});
  EXPECT_EQ(Tell(RunAdded{3, 2, {Value({}), Value({}), Value({})}, {}, 5}), Said{});
  EXPECT_EQ(Add({Value({})}, 2, 4), Said{});
  EXPECT_EQ(Succeed(TaskId{1, 0}), (Said{"finish 1:0 success", "start 3:0#1"}));
  EXPECT_EQ(Succeed(TaskId{1, 1}), (Said{"finish 1:1 success", "start 3:1#1", "end 1"}));
  EXPECT_EQ(Succeed(TaskId{3, 0}), (Said{"finish 3:0 success", "start 3:2#1"}));
  EXPECT_EQ(Succeed(TaskId{3, 1}), (Said{"finish 3:1 success", "start 4:0#1"}));
  EXPECT_EQ(Succeed(TaskId{3, 2}), (Said{"finish 3:2 success", "start 2:0#1", "end 3"}));
}

TEST_F(CoreTest, ARunOfLowerPriorityGetsASlotAfterSixteenOthers) {
  Tell(RunAdded{1, 1, std::vector<TaskSpec>(40, Value({})), {}, 1});
  Tell(RunAdded{2, 1, std::vector<TaskSpec>(40, Value({})), {}, 1});
  EXPECT_EQ(Tell(RunAdded{3, 2, std::vector<TaskSpec>(4, Value({}))}), Said{});
  std::vector<size_t> passed;  // by how many, until each start of run 3
  size_t others = 0;
  for (size_t i = 0; i < 20; ++i) {
    for (const RunId run : {1, 2}) {
      Succeed(TaskId{run, i});
      for (const Decision& decision : decisions_) {
        if (decision.kind != Decision::Kind::kStart) continue;
        ++others;
        if (decision.task.run != 3) continue;
        passed.push_back(others - 1);
        others = 0;
        Succeed(decision.task);
        ++others;
      }
    }
  }
  EXPECT_EQ(passed, (std::vector<size_t>{16, 16}));
}

TEST_F(CoreTest, OnlyWhatHasATableIsReleased) {
  Add({Reads({}), Value({0}), Value({0})});
  Succeed(0);
  EXPECT_EQ(Succeed(1), Said{"finish 1:1 success"});
  EXPECT_EQ(Succeed(2), (Said{"finish 1:2 success", "release 1:0", "end 1"}));
}

TEST_F(CoreTest, ATableOfATaskThatHasNoneIsFreed) {
  Add({Value({})});
  EXPECT_EQ(Succeed(0, {{7, 10}}), (Said{"finish 1:0 success", "free 7", "end 1"}));
  ExpectNothingLeft();
}

TEST_F(CoreTest, AfterIsWaitedForThoughNothingIsRead) {
  // 2 reads 0 and waits for the check 1; 3 reads 0 and doesn't.
  for (const ModelStatus check : {kSuccess, kFailed}) {
    Add({Reads({}), Value({0}), Value({0}, {1}), Value({0})}, 1);
    EXPECT_EQ(Succeed(0), (Said{"finish 1:0 success", "start 1:1#1"}));
    if (check == kSuccess) {
      EXPECT_EQ(End(1, check), (Said{"finish 1:1 success", "start 1:2#1"}));
      Succeed(2);
    } else {
      EXPECT_EQ(End(1, check), (Said{"finish 1:1 failed", "finish 1:2 skipped", "start 1:3#1"}));
    }
    EXPECT_EQ(Succeed(3), (Said{"finish 1:3 success", "release 1:0", "end 1"}));
  }
}

TEST_F(CoreTest, AGateOpensUntoldOnceAllThatItComesAfterHasSucceeded) {
  TaskSpec gate = Value({}, {0, 1});
  gate.gate = true;
  EXPECT_EQ(Add({Value({}), Value({}), gate, Value({}, {2}), Value({}, {2})}),
            (Said{"start 1:0#1", "start 1:1#1"}));
  EXPECT_EQ(Succeed(0), (Said{"finish 1:0 success"}));
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 1:3#1", "start 1:4#1"}));
  EXPECT_EQ(Succeed(3), (Said{"finish 1:3 success"}));
  EXPECT_EQ(Succeed(4), (Said{"finish 1:4 success", "end 1"}));
  ExpectNothingLeft();
}

TEST_F(CoreTest, AGateStaysShutOnceSomethingThatItComesAfterHasFailed) {
  TaskSpec gate = Value({}, {0});
  gate.gate = true;
  Add({Value({}), gate, Value({}, {1})});
  EXPECT_EQ(End(0, kFailed), (Said{"finish 1:0 failed", "finish 1:2 skipped", "end 1"}));
  ExpectNothingLeft();
}

TEST_F(CoreTest, AGateOfACancelledRunIsNotTold) {
  TaskSpec gate = Value({}, {0});
  gate.gate = true;
  Add({Value({}), gate, Value({}, {1})});
  EXPECT_EQ(Cancel(), (Said{"stop 1:0#1", "finish 1:2 cancelled"}));
  EXPECT_EQ(End(0, kKilled), (Said{"finish 1:0 cancelled", "end 1"}));
}

TEST_F(CoreTest, AfterHoldsNoTable) {
  Add({Reads({}), Reads({}), Value({1}, {0})}, 2);
  EXPECT_EQ(Succeed(0, {{7, 10}}), (Said{"finish 1:0 success", "release 1:0", "free 7"}));
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 1:2#1"}));
}

TEST_F(CoreTest, AKeptTableStaysUntilItsResultIsDropped) {
  Add({Kept(Reads({})), Kept(Reads({0}))});
  Succeed(0, {{7, 10}});
  EXPECT_EQ(Succeed(1, {{7, 10}, {8, 1}}),
            (Said{"finish 1:1 success", "release 1:0", "release 1:1", "end 1"}));
  EXPECT_EQ(core_.run_count(), 0);
  EXPECT_EQ(core_.ledger().bytes(), 11);
  EXPECT_EQ(Tell(ResultDropped{{kRun, 0}}), Said{});  // the other one reads its segment
  EXPECT_EQ(Tell(ResultDropped{{kRun, 0}}), Said{});
  EXPECT_EQ(Tell(ResultDropped{{kRun, 1}}), (Said{"free 7", "free 8"}));
  EXPECT_EQ(reasons(), std::vector(2, Reason::kUnread));
  ExpectNothingLeft();
}

TEST_F(CoreTest, WhatTheCacheKeepsOutlivesTablesAndTheOtherWayRound) {
  EXPECT_EQ(Tell(SegmentCached{{7, 10}}), Said{});
  EXPECT_EQ(core_.ledger().HoldersOf(7).front().ToString(), "cache");
  Add({Reads({}), Value({0})});
  Succeed(0, {{7, 10}, {8, 1}});  // 7 from the cache
  EXPECT_EQ(core_.ledger().bytes(), 11);
  EXPECT_EQ(Tell(SegmentUncached{7}), Said{});  // its reader hasn't finished
  EXPECT_EQ(Tell(SegmentUncached{7}), Said{});
  EXPECT_EQ(Tell(SegmentCached{{8, 1}}), Said{});
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "release 1:0", "free 7", "end 1"}));
  EXPECT_EQ(Tell(SegmentUncached{8}), Said{"free 8"});
  EXPECT_EQ(Tell(SegmentUncached{9}), Said{});  // never heard of
  ExpectNothingLeft();
}

TEST_F(CoreTest, TasksThatAreKnownLaterGoOnWhereTheRunEnds) {
  Add({Value({})});
  EXPECT_EQ(Tell(TasksAdded{kRun, {Reads({}), Reads({1})}}), Said{"start 1:1#1"});
  EXPECT_EQ(Succeed(0), Said{"finish 1:0 success"});
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 1:2#1"}));
  EXPECT_EQ(Succeed(2).back(), "end 1");
}

TEST_F(CoreTest, TasksThatAreAddedMayNeedWhatHasFinished) {
  Add({Value({}), Reads({}), Reads({}), Value({2}), Reads({})}, 8);
  Succeed(1, {{6, 1}});  // nobody reads it: absent again
  Succeed(2, {{7, 1}});  // 3 reads it
  End(4, kFailed);
  EXPECT_EQ(Tell(TasksAdded{kRun,
                            {Reads({1}), Reads({2}), Value({}, {1}), Value({}, {4}), Reads({4}),
                             Reads({5}), Value({}, {0})}}),
            (Said{"finish 1:5 skipped", "finish 1:8 skipped", "finish 1:9 skipped",
                  "finish 1:10 skipped", "start 1:6#1", "start 1:7#1"}));
  EXPECT_EQ(Succeed(0), (Said{"finish 1:0 success", "start 1:11#1"}));
  Succeed(3);
  EXPECT_TRUE(core_.IsResident({kRun, 2}));  // 6 reads it
  EXPECT_EQ(Succeed(6), (Said{"finish 1:6 success", "release 1:2", "free 7", "release 1:6"}));
}

TEST_F(CoreTest, TasksThatAreAddedToACancelledRunAreCancelled) {
  Add({Value({})});
  Cancel();
  EXPECT_EQ(Tell(TasksAdded{kRun, {Reads({}), Reads({1})}}),
            (Said{"finish 1:1 cancelled", "finish 1:2 cancelled"}));
  EXPECT_EQ(reasons(), std::vector(2, Reason::kCancelled));
  EXPECT_EQ(Succeed(0), (Said{"finish 1:0 cancelled", "end 1"}));
}

}  // namespace
}  // namespace zerrow::resource
