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

}  // namespace
}  // namespace zerrow::resource
