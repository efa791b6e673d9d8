#include "resource/simulator.h"

#include <gtest/gtest.h>

namespace zerrow::resource {
namespace {

/// It takes `memory_bytes`, as is expected, and leaves a table.
ScenarioTask Task(std::string name, std::vector<size_t> inputs, double run_s, int64_t memory_bytes,
                  int64_t table_bytes) {
  ScenarioTask task{std::move(name), {}, run_s, memory_bytes, table_bytes, false};
  task.spec.inputs = std::move(inputs);
  task.spec.expected = {table_bytes, memory_bytes - table_bytes, run_s};
  return task;
}

ForecastOptions Limited(int64_t limit_bytes, EvictionPolicy policy, int slots = 2) {
  ForecastOptions options;
  options.core = {slots, {limit_bytes, 0}, policy};
  options.disk_write_bytes_per_s = 100;
  options.disk_read_bytes_per_s = 200;
  return options;
}

/// The table of a is read before and after b, which needs its memory.
std::vector<ScenarioRun> NeededTwice() {
  ScenarioRun run;
  run.tasks = {Task("a", {}, 3, 400, 400), Task("b", {}, 2, 800, 10), Task("c", {0, 1}, 1, 100, 0)};
  run.tasks[1].spec.after = {0};
  return {run};
}

TEST(Simulator, WithoutALimitTasksTakeTheirTimes) {
  const auto forecast = Simulate(NeededTwice(), Limited(Budget::kUnlimited, EvictionPolicy::kSwap));
  EXPECT_DOUBLE_EQ(forecast.makespan_s, 6);
  EXPECT_EQ(forecast.peak_bytes, 1200);
  EXPECT_TRUE(forecast.evictions.empty());
  EXPECT_EQ(forecast.tasks[2].start, 5);
  EXPECT_EQ(forecast.tasks[2].status, ModelStatus::kSuccess);
}

TEST(Simulator, SwapTakesTheDisksTime) {
  const auto forecast = Simulate(NeededTwice(), Limited(1000, EvictionPolicy::kSwap));
  // 4 s to write, 2 s to read.
  EXPECT_DOUBLE_EQ(forecast.makespan_s, 12);
  EXPECT_EQ(forecast.written_bytes, 400);
  EXPECT_EQ(forecast.read_bytes, 400);
  EXPECT_EQ(forecast.peak_bytes, 800);
  ASSERT_EQ(forecast.evictions.size(), 1);
  EXPECT_EQ(forecast.evictions[0].table, "a");
  EXPECT_STREQ(forecast.evictions[0].how, "swap");
  EXPECT_EQ(forecast.evictions[0].bytes, 400);
  EXPECT_EQ(forecast.evictions[0].reason, "to make room for 'b', which needs 800 B");
  EXPECT_DOUBLE_EQ(forecast.tasks[1].memory_wait_s, 7) << "it reads nothing";
  EXPECT_DOUBLE_EQ(forecast.tasks[2].memory_wait_s, 2);
}

TEST(Simulator, RollbackTakesTheTasksTime) {
  const auto forecast = Simulate(NeededTwice(), Limited(1000, EvictionPolicy::kRollback));
  EXPECT_DOUBLE_EQ(forecast.makespan_s, 9);
  EXPECT_DOUBLE_EQ(forecast.remade_s, 3);
  EXPECT_EQ(forecast.tasks[0].attempts, 2);
  EXPECT_EQ(forecast.tasks[0].end, 3) << "told once";
  ASSERT_EQ(forecast.evictions.size(), 1);
  EXPECT_STREQ(forecast.evictions[0].how, "rollback");
}

TEST(Simulator, WhatCantFitFailsAndSaysWhy) {
  ScenarioRun run{"p1", 1, 0, {Task("a", {}, 1, 2000, 0), Task("b", {0}, 1, 10, 0)}};
  const auto forecast = Simulate({run}, Limited(1000, EvictionPolicy::kAdaptive));
  EXPECT_EQ(forecast.failed, 1);
  EXPECT_EQ(forecast.tasks[0].status, ModelStatus::kFailed);
  EXPECT_EQ(forecast.tasks[0].error,
            "it needs at least 2 kB with its inputs, which the engine's memory limit of 1 kB "
            "doesn't allow; raise --memory-limit, or give it less to do");
  EXPECT_EQ(forecast.tasks[1].name, "p1.b");
  EXPECT_EQ(forecast.tasks[1].status, ModelStatus::kSkipped);
}

TEST(Simulator, WhatGrowsBeyondItsExpectationIsStoppedAndRunsAlone) {
  ScenarioRun run;
  run.tasks = {Task("a", {}, 16, 800, 0), Task("b", {}, 16, 800, 0)};
  for (ScenarioTask& task : run.tasks) {
    task.grows = true;
    task.spec.expected = {0, 100, 1};
  }
  const auto forecast = Simulate({run}, Limited(1000, EvictionPolicy::kNone));
  EXPECT_EQ(forecast.stops, 1);
  EXPECT_EQ(forecast.failed, 0);
  EXPECT_GT(forecast.lost_s, 0);
  EXPECT_EQ(forecast.tasks[0].status, ModelStatus::kSuccess);
  EXPECT_EQ(forecast.tasks[1].status, ModelStatus::kSuccess);
  EXPECT_DOUBLE_EQ(forecast.makespan_s, 32);
}

TEST(Simulator, WaitsForSlotsAndPriorities) {
  std::vector<ScenarioRun> runs(2);
  runs[0] = {"low", 0, 0, {Task("a", {}, 2, 1, 0), Task("b", {}, 2, 1, 0)}};
  runs[1] = {"high", 1, 1, {Task("c", {}, 2, 1, 0)}};
  const auto forecast = Simulate(runs, Limited(1000, EvictionPolicy::kAdaptive, 1));
  EXPECT_EQ(forecast.tasks[2].start, 2);
  EXPECT_EQ(forecast.tasks[1].start, 4);
  EXPECT_DOUBLE_EQ(forecast.tasks[1].slot_wait_s, 4);
  EXPECT_DOUBLE_EQ(forecast.tasks[1].memory_wait_s, 0);
}

/// Chains side by side, each step of which makes a table of 100 from the one before.
ScenarioRun Chains(size_t chains, size_t steps) {
  ScenarioRun run;
  std::vector<size_t> ends;
  for (size_t chain = 0; chain < chains; ++chain) {
    for (size_t step = 0; step < steps; ++step) {
      std::vector<size_t> inputs;
      if (step > 0) inputs = {run.tasks.size() - 1};
      run.tasks.push_back(Task("step", std::move(inputs), 1, 100, 100));
    }
    ends.push_back(run.tasks.size());
    run.tasks.push_back(Task("end", {run.tasks.size() - 1}, 1, 1, 1));
  }
  run.tasks.push_back(Task("result", ends, 1, 1, 1));
  return run;
}

// Four runs of 28 steps: only the one that began first has others' tables dropped.
TEST(Simulator, RunsThatDropEachOthersTablesGetOn) {
  for (const int slots : {1, 2, 4}) {
    for (const int64_t limit : {210, 310, 410, 610}) {
      const std::vector<ScenarioRun> runs(4, Chains(4, 7));
      const auto forecast = Simulate(runs, Limited(limit, EvictionPolicy::kRollback, slots));
      EXPECT_EQ(forecast.failed, 0) << slots << " slots, limit " << limit;
      EXPECT_LE(forecast.remade_s, limit == 210 ? 110 : 20) << slots << " slots, limit " << limit;
    }
  }
}

/// Diamonds on top of each other, several such stacks side by side.
ScenarioRun Diamonds(size_t count, size_t levels) {
  ScenarioRun run;
  std::vector<size_t> ends;
  for (size_t i = 0; i < count; ++i) {
    size_t tip = run.tasks.size();
    run.tasks.push_back(Task("tip", {}, 1, 100, 100));
    for (size_t level = 0; level < levels; ++level) {
      const size_t left = run.tasks.size();
      run.tasks.push_back(Task("left", {tip}, 1, 100, 100));
      run.tasks.push_back(Task("right", {tip}, 1, 100, 100));
      tip = run.tasks.size();
      run.tasks.push_back(Task("tip", {left, left + 1}, 1, 100, 100));
    }
    ends.push_back(run.tasks.size());
    run.tasks.push_back(Task("end", {tip}, 1, 1, 1));
  }
  run.tasks.push_back(Task("result", ends, 1, 1, 1));
  return run;
}

// Of 30 tables each. Two that are read together are made of the same, and 310 is the least that one
// run needs.
TEST(Simulator, InputsOfOneReaderArentDroppedForEachOther) {
  for (const size_t count : {1, 2, 4}) {
    for (const int slots : {1, 2, 4}) {
      for (const int64_t limit : {310, 410}) {
        const std::vector<ScenarioRun> runs(count, Diamonds(3, 3));
        const auto forecast = Simulate(runs, Limited(limit, EvictionPolicy::kRollback, slots));
        const auto what = testing::Message() << count << " runs, " << slots << " slots, " << limit;
        EXPECT_EQ(forecast.failed, 0) << what;
        EXPECT_LE(forecast.remade_s, limit == 310 ? 200 : 70) << what;
      }
    }
  }
}

TEST(Simulator, WhatGoesOnWithoutMoreMemoryGoesBeforeAnotherRun) {
  const std::vector<ScenarioRun> runs(4, Chains(1, 7));
  const auto forecast = Simulate(runs, Limited(210, EvictionPolicy::kSwap, 1));
  EXPECT_EQ(forecast.written_bytes, 0);
}

}  // namespace
}  // namespace zerrow::resource
