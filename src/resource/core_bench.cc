// What a decision costs with 10,000 waiting tasks of 100 runs: the engine's loop waits for each.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>
#include <vector>

#include "resource/core.h"

namespace zerrow::resource {
namespace {

constexpr RunId kRuns = 100;
constexpr size_t kTasks = 100;  // of each run
constexpr int kJobs = 16;

enum Shape { kChains, kFan, kRandom };

std::vector<TaskSpec> TasksOf(Shape shape, std::mt19937_64& random) {
  std::vector<TaskSpec> tasks(kTasks);
  for (size_t i = 0; i < kTasks; ++i) {
    tasks[i].timeout_s = 1000;
    if (i == 0) continue;
    if (shape == kFan) {
      tasks[i].inputs = {0};
    } else if (shape == kChains) {
      if (i >= 4) tasks[i].inputs = {i - 4};
    } else {
      for (size_t k = random() % 4; k > 0; --k) tasks[i].inputs.push_back(random() % i);
    }
  }
  return tasks;
}

/// Runs that come as others end, their tables of three segments of their own and one reshared.
class Load {
 public:
  explicit Load(Shape shape) : shape_(shape) {
    for (RunId run = 0; run < kRuns; ++run) Decide(RunAdded{++last_run_, kJobs, Tasks()});
  }

  /// Ends one attempt; a run that ends is followed by another one.
  void Step() {
    std::swap(running_[random_() % running_.size()], running_.back());
    const TaskId task = running_.back();
    running_.pop_back();
    Decide(TaskRunning{task, 1});
    TaskEnded ended{task, 1, ModelStatus::kSuccess, false, {{last_segment_, 1000}}};
    for (int i = 0; i < 3; ++i) ended.table.push_back({++last_segment_, 1000});
    Decide(ended);
    if (core_.run_count() < kRuns) Decide(RunAdded{++last_run_, kJobs, Tasks()});
  }

  /// Of each decision, in µs, since the last call.
  std::vector<double> TakeTimes() { return std::exchange(times_us_, {}); }

 private:
  std::vector<TaskSpec> Tasks() { return TasksOf(shape_, random_); }

  void Decide(const Event& event) {
    const auto before = std::chrono::steady_clock::now();
    const auto decisions = core_.On(event, now_ += 0.001);
    const std::chrono::duration<double, std::micro> took =
        std::chrono::steady_clock::now() - before;
    times_us_.push_back(took.count());
    for (const Decision& decision : decisions) {
      if (decision.kind == Decision::Kind::kStart) running_.push_back(decision.task);
    }
  }

  const Shape shape_;
  std::mt19937_64 random_{1};
  Core core_{kJobs};
  std::vector<TaskId> running_;
  std::vector<double> times_us_;
  RunId last_run_ = 0;
  SegmentId last_segment_ = 1;
  Time now_ = 0;
};

void Decide(benchmark::State& state) {
  Load load(static_cast<Shape>(state.range(0)));
  load.TakeTimes();  // of the first runs' coming
  for (auto step : state) load.Step();
  auto times = load.TakeTimes();
  std::sort(times.begin(), times.end());
  state.counters["mean_us"] =
      std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size());
  state.counters["p99_us"] = times[times.size() * 99 / 100];
  state.counters["max_us"] = times.back();
}
BENCHMARK(Decide)->ArgName("shape")->Arg(kChains)->Arg(kFan)->Arg(kRandom)->Iterations(50000);

}  // namespace
}  // namespace zerrow::resource

BENCHMARK_MAIN();
