#include "engine/scheduler.h"

#include <gtest/gtest.h>

namespace zerrow::engine {
namespace {

using Decisions = std::vector<Decision>;
using enum ModelStatus;

Decision Started(size_t node) { return {Decision::Kind::kStart, node}; }
Decision Stopped(size_t node) { return {Decision::Kind::kStop, node}; }
Decision Finished(size_t node, ModelStatus status) {
  return {Decision::Kind::kFinish, node, status};
}
Decision Released(size_t node) { return {Decision::Kind::kRelease, node}; }

TEST(Scheduler, RunsAChainAndReleasesEachTableOnce) {
  Scheduler scheduler({{{}, {}}, {{0, 0}, {}}}, 4);
  EXPECT_EQ(scheduler.Start(0), Decisions{Started(0)});
  EXPECT_EQ(scheduler.OnEnded(0, kSuccess, 10, 1), (Decisions{Finished(0, kSuccess), Started(1)}));
  EXPECT_EQ(scheduler.OnEnded(1, kSuccess, 10, 2),
            (Decisions{Finished(1, kSuccess), Released(0), Released(1)}));
  EXPECT_TRUE(scheduler.done());
}

TEST(Scheduler, SkipsWhatNeedsAFailedNodeAndFinishesTheRest) {
  //  0 -> 1 -> 2,  0 -> 3
  Scheduler scheduler({{{}, {}}, {{0}, {}}, {{1}, {}}, {{0}, {}}}, 1);
  scheduler.Start(0);
  EXPECT_EQ(scheduler.OnEnded(0, kSuccess, 1, 0), (Decisions{Finished(0, kSuccess), Started(1)}));
  EXPECT_EQ(scheduler.OnEnded(1, kKilled, 0, 0),
            (Decisions{Finished(1, kKilled), Finished(2, kSkipped), Started(3)}));
  EXPECT_EQ(scheduler.OnEnded(3, kSuccess, 1, 0),
            (Decisions{Finished(3, kSuccess), Released(0), Released(3)}));
  EXPECT_TRUE(scheduler.done());
}

TEST(Scheduler, StopsAtTheDeadlineAndKeepsThatReason) {
  Scheduler scheduler({{{}, 5.0}, {{0}, {}}}, 1);
  scheduler.Start(10);
  EXPECT_EQ(scheduler.next_deadline(), 15.0);
  EXPECT_EQ(scheduler.OnTime(14.9), Decisions{});
  EXPECT_EQ(scheduler.OnTime(15), Decisions{Stopped(0)});
  EXPECT_EQ(scheduler.next_deadline(), std::nullopt);
  EXPECT_EQ(scheduler.OnEnded(0, kSuccess, 1, 16),
            (Decisions{Finished(0, kTimeout), Finished(1, kSkipped)}));
  EXPECT_TRUE(scheduler.done());
}

TEST(Scheduler, CancelStopsTheRunningAndFinishesTheRest) {
  Scheduler scheduler({{{}, 5.0}, {{}, {}}, {{0}, {}}}, 1);
  scheduler.Start(0);
  EXPECT_EQ(scheduler.Cancel(1),
            (Decisions{Stopped(0), Finished(1, kCancelled), Finished(2, kCancelled)}));
  EXPECT_FALSE(scheduler.done());
  EXPECT_EQ(scheduler.OnEnded(0, kKilled, 0, 1), Decisions{Finished(0, kCancelled)});
  EXPECT_TRUE(scheduler.done());
  EXPECT_EQ(scheduler.Cancel(2), Decisions{});
}

TEST(Scheduler, PrefersWhatFreesMemoryThenWhatIsFurthestAlong) {
  // Sources 0, 1; 2 reads 0 (alone), 3 reads 1 (as 4 does).
  Scheduler scheduler({{{}, {}}, {{}, {}}, {{0}, {}}, {{1}, {}}, {{1}, {}}}, 2);
  EXPECT_EQ(scheduler.Start(0), (Decisions{Started(0), Started(1)}));
  EXPECT_EQ(scheduler.OnEnded(1, kSuccess, 100, 0), (Decisions{Finished(1, kSuccess), Started(3)}));
  EXPECT_EQ(scheduler.OnEnded(0, kSuccess, 1, 0), (Decisions{Finished(0, kSuccess), Started(2)}));
  // A chain goes on before another source is read.
  Scheduler chain({{{}, {}}, {{}, {}}, {{0}, {}}}, 1);
  chain.Start(0);
  EXPECT_EQ(chain.OnEnded(0, kSuccess, 0, 0), (Decisions{Finished(0, kSuccess), Started(2)}));
}

TEST(Scheduler, OnlyWhatHasATableIsReleased) {
  // 1 and 2 look at the table of 0; they publish none themselves.
  Scheduler scheduler({{{}, {}}, {{0}, {}, false}, {{0}, {}, false}}, 2);
  scheduler.Start(0);
  scheduler.OnEnded(0, kSuccess, 1, 0);
  EXPECT_EQ(scheduler.OnEnded(1, kSuccess, 0, 0), Decisions{Finished(1, kSuccess)});
  EXPECT_EQ(scheduler.OnEnded(2, kSuccess, 0, 0), (Decisions{Finished(2, kSuccess), Released(0)}));
}

TEST(Scheduler, StartsOnlyAfterWhatItMustWaitFor) {
  // 2 reads 0 and waits for the check 1; 3 reads 0 and doesn't.
  for (const ModelStatus check : {kSuccess, kFailed}) {
    Scheduler scheduler({{{}, {}}, {{0}, {}, false}, {{0}, {}, false, {1}}, {{0}, {}, false}}, 1);
    scheduler.Start(0);
    EXPECT_EQ(scheduler.OnEnded(0, kSuccess, 1, 0), (Decisions{Finished(0, kSuccess), Started(1)}));
    if (check == kSuccess) {
      EXPECT_EQ(scheduler.OnEnded(1, check, 0, 0), (Decisions{Finished(1, check), Started(2)}));
    } else {
      EXPECT_EQ(scheduler.OnEnded(1, check, 0, 0),
                (Decisions{Finished(1, check), Finished(2, kSkipped), Started(3)}));
    }
  }
}

TEST(Scheduler, IgnoresEventsOfNodesThatDontRun) {
  Scheduler scheduler({{{}, {}}, {{0}, {}}}, 1);
  scheduler.Start(0);
  EXPECT_EQ(scheduler.OnEnded(1, kSuccess, 0, 0), Decisions{});
  scheduler.OnEnded(0, kFailed, 0, 0);
  EXPECT_EQ(scheduler.OnEnded(0, kSuccess, 0, 0), Decisions{});
  EXPECT_TRUE(scheduler.done());
}

}  // namespace
}  // namespace zerrow::engine
