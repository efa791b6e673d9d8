// Tables that are written to disk and read back.
#include "resource/memory_fixture.h"

namespace zerrow::resource {
namespace {

using Result = SegmentSwappedOut::Result;

class Swap : public MemoryTest {
 protected:
  Swap() : MemoryTest(EvictionPolicy::kSwap) {}

  /// The table of 0 (segment 7, 400 bytes) has to make room for 1, which needs 700, before 2
  /// reads it.
  void MakeOneToSwap(TaskSpec table = Reads({})) {
    Add({std::move(table), Needs(700, Value({}, {0})), Value({0}, {1})});
    EXPECT_EQ(Succeed(0, {{7, 400}}), (Said{"finish 1:0 success", "swap out 7"}));
  }
};

TEST_F(Swap, ATableGoesForATaskAndComesBackForItsReader) {
  MakeOneToSwap();
  EXPECT_EQ(Why(Reason::kMakeRoom), "to make room for '1:1', which needs 700 B");
  EXPECT_EQ(core_.charged_bytes(), 400) << "it is there until it is written";
  EXPECT_EQ(Written(7), (Said{"unload 7", "start 1:1#1"}));
  EXPECT_EQ(core_.charged_bytes(), 0);
  EXPECT_EQ(core_.ledger().disk_bytes(), 400);
  EXPECT_TRUE(core_.IsResident({1, 0}));
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "swap in 7"}));
  EXPECT_EQ(core_.charged_bytes(), 400);
  EXPECT_EQ(core_.running(), 0);
  EXPECT_EQ(Read(7), Said{"start 1:2#1"});
  EXPECT_EQ(Succeed(2), (Said{"finish 1:2 success", "release 1:0", "free 7", "end 1"}));
  EXPECT_EQ(core_.ledger().disk_bytes(), 0);
}

TEST_F(Swap, WhatWasReadBackGoesWithoutBeingWritten) {
  Add({Reads({}), Needs(700, Value({}, {0})), Value({0}, {1}), Needs(700, Value({}, {2})),
       Value({0}, {3})});
  Succeed(0, {{7, 400}});
  Written(7);
  Succeed(1);
  EXPECT_EQ(Read(7), Said{"start 1:2#1"});
  EXPECT_EQ(Succeed(2), (Said{"finish 1:2 success", "unload 7", "start 1:3#1"}));
}

TEST_F(Swap, WhatIsMappedStays) {
  Add({Reads({}), Value({0}), Needs(700, Value({}, {0}))});
  EXPECT_EQ(Succeed(0, {{7, 400}}), (Said{"finish 1:0 success", "start 1:1#1"}));
  EXPECT_EQ(core_.blocked(), (TaskId{1, 2}));
}

TEST_F(Swap, WhoMapsItWhileItIsWrittenKeepsItInMemory) {
  MakeOneToSwap();
  // A reader comes that is deeper, and so the next.
  EXPECT_EQ(Tell(TasksAdded{1, {Value({0})}}), Said{"start 1:3#1"});
  EXPECT_EQ(Written(7), Said{});
  EXPECT_EQ(core_.charged_bytes(), 400);
  EXPECT_EQ(core_.ledger().disk_bytes(), 400);
  // From then on it can go at once.
  EXPECT_EQ(Tell(TaskEnded{{1, 3}, 1, kSuccess, false, {}}),
            (Said{"finish 1:3 success", "unload 7", "start 1:1#1"}));
}

TEST_F(Swap, ASegmentOfSeveralTablesGoesOnce) {
  Add({Reads({}), Reads({0}), Needs(950, Value({}, {1})), Value({0, 1}, {2})});
  Succeed(0, {{7, 300}});
  EXPECT_EQ(Succeed(1, {{7, 300}, {8, 100}}),
            (Said{"finish 1:1 success", "swap out 7", "swap out 8"}));
  EXPECT_EQ(Written(7), Said{"unload 7"});
  EXPECT_EQ(Written(8), (Said{"unload 8", "start 1:2#1"}));
  EXPECT_EQ(Succeed(2), (Said{"finish 1:2 success", "swap in 7", "swap in 8"}));
  EXPECT_EQ(Read(7), Said{});
  EXPECT_EQ(Read(8), Said{"start 1:3#1"});
}

TEST_F(Swap, WhatIsBeingReadBackHasASlotAndItsRoom) {
  MakeOneToSwap();
  Written(7);
  Succeed(1);
  EXPECT_EQ(Add({Needs(700, Value({}))}, 2), Said{});
  EXPECT_EQ(Read(7), Said{"start 1:2#1"});
}

TEST_F(Swap, WhatCantBeWrittenIsntTriedAgain) {
  MakeOneToSwap();
  // Nothing can go and nothing else can run: it is tried all the same.
  EXPECT_EQ(Written(7, Result::kFailed), Said{"start 1:1#1"});
  EXPECT_EQ(decisions_[0].reason, Reason::kTriedAlone);
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 1:2#1"}));
}

TEST_F(Swap, AFullDiskIsTriedAgainOnceSomethingOnItIsFreed) {
  Add({Reads({}), Reads({}), Needs(900, Value({}, {0, 1})), Value({0}, {2}),
       Needs(900, Value({}, {3})), Value({1}, {4})});
  Succeed(0, {{7, 100}});
  EXPECT_EQ(Succeed(1, {{8, 100}}), (Said{"finish 1:1 success", "swap out 7"}));
  EXPECT_EQ(Written(7), (Said{"unload 7", "start 1:2#1"}));
  Succeed(2);
  Read(7);
  // The reader of 7 has ended, which frees its copy; then 8 has to go.
  EXPECT_EQ(Succeed(3), (Said{"finish 1:3 success", "release 1:0", "free 7", "start 1:4#1"}));
}

TEST_F(Swap, WhatDoesntFitOnTheDiskStays) {
  MakeOneToSwap();
  EXPECT_EQ(Written(7, Result::kDiskFull), Said{"start 1:1#1"});
  EXPECT_EQ(Measure(1, 650), (Said{"freeze 1:1#1", "stop 1:1#1"}));
  EXPECT_EQ(Tell(TaskEnded{{1, 1}, 1, kKilled, false, {}}),
            (Said{"finish 1:1 failed", "finish 1:2 skipped", "release 1:0", "free 7", "end 1"}));
  EXPECT_EQ(decisions_[0].why.others_bytes, 400);
}

TEST_F(Swap, WhatCantBeReadIsMadeAgain) {
  MakeOneToSwap();
  Written(7);
  Succeed(1);
  EXPECT_EQ(Read(7, false), (Said{"release 1:0", "free 7", "start 1:0#2"}));
  EXPECT_EQ(Succeed(0, {{9, 400}}, 2), Said{"start 1:2#1"});
}

TEST_F(Swap, WhatIsFreedWhileItIsWrittenOrReadIsForgotten) {
  MakeOneToSwap();
  EXPECT_EQ(Tell(RunCancelled{1}), (Said{"finish 1:1 cancelled", "finish 1:2 cancelled",
                                         "release 1:0", "free 7", "end 1"}));
  EXPECT_EQ(Written(7), Said{});
  EXPECT_EQ(Read(7), Said{});
  EXPECT_TRUE(core_.ledger().empty());
}

TEST_F(Swap, AKeptTableGoesToDiskWhenNothingReadsIt) {
  Add({Kept(Reads({})), Needs(700, Value({}, {0}))});
  EXPECT_EQ(Succeed(0, {{7, 400}}), (Said{"finish 1:0 success", "release 1:0", "swap out 7"}));
  EXPECT_EQ(Written(7), (Said{"unload 7", "start 1:1#1"}));
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "end 1"}));
  EXPECT_EQ(core_.ledger().disk_bytes(), 400);
  EXPECT_EQ(Tell(ResultDropped{{1, 0}}), Said{"free 7"});
}

TEST_F(Swap, AResultInSomebodysHandsStays) {
  Add({Kept(Reads({}))});
  EXPECT_EQ(Succeed(0, {{7, 400}}), (Said{"finish 1:0 success", "release 1:0", "end 1"}));
  EXPECT_EQ(Add({Needs(700, Value({}))}, 2), Said{"start 2:0#1"}) << "there is nothing else";
  EXPECT_EQ(Tell(TaskMeasured{{2, 0}, 1, 650}), (Said{"freeze 2:0#1", "stop 2:0#1"}));
  EXPECT_EQ(Tell(TaskEnded{{2, 0}, 1, kKilled, false, {}}), (Said{"finish 2:0 failed", "end 2"}));
  EXPECT_EQ(
      Why(Reason::kTooLarge),
      "it needs at least 650 B with its inputs, which the engine's memory limit of 1 kB "
      "doesn't allow beside 400 B that can't go; raise --memory-limit, or give it less to do");
}

TEST_F(Swap, WhatOnlyTheCacheHoldsGoesFirst) {
  Tell(SegmentCached{{5, 200}});
  Tell(SegmentCached{{6, 200}});
  Add({Reads({}), Needs(700, Value({}, {0})), Value({0}, {1})});
  EXPECT_EQ(Succeed(0, {{7, 200}}), (Said{"finish 1:0 success", "uncache 5", "uncache 6"}));
  EXPECT_EQ(Tell(SegmentUncached{5}), Said{"free 5"});
  EXPECT_EQ(Tell(SegmentUncached{6}), (Said{"free 6", "start 1:1#1"}));
}

TEST_F(Swap, WhatTheCacheHoldsTooIsForgottenThere) {
  Tell(SegmentCached{{7, 400}});
  Add({Reads({}), Needs(700, Value({}, {0})), Value({0}, {1})});
  EXPECT_EQ(Succeed(0, {{7, 400}}), (Said{"finish 1:0 success", "uncache 7", "swap out 7"}));
  EXPECT_EQ(Tell(SegmentUncached{7}), Said{});
  EXPECT_EQ(Written(7), (Said{"unload 7", "start 1:1#1"}));
}

TEST_F(Swap, BesideARunningTaskOnlyIfItIsWorthIt) {
  // To write and read 400 MB takes longer than 1 s, but not than 9 s.
  constexpr int64_t kMb = 1'000'000;
  Limit(1000 * kMb);
  Add({Reads({}), Needs(10, Value({}, {0})), Needs(700 * kMb, Value({}, {0}), 1),
       Value({0}, {1, 2})});
  EXPECT_EQ(Succeed(0, {{7, 400 * kMb}}), (Said{"finish 1:0 success", "start 1:1#1"}));
  EXPECT_EQ(core_.blocked(), (TaskId{1, 2}));
  EXPECT_EQ(Tell(TasksAdded{1, {Needs(700 * kMb, Kept(Reads({0})), 9)}}), Said{});
}

TEST_F(Swap, NothingGoesIfThatCantBeEnough) {
  Add({Needs(400, Value({}))}, 2);
  EXPECT_EQ(Add({Reads({}), Needs(700, Value({}, {0})), Value({0}, {1})}), Said{"start 1:0#1"});
  EXPECT_EQ(Succeed(0, {{7, 400}}), Said{"finish 1:0 success"});
}

TEST_F(Swap, WhatIsNextIsReadWhileOthersHaveTheSlots) {
  MakeOneToSwap();
  Written(7);
  const std::vector<TaskSpec> others(4, Needs(10, Value({})));
  EXPECT_EQ(Tell(RunAdded{2, 4, others, {}, 1}).size(), 3);
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "start 2:3#1", "swap in 7"}));
  EXPECT_EQ(Read(7), Said{});
  EXPECT_EQ(Tell(TaskEnded{{2, 0}, 1, kSuccess, false, {}}),
            (Said{"finish 2:0 success", "start 1:2#1"}));
}

TEST_F(Swap, WhatFreesNextToNothingStays) {
  Limit(1'000'000);
  Add({Reads({}), Needs(1, Value({0})), Reads({}), Needs(700'000, Value({}, {0, 2}), 10),
       Value({2}, {3})});
  Succeed(0, {{7, 400'000}});
  EXPECT_EQ(Succeed(2, {{8, 50}}), Said{"finish 1:2 success"}) << "what is large is mapped";
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "release 1:0", "free 7", "start 1:3#1"}));
}

TEST_F(Swap, WhoseInputsAreInMemoryGoesFirst) {
  Add({Reads({}), Reads({}), Needs(700, Value({}, {0, 1})), Value({0}, {2}), Value({1}, {2})}, kRun,
      {}, 1);
  Succeed(0, {{7, 300}});
  EXPECT_EQ(Succeed(1, {{8, 200}}), (Said{"finish 1:1 success", "swap out 7"}));
  Written(7);
  EXPECT_EQ(Succeed(2), (Said{"finish 1:2 success", "start 1:4#1", "swap in 7"}))
      << "though 3 would free more once its input is there";
}

TEST_F(Swap, OfWhatFitsNowhereTheOneGoesOnThatNeedsLeast) {
  Add({Reads({}), Needs(700, Value({0}))});
  Add({Reads({}), Needs(600, Value({0}))}, 2);
  Tell(TaskMeasured{{2, 0}, 1, 300});
  EXPECT_EQ(Succeed(0, {{7, 200}}), Said{"finish 1:0 success"});
  // Run 1 has waited longer, but would have more evicted.
  EXPECT_EQ(Tell(TaskEnded{{2, 0}, 1, kSuccess, false, {{8, 300}}}),
            (Said{"finish 2:0 success", "swap out 7"}));
  EXPECT_EQ(Written(7), (Said{"unload 7", "start 2:1#1"}));
}

}  // namespace
}  // namespace zerrow::resource
