// Attempts that publish before their end, that are lost, and news of what isn't there.
#include "resource/core_fixture.h"

namespace zerrow::resource {
namespace {

TEST_F(CoreTest, APublishedTableStartsItsReadersBeforeItsProcessEnds) {
  Add({Reads({}), Reads({0}), Value({1})}, 1);
  EXPECT_EQ(Publish(0, {{7, 10}}), Said({"start 1:1#1"}));
  EXPECT_EQ(core_.running(), 1);
  EXPECT_TRUE(core_.IsLeaving({kRun, 0}));
  // What it publishes lets go of what it has read.
  EXPECT_EQ(Publish(1, {{8, 10}}), Said({"release 1:0", "free 7", "start 1:2#1"}));
  EXPECT_EQ(Succeed(2), Said({"finish 1:2 success", "release 1:1", "free 8"}));
  // The run ends once nothing of it is left.
  EXPECT_EQ(Succeed(1, {{8, 10}}), Said({"finish 1:1 success"}));
  EXPECT_EQ(Succeed(0, {{7, 10}}), Said({"finish 1:0 success", "end 1"}));
  ExpectNothingLeft();
}

TEST_F(CoreTest, WhatHasPublishedSucceedsWhateverBecomesOfIt) {
  Add({Timed(Reads({}), 5), Reads({0})});
  Tell(TaskRunning{{kRun, 0}, 1});
  Publish(0, {{7, 10}});
  EXPECT_EQ(core_.next_deadline(), std::nullopt);
  EXPECT_EQ(Cancel(), Said({"stop 1:1#1"}));
  EXPECT_EQ(Lose(0, 1), Said({"finish 1:0 success"}));
  EXPECT_EQ(End(1, kKilled), Said({"finish 1:1 cancelled", "release 1:0", "free 7", "end 1"}));
  ExpectNothingLeft();
}

TEST_F(CoreTest, ATableIsPublishedOnceAndOnlyWhereItIsWanted) {
  Add({Reads({}), Value({}), Reads({0})});
  EXPECT_FALSE(core_.MayPublish({kRun, 0}, 2));
  EXPECT_EQ(Publish(0, {{7, 10}}, 2), Said());
  EXPECT_FALSE(core_.MayPublish({kRun, 1}, 1));
  EXPECT_EQ(Publish(1, {{8, 10}}), Said());
  EXPECT_EQ(Publish(2, {{8, 10}}), Said());
  EXPECT_EQ(core_.ledger().bytes(), 0);
  EXPECT_EQ(Publish(0, {{7, 10}}), Said({"start 1:2#1"}));
  EXPECT_EQ(Publish(0, {{9, 10}}), Said());
  EXPECT_EQ(core_.ledger().bytes(), 10);
  Cancel();
  EXPECT_FALSE(core_.MayPublish({kRun, 2}, 1));
  EXPECT_EQ(Publish(2, {{8, 10}}), Said());
}

TEST_F(CoreTest, ALostAttemptIsFollowedByAnotherOne) {
  Add({Timed(Reads({}), 5), Reads({0})});
  Tell(TaskRunning{{kRun, 0}, 1}, 0);
  EXPECT_EQ(Lose(0, 1), Said{"start 1:0#2"});
  EXPECT_EQ(reasons(), std::vector{Reason::kLost});
  EXPECT_EQ(core_.next_deadline(), std::nullopt);  // its time begins anew
  Tell(TaskRunning{{kRun, 0}, 2}, 8);
  EXPECT_EQ(core_.next_deadline(), 13.0);
  EXPECT_EQ(Succeed({kRun, 0}, {}, 2), (Said{"finish 1:0 success", "start 1:1#1"}));
}

TEST_F(CoreTest, NotByAThirdOne) {
  Add({Reads({}), Reads({0})});
  Lose(0, 1);
  EXPECT_EQ(Lose(0, 2), (Said{"finish 1:0 failed", "finish 1:1 skipped", "end 1"}));
  EXPECT_EQ(reasons()[0], Reason::kLost);
}

// Losing it for want of memory tells nothing of the task: it may be lost more often than otherwise.
TEST_F(CoreTest, WhatIsRefusedMemoryIsTriedMoreOftenButNotForEver) {
  Add({Reads({}), Reads({0})});
  const auto refuse = [this](int attempt) {
    TaskEnded ended{{kRun, 0}, attempt, kFailed, true};
    ended.for_memory = true;
    return Tell(ended);
  };
  int attempt = 1;
  for (; attempt < 6; ++attempt) {
    EXPECT_EQ(refuse(attempt), Said{"start 1:0#" + std::to_string(attempt + 1)});
    EXPECT_EQ(reasons(), std::vector{Reason::kRefused});
  }
  // The other count is one of its own.
  EXPECT_EQ(Lose(0, attempt++), Said{"start 1:0#7"});
  EXPECT_EQ(refuse(attempt), (Said{"finish 1:0 failed", "finish 1:1 skipped", "end 1"}));
  EXPECT_EQ(reasons()[0], Reason::kRefused);
}

TEST_F(CoreTest, ALostAttemptGivesItsSlotBackAndItsTable) {
  Add({Reads({}), Reads({})}, 1);
  EXPECT_EQ(Lose(0, 1, {{7, 10}}), (Said{"free 7", "start 1:0#2"}));
  EXPECT_EQ(core_.running(), 1);
  EXPECT_EQ(core_.ledger().bytes(), 0);
}

TEST_F(CoreTest, WhatWasStoppedIsntTriedAgain) {
  Add({Reads({})});
  Cancel();
  EXPECT_EQ(Lose(0, 1), (Said{"finish 1:0 cancelled", "end 1"}));
}

TEST_F(CoreTest, EventsOfWhatIsntThereAreIgnoredAndTheirTablesFreed) {
  EXPECT_EQ(Succeed(0, {{5, 1}}), Said{"free 5"});  // no such run
  Add({Reads({}), Reads({0})});
  EXPECT_EQ(Succeed(1, {{6, 1}}), Said{"free 6"});  // it doesn't run
  EXPECT_EQ(Succeed(9, {{6, 1}}), Said{"free 6"});  // no such task
  EXPECT_EQ(Succeed({kRun, 0}, {{6, 1}}, 2), Said{"free 6"});
  EXPECT_EQ(reasons(), std::vector{Reason::kUnread});
  Succeed(0, {{7, 1}});
  // Again: what the table of 0 holds stays.
  EXPECT_EQ(Succeed(0, {{7, 1}, {8, 1}}), Said{"free 8"});
  EXPECT_EQ(End(0, kFailed), Said{});
  EXPECT_EQ(Tell(TasksAdded{2, {Reads({})}}), Said{});
  EXPECT_EQ(Tell(TaskRunning{{2, 0}, 1}), Said{});
  EXPECT_EQ(Tell(ResultDropped{{2, 0}}), Said{});
  EXPECT_EQ(Cancel(2), Said{});
  EXPECT_EQ(Add({Reads({}), Reads({})}), Said{});  // there is a run of that id
  EXPECT_EQ(Succeed(1, {{9, 1}}).back(), "end 1");
  ExpectNothingLeft();
}

TEST_F(CoreTest, KnowsWhichAttemptItAwaits) {
  Add({Reads({}), Reads({0})});
  EXPECT_TRUE(core_.Awaits({kRun, 0}, 1));
  EXPECT_FALSE(core_.Awaits({kRun, 0}, 2));
  EXPECT_FALSE(core_.Awaits({kRun, 1}, 0));  // it hasn't started
  EXPECT_FALSE(core_.Awaits({kRun, 9}, 1));
  EXPECT_FALSE(core_.Awaits({2, 0}, 1));
  EXPECT_FALSE(core_.IsStopping({kRun, 0}));
  Cancel();
  EXPECT_TRUE(core_.Awaits({kRun, 0}, 1));
  EXPECT_TRUE(core_.IsStopping({kRun, 0}));
}

}  // namespace
}  // namespace zerrow::resource
