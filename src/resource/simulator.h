// What would happen: the Core that rules real runs, driven by the sizes and times of a scenario
// instead of processes.
//
// Attempts take the memory that the scenario says, step by step if it grows; one disk writes and
// reads in turn; nothing takes time but tasks and that disk. Deterministic and pure: for planning,
// and to try the Core on workloads from outside. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "resource/core.h"

namespace zerrow::resource {

struct ScenarioTask {
  std::string name;
  TaskSpec spec;  // with what is expected of it, which may be wrong
  double run_s = 0;
  int64_t memory_bytes = 0;  // at most, its table included
  int64_t table_bytes = 0;
  bool grows = false;  // evenly until its end; else it takes all of it at once
};

struct ScenarioRun {
  std::string name;  // "": tasks are called by their own names
  Time arrives = 0;
  int priority = 0;
  std::vector<ScenarioTask> tasks;
};

struct ForecastOptions {
  Core::Options core;
  double disk_write_bytes_per_s = 500e6;
  double disk_read_bytes_per_s = 1000e6;
};

struct ForecastTask {
  std::string name;  // "run.task"
  ModelStatus status = ModelStatus::kSkipped;
  std::optional<Time> start;  // of its first attempt
  Time end = 0;
  int attempts = 0;
  // From when all that it needs was there until its first attempt.
  double slot_wait_s = 0;    // all slots were taken
  double memory_wait_s = 0;  // one was free
  std::string error;         // why it fails or is skipped
};

struct ForecastEviction {
  Time at = 0;
  std::string table;  // of which task
  const char* how = "swap";
  int64_t bytes = 0;
  std::string reason;
};

struct Forecast {
  std::vector<ForecastTask> tasks;  // as in the scenario
  std::vector<ForecastEviction> evictions;
  double makespan_s = 0;
  int64_t peak_bytes = 0;  // charged at most
  int64_t written_bytes = 0;
  int64_t read_bytes = 0;
  double remade_s = 0;  // tasks run again for tables that were dropped
  double lost_s = 0;    // attempts that were stopped for their memory
  size_t stops = 0;
  size_t failed = 0;  // tasks that can't get the memory that they need
};

/// Inputs of tasks come before them in their run.
Forecast Simulate(const std::vector<ScenarioRun>& runs, const ForecastOptions& options);

}  // namespace zerrow::resource
