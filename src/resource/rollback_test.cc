// Tables that are dropped and made again.
#include "resource/memory_fixture.h"

namespace zerrow::resource {
namespace {

class Rollback : public MemoryTest {
 protected:
  Rollback() : MemoryTest(EvictionPolicy::kRollback) {}

  /// The table of 0 is dropped for 1; 2, which reads it, asks for it.
  void MakeOneToRemake() {
    Add({Reads({}), Needs(700, Value({}, {0})), Reads({0}, {1}), Value({2})});
    EXPECT_EQ(Succeed(0, {{7, 400}}),
              (Said{"finish 1:0 success", "release 1:0", "free 7", "start 1:1#1"}));
    EXPECT_EQ(Why(Reason::kMakeRoom), "to make room for '1:1', which needs 700 B");
    EXPECT_FALSE(core_.IsResident({1, 0}));
    EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 1:0#2"}));
    EXPECT_EQ(decisions_.back().reason, Reason::kRemake);
  }
};

TEST_F(Rollback, ATableIsDroppedAndMadeAgainForItsReader) {
  MakeOneToRemake();
  // Its end isn't told again.
  EXPECT_EQ(Succeed(0, {{8, 400}}, 2), Said{"start 1:2#1"});
  EXPECT_EQ(Succeed(2, {{9, 1}}),
            (Said{"finish 1:2 success", "release 1:0", "free 8", "start 1:3#1"}));
  EXPECT_EQ(Succeed(3), (Said{"finish 1:3 success", "release 1:2", "free 9", "end 1"}));
}

TEST_F(Rollback, WhoWaitsMeanwhileIsKnown) {
  MakeOneToRemake();
  EXPECT_EQ(Add({Needs(900, Value({}))}, 2), Said{});
  EXPECT_EQ(core_.blocked(), (TaskId{2, 0}));
}

/// While 1 runs, the table of 0 waits for 2.
std::vector<TaskSpec> HoldsATable() {
  return {Reads({}), Needs(10, Value({}, {0})), Value({0}, {1})};
}

TEST_F(Rollback, AYoungerRunWaitsForWhatAnOlderOneHolds) {
  Add(HoldsATable());
  Succeed(0, {{7, 600}});
  EXPECT_EQ(Add({Needs(700, Value({}))}, 2), Said{});
  EXPECT_EQ(core_.blocked(), (TaskId{2, 0}));
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 1:2#1"}));
  EXPECT_EQ(Succeed(2),
            (Said{"finish 1:2 success", "release 1:0", "free 7", "start 2:0#1", "end 1"}));
}

TEST_F(Rollback, ButNotOneOfHigherPriority) {
  Add(HoldsATable());
  Succeed(0, {{7, 600}});
  EXPECT_EQ(Tell(RunAdded{2, 4, {Needs(700, Value({}))}, {}, 1}),
            (Said{"release 1:0", "free 7", "start 2:0#1"}));
}

TEST_F(Rollback, NorOneWhoseOwnLimitIsShort) {
  Add({Needs(10, Reads({}))});
  Add({Reads({}), Needs(10, Value({}, {0})), Needs(300, Value({}, {0})), Value({0}, {1})}, 2,
      {500, 0});
  EXPECT_EQ(Tell(TaskEnded{{2, 0}, 1, kSuccess, false, {{7, 400}}}),
            (Said{"finish 2:0 success", "start 2:1#1", "release 2:0", "free 7", "start 2:2#1"}));
}

TEST_F(Rollback, InputsThatAreMadeOfTheSameAreMadeAgainTogether) {
  // 0 -> 1, 2 -> 3 (after 4, which needs the room of one of them, as 0 does)
  Add({Needs(800, Reads({})), Reads({0}), Reads({0}), Value({1, 2}, {4}),
       Needs(500, Value({}, {1, 2}))});
  Measure(0, 800);
  Succeed(0, {{10, 300}});
  Succeed(1, {{11, 300}});
  EXPECT_EQ(Succeed(2, {{12, 300}}), (Said{"finish 1:2 success", "release 1:0", "free 10",
                                           "release 1:1", "free 11", "start 1:4#1"}));
  // Only 1 is to be made again, but then the table of 2 goes for that of 0.
  EXPECT_EQ(Succeed(4), (Said{"finish 1:4 success", "release 1:2", "free 12", "start 1:0#2"}));
  EXPECT_EQ(Succeed(0, {{20, 300}}, 2), (Said{"start 1:1#2", "start 1:2#2"}));
  Succeed(1, {{21, 300}}, 2);
  EXPECT_EQ(Succeed(2, {{22, 300}}, 2), (Said{"release 1:0", "free 20", "start 1:3#1"}));
}

TEST_F(Rollback, ItMayPublishBeforeItsEnd) {
  MakeOneToRemake();
  EXPECT_EQ(Tell(TaskPublished{{1, 0}, 2, {{8, 400}}}), Said{"start 1:2#1"});
  EXPECT_EQ(Succeed(0, {{8, 400}}, 2), Said{});
}

TEST_F(Rollback, WhatTheCacheHoldsTooIsForgottenThere) {
  Tell(SegmentCached{{7, 400}});
  Add({Reads({}), Needs(700, Value({}, {0})), Value({0}, {1})});
  EXPECT_EQ(Succeed(0, {{7, 400}}), (Said{"finish 1:0 success", "uncache 7", "release 1:0"}));
  EXPECT_EQ(Tell(SegmentUncached{7}), (Said{"free 7", "start 1:1#1"}));
}

TEST_F(Rollback, AncestorsAreMadeAgainToo) {
  //  0 -> 1 -> 3 (after 2)
  Add({Reads({}), Reads({0}), Needs(700, Value({}, {1})), Value({1}, {2})});
  Succeed(0, {{7, 100}});
  EXPECT_EQ(Succeed(1, {{8, 400}}), (Said{"finish 1:1 success", "release 1:0", "free 7",
                                          "release 1:1", "free 8", "start 1:2#1"}));
  EXPECT_EQ(Succeed(2), (Said{"finish 1:2 success", "start 1:0#2"}));
  EXPECT_EQ(Succeed(0, {{9, 100}}, 2), Said{"start 1:1#2"});
  EXPECT_EQ(Succeed(1, {{10, 400}}, 2), (Said{"release 1:0", "free 9", "start 1:3#1"}));
  EXPECT_EQ(Succeed(3), (Said{"finish 1:3 success", "release 1:1", "free 10", "end 1"}));
}

TEST_F(Rollback, OnlyWhatIsDeterministicWithItsAncestors) {
  Add({Varying(Reads({})), Reads({0}), Needs(700, Value({}, {1})), Value({1}, {2})});
  Succeed(0, {{7, 100}});
  EXPECT_EQ(Succeed(1, {{8, 400}}),
            (Said{"finish 1:1 success", "release 1:0", "free 7", "start 1:2#1"}));
  EXPECT_EQ(decisions_.back().reason, Reason::kTriedAlone);
  EXPECT_TRUE(core_.IsResident({1, 1}));
}

TEST_F(Rollback, IfItCantBeMadeAgainItsReadersFail) {
  MakeOneToRemake();
  EXPECT_EQ(End(0, 2), (Said{"finish 1:2 failed", "finish 1:3 skipped", "end 1"}));
  EXPECT_EQ(decisions_[0].reason, Reason::kInputNotRemade);
}

TEST_F(Rollback, AllAlongTheWay) {
  //  0 -> 1 -> 3 (after 2)
  Add({Reads({}), Reads({0}), Needs(700, Value({}, {1})), Value({1}, {2})});
  Succeed(0, {{7, 100}});
  Succeed(1, {{8, 400}});
  Succeed(2);
  EXPECT_EQ(End(0, 2), (Said{"finish 1:3 failed", "end 1"}));
}

TEST_F(Rollback, ALostAttemptAtItIsFollowedByAnother) {
  MakeOneToRemake();
  EXPECT_EQ(Tell(TaskEnded{{1, 0}, 2, kFailed, true, {}}), Said{"start 1:0#3"});
  EXPECT_EQ(Tell(TaskEnded{{1, 0}, 3, kFailed, true, {}}),
            (Said{"finish 1:2 failed", "finish 1:3 skipped", "end 1"}));
}

TEST_F(Rollback, CancelEndsWhatIsMadeAgainInSilence) {
  MakeOneToRemake();
  EXPECT_EQ(Tell(RunCancelled{1}),
            (Said{"stop 1:0#2", "finish 1:2 cancelled", "finish 1:3 cancelled"}));
  EXPECT_EQ(Succeed(0, {{9, 400}}, 2), (Said{"free 9", "end 1"}));
}

TEST_F(Rollback, WhatIsLeavingIsntMadeAgainForWhatWasCancelled) {
  Add({Reads({}), Needs(700, Value({})), Value({0}, {1})}, kRun, {}, 1);
  EXPECT_EQ(Tell(TaskPublished{{1, 0}, 1, {{7, 400}}}),
            (Said{"release 1:0", "free 7", "start 1:1#1"}));
  EXPECT_EQ(Succeed(1), Said{"finish 1:1 success"});
  EXPECT_EQ(Tell(RunCancelled{1}), Said{"finish 1:2 cancelled"});
  EXPECT_EQ(Succeed(0, {{7, 400}}), (Said{"finish 1:0 success", "end 1"}));
}

TEST_F(Rollback, WhatNobodyNeedsAnyMoreIsntMadeAgain) {
  // 3 reads 0 and 1, which are dropped; making 0 again fails.
  Add({Reads({}), Reads({}), Needs(1000, Value({}, {0, 1})), Value({0, 1}, {2})}, kRun, {}, 1);
  Succeed(0, {{7, 100}});
  EXPECT_EQ(Succeed(1, {{8, 100}}), (Said{"finish 1:1 success", "release 1:0", "free 7",
                                          "release 1:1", "free 8", "start 1:2#1"}));
  EXPECT_EQ(Succeed(2), (Said{"finish 1:2 success", "start 1:0#2"}));
  EXPECT_EQ(End(0, 2), (Said{"finish 1:3 failed", "end 1"}));
}

TEST_F(Rollback, ATaskThatIsAddedLaterMayReadIt) {
  Add({Reads({}), Needs(700, Value({}, {0})), Value({0}, {1})});
  Succeed(0, {{7, 400}});
  EXPECT_EQ(Tell(TasksAdded{1, {Value({0}, {2})}}), Said{});
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 1:0#2"}));
  EXPECT_EQ(Succeed(0, {{8, 400}}, 2), Said{"start 1:2#1"});
  EXPECT_EQ(Succeed(2), (Said{"finish 1:2 success", "start 1:3#1"}));
}

TEST_F(Rollback, WhatIsWantedStaysUnlessNothingElseCouldRun) {
  Add({Needs(700, Reads({})), Needs(700, Reads({})), Needs(10, Value({0, 1}))});
  Measure(0, 700);
  Succeed(0, {{10, 450}});
  Measure(1, 700);
  EXPECT_EQ(Succeed(1, {{11, 450}}),
            (Said{"finish 1:1 success", "release 1:1", "free 11", "start 1:0#2"}));
  // The table of 0 was made for 2, which waits for that of 1, too.
  EXPECT_EQ(Succeed(0, {{12, 450}}, 2), (Said{"release 1:0", "free 12", "start 1:1#2"}));
  EXPECT_EQ(decisions_.back().reason, Reason::kRemake) << "not tried alone";
}

TEST_F(Rollback, WhatIsWantedGoesBeforeAnAttemptIsStopped) {
  Add({Needs(700, Reads({})), Needs(700, Reads({})), Needs(10, Value({0, 1}))});
  EXPECT_EQ(Succeed(0, {{10, 450}}),
            (Said{"finish 1:0 success", "release 1:0", "free 10", "start 1:1#1"}));
  // So much is expected from now on as was needed, which both of them may.
  EXPECT_EQ(Succeed(1, {{11, 450}}), (Said{"finish 1:1 success", "start 1:0#2"}));
  EXPECT_EQ(Measure(0, 600, 2), (Said{"release 1:1", "free 11"}));
  EXPECT_EQ(Succeed(0, {{12, 450}}, 2), Said{"start 1:1#2"});
  EXPECT_EQ(Measure(1, 700, 2), (Said{"freeze 1:1#2", "release 1:0", "free 12", "thaw 1:1#2"}));
}

TEST_F(Rollback, WhatIsMadeOfAnExpensiveTableThatWillBeFreedIsExpensive) {
  // 2 is made of 0, 3 of 1; making 0 takes longer.
  Add({Reads({}), Reads({}), Reads({0}), Reads({1}), Needs(600, Value({}, {2, 3})),
       Value({0, 1, 2, 3}, {4})},
      kRun, {}, 2);
  Succeed(1, {{8, 50}}, 1, 1);
  Succeed(3, {{10, 250}}, 1, 2);
  Succeed(0, {{7, 50}}, 1, 3);
  EXPECT_EQ(Succeed(2, {{9, 250}}, 1, 4),
            (Said{"finish 1:2 success", "release 1:3", "free 10", "start 1:4#1"}));
}

TEST_F(Rollback, AsOftenAsItHelpsTheRunOn) {
  constexpr size_t kReaders = 12;
  // Between two readers of the table one that leaves no room for it.
  std::vector<TaskSpec> tasks = {Reads({})};
  for (size_t i = 0; i < kReaders; ++i) {
    tasks.push_back(Needs(700, Value({}, {2 * i})));
    tasks.push_back(Value({0}, {2 * i + 1}));
  }
  Add(tasks);
  Succeed(0, {{10, 400}});
  for (size_t i = 0; i < kReaders; ++i) {
    const int attempt = static_cast<int>(i) + 2;
    EXPECT_EQ(Succeed(2 * i + 1).back(), "start 1:0#" + std::to_string(attempt));
    EXPECT_EQ(Succeed(0, {{10 + i, 400}}, attempt).back(),
              "start 1:" + std::to_string(2 * i + 2) + "#1");
    Succeed(2 * i + 2);
  }
  EXPECT_EQ(core_.run_count(), 0);
}

TEST_F(Rollback, ItEndsThoughTablesAreNeededInTurns) {
  // Both tables are read together, but making one needs the memory of the other.
  Add({Needs(700, Reads({})), Needs(700, Reads({})), Needs(10, Value({0, 1}))});
  std::vector<int> attempts = {1, 0, 0};
  size_t running = 0;
  for (SegmentId segment = 10; core_.run_count() > 0 && segment < 100; ++segment) {
    const std::vector<SegmentBytes> table = {{segment, 450}};
    Succeed(running, running == 2 ? std::vector<SegmentBytes>() : table, attempts[running]);
    for (const Decision& decision : decisions_) {
      if (decision.kind != Decision::Kind::kStart) continue;
      running = decision.task.index;
      attempts[running] = decision.attempt;
    }
  }
  EXPECT_EQ(core_.run_count(), 0);
  EXPECT_EQ(attempts[2], 1);
}

}  // namespace
}  // namespace zerrow::resource
