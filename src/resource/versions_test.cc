// Tables that come out differently when they are made again.
#include "resource/memory_fixture.h"

namespace zerrow::resource {
namespace {

class Versions : public MemoryTest {
 protected:
  explicit Versions(EvictionPolicy policy = EvictionPolicy::kRollback) : MemoryTest(policy) {}

  Said Succeed(size_t index, std::vector<SegmentBytes> table, const std::string& hash,
               int attempt = 1) {
    return Tell(TaskEnded{{kRun, index}, attempt, kSuccess, false, std::move(table), hash});
  }
  using MemoryTest::Succeed;

  void ExpectResult(size_t index, SegmentId segment) const {
    EXPECT_EQ(core_.ledger().HoldersOf(segment),
              (std::vector<Holder>{{Holder::Kind::kResult, {kRun, index}}}));
  }
  Said Publish(size_t index, std::vector<SegmentBytes> table) {
    return Tell(TaskPublished{{kRun, index}, 1, std::move(table), "b"});
  }

  /// 1 has read the table of 0, and 2 that of 1; then that of 0 was dropped for 3. 4 asks for it.
  ///   0 -> 1 -> 2, 0 -> 4 (after 3)
  void MakeOneToRemake(TaskSpec second = Reads({0}), TaskSpec third = Value({1})) {
    Add({Reads({}), std::move(second), std::move(third), Needs(700, Value({}, {2})),
         Value({0}, {3})});
    EXPECT_EQ(Succeed(0, {{7, 400}}, "a"), (Said{"finish 1:0 success", "start 1:1#1"}));
  }
  /// Up to where 0 runs once more.
  void Remake() {
    Succeed(1, {{8, 10}}, "b");
    Succeed(2);
    ASSERT_FALSE(core_.IsResident({1, 0}));
    EXPECT_EQ(Succeed(3), (Said{"finish 1:3 success", "start 1:0#2"}));
  }
};

class VersionsOnDisk : public Versions {
 protected:
  VersionsOnDisk() : Versions(EvictionPolicy::kSwap) {}
};

TEST_F(Versions, WhatIsTheSameAgainChangesNothing) {
  MakeOneToRemake();
  Remake();
  EXPECT_EQ(Succeed(0, {{9, 400}}, "a", 2), Said{"start 1:4#1"});
  EXPECT_EQ(Succeed(4), (Said{"finish 1:4 success", "release 1:0", "free 9", "end 1"}));
}

TEST_F(Versions, ReadersOfAnEarlierVersionRunAgain) {
  MakeOneToRemake();
  Remake();
  EXPECT_EQ(Succeed(0, {{9, 400}}, "z", 2),
            (Said{"vary 1:0", "restart 1:1", "restart 1:2", "start 1:1#2", "start 1:4#1"}));
  EXPECT_EQ(Why(Reason::kDiffers), "its table came out differently when it was made again");
  EXPECT_EQ(Why(Reason::kOutdated),
            "the table of '1:0', which it stems from, is another one by now");
  EXPECT_EQ(Succeed(4), Said{"finish 1:4 success"});
  EXPECT_EQ(Succeed(1, {{10, 10}}, "y", 2),
            (Said{"finish 1:1 success", "release 1:0", "free 9", "start 1:2#2"}));
  EXPECT_EQ(Succeed(2, {}, 2), (Said{"finish 1:2 success", "release 1:1", "free 10", "end 1"}));
}

TEST_F(Versions, TheyAreToldOfAsSoonAsTheTableIsThere) {
  MakeOneToRemake();
  Remake();
  const TaskPublished published{{1, 0}, 2, {{9, 400}}, "z"};
  EXPECT_EQ(Tell(published),
            (Said{"vary 1:0", "restart 1:1", "restart 1:2", "start 1:1#2", "start 1:4#1"}));
  EXPECT_EQ(Succeed(0, {{9, 400}}, "z", 2), Said{});
}

TEST_F(Versions, AKeptTableIsReplaced) {
  MakeOneToRemake(Kept(Reads({0})));
  Remake();
  EXPECT_TRUE(core_.ledger().Knows(8));
  Succeed(0, {{9, 400}}, "z", 2);
  EXPECT_FALSE(core_.ledger().Knows(8));
  Succeed(4);
  Succeed(1, {{10, 10}}, "y", 2);
  EXPECT_EQ(Succeed(2, {}, 2), (Said{"finish 1:2 success", "release 1:1", "end 1"}));
  ExpectResult(1, 10);
}

TEST_F(VersionsOnDisk, SoIsThatOfTheTaskItself) {
  // A result can't be dropped; but once it is on disk it can't be read back.
  Add({Kept(Reads({})), Value({0}), Needs(700, Value({}, {1})), Value({0}, {2})});
  Succeed(0, {{7, 400}}, "a");
  EXPECT_EQ(Succeed(1), (Said{"finish 1:1 success", "swap out 7"}));
  EXPECT_EQ(Written(7), (Said{"unload 7", "start 1:2#1"}));
  EXPECT_EQ(Succeed(2), (Said{"finish 1:2 success", "swap in 7"}));
  EXPECT_EQ(Read(7, false), (Said{"release 1:0", "start 1:0#2"}));
  EXPECT_EQ(Succeed(0, {{8, 400}}, "z", 2),
            (Said{"vary 1:0", "free 7", "restart 1:1", "start 1:1#2", "start 1:3#1"}));
  Succeed(1, {}, 2);
  Succeed(3);
  ExpectResult(0, 8);
}

TEST_F(Versions, RunningReadersAreStoppedAndWhatTheyReadGoesAfterwards) {
  //   0 -> 1 -> 2, 0 -> 4 (after 3, after 1)
  Add({Reads({}), Reads({0}), Value({1}), Needs(700, Value({}, {1})), Value({0}, {3})});
  Succeed(0, {{7, 400}}, "a");
  EXPECT_EQ(Succeed(1, {{8, 10}}, "b"),
            (Said{"finish 1:1 success", "start 1:2#1", "release 1:0", "free 7", "start 1:3#1"}));
  EXPECT_EQ(Succeed(3), (Said{"finish 1:3 success", "start 1:0#2"}));
  EXPECT_EQ(Succeed(0, {{9, 400}}, "z", 2),
            (Said{"vary 1:0", "restart 1:1", "stop 1:2#1", "start 1:4#1"}));
  EXPECT_TRUE(core_.RunsAgain({1, 2}));
  // What it answers doesn't count. 1 waits for it, as its table would be one of two versions.
  EXPECT_EQ(Succeed(2), (Said{"release 1:1", "free 8", "start 1:1#2"}));
  EXPECT_EQ(Succeed(4), Said{"finish 1:4 success"});
  EXPECT_EQ(Succeed(1, {{10, 10}}, "y", 2),
            (Said{"finish 1:1 success", "release 1:0", "free 9", "start 1:2#2"}));
  EXPECT_EQ(Succeed(2, {}, 2), (Said{"finish 1:2 success", "release 1:1", "free 10", "end 1"}));
}

TEST_F(Versions, ReadersThatAreLeavingRunAgainOnceTheyAreGone) {
  MakeOneToRemake();
  EXPECT_EQ(Publish(1, {{8, 10}}), Said{"start 1:2#1"});
  Succeed(2);
  EXPECT_EQ(Succeed(3), (Said{"finish 1:3 success", "start 1:0#2"}));
  EXPECT_EQ(Succeed(0, {{9, 400}}, "z", 2),
            (Said{"vary 1:0", "restart 1:1", "restart 1:2", "start 1:4#1"}));
  EXPECT_EQ(Succeed(1, {{8, 10}}, "b"), Said{"start 1:1#2"});
}

TEST_F(Versions, AReaderThatIsLeavingMayBeOutdatedTwice) {
  //  0, 1 -> 2; 3: room; 4 reads 0 and 1
  Add({Reads({}), Reads({}), Reads({0, 1}), Needs(900, Value({}, {2})), Value({0, 1}, {3})});
  Succeed(0, {{5, 200}}, "a");
  Succeed(1, {{6, 200}}, "b");
  Tell(TaskPublished{{1, 2}, 1, {{7, 1}}, "c"});
  EXPECT_EQ(Succeed(3), (Said{"finish 1:3 success", "start 1:0#2", "start 1:1#2"}));
  Succeed(0, {{8, 200}}, "y", 2);
  EXPECT_EQ(Succeed(1, {{9, 200}}, "z", 2), (Said{"vary 1:1", "start 1:4#1"}));
  EXPECT_EQ(Succeed(2, {{7, 1}}, "c"), Said{"start 1:2#2"});
  Succeed(4);
  // It is the last reader of both.
  EXPECT_EQ(Succeed(2, {{10, 1}}, "d", 2),
            (Said{"finish 1:2 success", "release 1:0", "free 8", "release 1:1", "free 9",
                  "release 1:2", "free 10", "end 1"}));
}

TEST_F(Versions, IfAReaderFailsWhenItRunsAgainItHasFailed) {
  MakeOneToRemake();
  Remake();
  Succeed(0, {{9, 400}}, "z", 2);
  EXPECT_EQ(End(1, 2), (Said{"finish 1:1 killed", "finish 1:2 skipped"}));
  EXPECT_EQ(Succeed(4), (Said{"finish 1:4 success", "release 1:0", "free 9", "end 1"}));
}

TEST_F(Versions, WhatHasFailedStaysSo) {
  MakeOneToRemake(Reads({0}), Value({1}));
  Succeed(1, {{8, 10}}, "b");
  // 3 comes after 2, and 4 after 3.
  EXPECT_EQ(End(2), (Said{"finish 1:2 killed", "release 1:1", "free 8", "finish 1:3 skipped",
                          "finish 1:4 skipped", "release 1:0", "free 7", "end 1"}));
}

TEST_F(Versions, CancelEndsWhatRunsAgain) {
  MakeOneToRemake();
  Remake();
  Succeed(0, {{9, 400}}, "z", 2);
  EXPECT_EQ(Tell(RunCancelled{1}), (Said{"stop 1:1#2", "finish 1:2 cancelled", "stop 1:4#1"}));
  EXPECT_EQ(End(1, 2), Said{"finish 1:1 cancelled"});
  EXPECT_EQ(End(4), (Said{"finish 1:4 cancelled", "release 1:0", "free 9", "end 1"}));
}

TEST_F(Versions, ItIsNotDroppedAgain) {
  MakeOneToRemake();
  Remake();
  Succeed(0, {{9, 400}}, "z", 2);
  EXPECT_EQ(Limit(300), (Said{"freeze 1:1#2", "freeze 1:4#1", "stop 1:4#1"}));
  EXPECT_TRUE(core_.IsResident({1, 0}));
}

TEST_F(Versions, WhatCantBeComparedIsNotDropped) {
  Add({Reads({}), Needs(700, Value({}, {0})), Value({0}, {1})});
  EXPECT_EQ(Succeed(0, {{7, 400}}, ""), (Said{"finish 1:0 success", "start 1:1#1"}));
  EXPECT_EQ(decisions_.back().reason, Reason::kTriedAlone);
}

// 1 varies, and its table is on disk, of which it can't be read; 2 has read it before.
TEST_F(VersionsOnDisk, WhatCantBeReadAndVariesIsMadeAnewForAll) {
  Add({Reads({}), Varying(Reads({0})), Kept(Reads({1})), Needs(700, Value({}, {2})),
       Value({1}, {3})});
  Succeed(0, {{6, 10}}, "o");
  Succeed(1, {{7, 400}}, "a");
  EXPECT_EQ(Succeed(2, {{8, 10}}, "b"),
            (Said{"finish 1:2 success", "release 1:2", "swap out 8", "swap out 7"}));
  Written(7);
  EXPECT_EQ(Succeed(3), (Said{"finish 1:3 success", "swap in 7"}));
  EXPECT_EQ(Read(7, false),
            (Said{"restart 1:1", "release 1:1", "free 7", "restart 1:2", "free 8", "start 1:0#2"}));
  EXPECT_EQ(decisions_[0].reason, Reason::kTableUnreadable);
  EXPECT_EQ(Succeed(0, {{9, 10}}, "o", 2), Said{"start 1:1#2"});
  Succeed(1, {{10, 400}}, "z", 2);
  Succeed(2, {{11, 10}}, "y", 2);
  EXPECT_EQ(Succeed(4), (Said{"finish 1:4 success", "release 1:1", "free 10", "end 1"}));
  ExpectResult(2, 11);
}

TEST_F(VersionsOnDisk, ButNotForEver) {
  Add({Varying(Reads({})), Needs(500, Value({0}))});
  int attempt = 0;
  Said said;
  while (core_.run_count() > 0 && ++attempt < 100) {
    const auto segment = static_cast<SegmentId>(attempt);
    const TaskId other = {kRun + segment, 0};
    Add({Needs(300, Value({}))}, other.run);
    Succeed(0, {{segment, 400}}, "a", attempt);
    Tell(TaskMeasured{other, 1, 700});
    Written(segment);
    Tell(TaskEnded{other, 1, kSuccess, false, {}});
    said = Read(segment, false);
  }
  EXPECT_EQ(attempt, 9);
  EXPECT_EQ(said, (Said{"finish 1:1 failed", "release 1:0", "free 9", "end 1"}));
  EXPECT_EQ(decisions_[0].reason, Reason::kInputUnreadable);
}

// 1 and 2 vary, and aren't there any more when 4 reads them again; so 3, which has read 2, goes
// with them.
TEST_F(Versions, AncestorsThatAreGoneAndVaryTakeTheirReadersAlong) {
  //  0 -> 4 (reads 0, 1, 2), 3 reads 2, 5: room, 6 reads 0
  Add({Reads({}), Varying(Reads({})), Varying(Reads({})), Value({2}), Value({0, 1, 2}),
       Needs(700, Value({}, {3, 4})), Value({0}, {5})});
  Succeed(0, {{7, 400}}, "a");
  Succeed(1, {{8, 10}}, "b");
  Succeed(2, {{9, 10}}, "c");
  Succeed(3);
  Succeed(4);
  EXPECT_EQ(Succeed(5), (Said{"finish 1:5 success", "start 1:0#2"}));
  EXPECT_EQ(Succeed(0, {{10, 400}}, "z", 2),
            (Said{"vary 1:0", "restart 1:1", "restart 1:2", "restart 1:3", "restart 1:4",
                  "start 1:6#1", "start 1:1#2", "start 1:2#2"}));
  Succeed(6);
  Succeed(1, {{11, 10}}, "y", 2);
  EXPECT_EQ(Succeed(2, {{12, 10}}, "x", 2),
            (Said{"finish 1:2 success", "start 1:4#2", "start 1:3#2"}));
  Succeed(3, {}, 2);
  Succeed(4, {}, 2);
  EXPECT_EQ(core_.run_count(), 0);
}

TEST_F(Versions, NothingPassesAGateThatACheckHasToPassAgain) {
  //  0 -> 1 (a check) -> 2 (gate) -> 4 (after the gate, reads 0); 3: room
  TaskSpec gate = Value({}, {1});
  gate.gate = true;
  Add({Reads({}), Value({0}), gate, Needs(700, Value({}, {1})), Value({0}, {2, 3})});
  Succeed(0, {{7, 400}}, "a");
  Succeed(1);
  EXPECT_EQ(Succeed(3), (Said{"finish 1:3 success", "start 1:0#2"}));
  EXPECT_EQ(Succeed(0, {{8, 400}}, "z", 2),
            (Said{"vary 1:0", "restart 1:1", "restart 1:2", "start 1:1#2"}));
  EXPECT_EQ(End(1, 2),
            (Said{"finish 1:1 killed", "finish 1:4 skipped", "release 1:0", "free 8", "end 1"}));
}

}  // namespace
}  // namespace zerrow::resource
