#include "engine/memory_log.h"

#include <gtest/gtest.h>

namespace zerrow::engine {
namespace {

using resource::Decision;
using resource::Reason;
using resource::TaskId;

std::string NameOf(TaskId task) { return "m" + std::to_string(task.index); }

Decision About(Decision::Kind kind, TaskId task, SegmentId segment, int64_t bytes, Reason reason) {
  Decision decision;
  decision.kind = kind;
  decision.task = task;
  decision.segment = segment;
  decision.reason = reason;
  decision.why.bytes = bytes;
  return decision;
}

RunReport ReportOf(MemoryLog log) {
  RunReport report;
  std::move(log).Report(report);
  return report;
}

constexpr TaskId kTable = {1, 3};

TEST(MemoryLog, SegmentsOfATableThatGoAtOnceAreOneEviction) {
  MemoryLog log(/*explain=*/true, 10);
  log.Note(About(Decision::Kind::kSwapOut, kTable, 7, 500, Reason::kOverLimit), NameOf, 11);
  log.Note(About(Decision::Kind::kSwapOut, kTable, 8, 20, Reason::kOverLimit), NameOf, 11);
  log.Note(About(Decision::Kind::kSwapOut, kTable, 9, 1, Reason::kOverLimit), NameOf, 12);
  const RunReport report = ReportOf(std::move(log));
  ASSERT_EQ(report.evictions.size(), 2U);
  EXPECT_EQ(report.evictions[0].model, "m3");
  EXPECT_EQ(report.evictions[0].how, "swap");
  EXPECT_EQ(report.evictions[0].bytes, 520);
  EXPECT_EQ(report.evictions[1].bytes, 1);
  EXPECT_EQ(report.evicted_bytes, 521);
  ASSERT_EQ(report.memory_events->size(), 2U);
  EXPECT_EQ(report.memory_events->front().at_s, 1);
  EXPECT_NE(report.memory_events->front().what.find("520 B of the table of 'm3' are written"),
            std::string::npos)
      << report.memory_events->front().what;
}

TEST(MemoryLog, EachWayIsCalledByItsName) {
  MemoryLog log(/*explain=*/false, 0);
  log.Note(About(Decision::Kind::kRelease, kTable, 0, 5, Reason::kMakeRoom), NameOf, 1);
  log.Note(About(Decision::Kind::kUncache, {}, 4, 6, Reason::kMakeRoom), NameOf, 1);
  // It was written before: only now does it go.
  log.Note(About(Decision::Kind::kUnload, kTable, 5, 7, Reason::kCopied), NameOf, 1);
  // Of these it was told when they were begun.
  log.Note(About(Decision::Kind::kUnload, {}, 6, 8, Reason::kCopied), NameOf, 1);
  log.Note(About(Decision::Kind::kSwapIn, kTable, 6, 8, Reason::kNeeded), NameOf, 1);
  const RunReport report = ReportOf(std::move(log));
  ASSERT_EQ(report.evictions.size(), 3U);
  EXPECT_EQ(report.evictions[0].how, "rollback");
  EXPECT_EQ(report.evictions[1].how, "cache");
  EXPECT_EQ(report.evictions[1].model, "");
  EXPECT_EQ(report.evictions[2].how, "swap");
  EXPECT_EQ(report.evicted_bytes, 18);
  EXPECT_FALSE(report.memory_events);
}

TEST(MemoryLog, WhatIsFreedByItselfIsNoEviction) {
  EXPECT_FALSE(MemoryLog::Concerns(About(Decision::Kind::kRelease, kTable, 0, 5, Reason::kUnread)));
  EXPECT_FALSE(MemoryLog::Concerns(About(Decision::Kind::kFree, kTable, 1, 5, Reason::kUnread)));
  EXPECT_FALSE(
      MemoryLog::Concerns(About(Decision::Kind::kStart, kTable, 0, 0, Reason::kInputsThere)));
  EXPECT_TRUE(
      MemoryLog::Concerns(About(Decision::Kind::kStart, kTable, 0, 0, Reason::kTriedAlone)));
}

TEST(MemoryLog, WhatRunsAgainForAnotherVersionIsToldWithItsCause) {
  MemoryLog log(/*explain=*/true, 0);
  Decision outdated = About(Decision::Kind::kRestart, {1, 4}, 0, 0, Reason::kOutdated);
  outdated.why.cause = kTable;
  Decision stopped = outdated;
  stopped.kind = Decision::Kind::kStop;
  for (const Decision& decision :
       {About(Decision::Kind::kVary, kTable, 0, 0, Reason::kDiffers), outdated, stopped,
        About(Decision::Kind::kRelease, {1, 4}, 0, 5, Reason::kOutdated)}) {
    EXPECT_TRUE(MemoryLog::Concerns(decision));
    log.Note(decision, NameOf, 1);
  }
  const RunReport report = ReportOf(std::move(log));
  EXPECT_TRUE(report.evictions.empty());
  ASSERT_EQ(report.memory_events->size(), 4);
  const auto said = [&](size_t i) { return (*report.memory_events)[i].what; };
  EXPECT_EQ(said(0),
            "'m3' isn't deterministic: its table came out differently when it was made again");
  const std::string why = ": the table of 'm3', which it stems from, is another one by now";
  EXPECT_EQ(said(1), "'m4' has to run again" + why);
  EXPECT_EQ(said(2), "'m4' is stopped" + why);
  EXPECT_EQ(said(3), "the table of 'm4' is dropped (5 B): what it had read is outdated");
}

TEST(MemoryLog, WaitsAddUp) {
  MemoryLog log(/*explain=*/true, 0);
  log.BeginWait("m2", 2, "it needs much", 1);
  log.EndWait(3);
  log.BeginWait("m4", 4, "others go first", 3);
  log.BeginWait("m2", 2, "it still needs much", 4);  // ends the other's
  log.EndWait(4.5);
  log.EndWait(9);  // there is none
  ASSERT_EQ(log.waits().size(), 2U);
  EXPECT_DOUBLE_EQ(log.waits().at(2).wait_s, 2.5);
  EXPECT_EQ(log.waits().at(2).reason, "it still needs much");
  EXPECT_DOUBLE_EQ(log.waits().at(4).wait_s, 1);
  EXPECT_EQ(ReportOf(std::move(log)).memory_events->size(), 6U);
}

TEST(MemoryLog, TellsHowLongProcessesWaited) {
  MemoryLog log(/*explain=*/true, 1);
  log.NoteStall(0.234, 3);
  const RunReport report = ReportOf(std::move(log));
  ASSERT_EQ(report.memory_events->size(), 1U);
  EXPECT_EQ(report.memory_events->front().what,
            "processes waited for memory for 23 % of the last ten seconds");
  EXPECT_DOUBLE_EQ(report.memory_events->front().at_s, 2);
}

TEST(MemoryLog, IsBounded) {
  MemoryLog log(/*explain=*/true, 0);
  const auto count = static_cast<SegmentId>(MemoryLog::kMaxEvictions + 100);
  for (SegmentId i = 1; i <= count; ++i) {
    const TaskId task = {1, i};
    log.Note(About(Decision::Kind::kSwapOut, task, i, 2, Reason::kOverLimit), NameOf, 0);
    log.Note(About(Decision::Kind::kSwapOut, task, i + 1, 2, Reason::kOverLimit), NameOf, 0);
  }
  const RunReport report = ReportOf(std::move(log));
  EXPECT_EQ(report.evictions.size(), MemoryLog::kMaxEvictions);
  EXPECT_EQ(report.evicted_bytes, static_cast<int64_t>(4 * count));
  EXPECT_EQ(report.memory_events->size(), MemoryLog::kMaxEvents + 1);
  EXPECT_NE(report.memory_events->back().what.find("and more"), std::string::npos);
}

}  // namespace
}  // namespace zerrow::engine
