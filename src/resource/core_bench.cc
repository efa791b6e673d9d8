// What a decision costs with 10,000 waiting tasks of 100 runs: the engine's loop waits for each.
// Without a limit, and with one that lets tables go all the time.
#include <benchmark/benchmark.h>

#include <time.h>

#include <algorithm>
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

// Room for the attempts and about two tables of each run, of which there are several.
constexpr int64_t kPeakBytes = 5'000;
constexpr int64_t kLimitBytes = 500'000;

// Others on the machine don't count.
double CpuMicroseconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return 1e6 * static_cast<double>(time.tv_sec) + 1e-3 * static_cast<double>(time.tv_nsec);
}

std::vector<TaskSpec> TasksOf(Shape shape, std::mt19937_64& random) {
  std::vector<TaskSpec> tasks(kTasks);
  for (size_t i = 0; i < kTasks; ++i) {
    tasks[i].timeout_s = 1000;
    tasks[i].expected = {0, kPeakBytes, 1};
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
  Load(Shape shape, const Core::Options& options) : shape_(shape), core_(options) {
    for (RunId run = 0; run < kRuns; ++run) Decide(RunAdded{++last_run_, kJobs, Tasks()});
  }

  /// Ends one attempt; a run that ends is followed by another one.
  void Step() {
    if (running_.empty()) return Answer();
    std::swap(running_[random_() % running_.size()], running_.back());
    const auto [task, attempt] = running_.back();
    running_.pop_back();
    Decide(TaskRunning{task, attempt});
    Decide(TaskMeasured{task, attempt, kPeakBytes});
    TaskEnded ended{task, attempt, ModelStatus::kSuccess, false, {}};
    if (core_.ledger().Knows(last_segment_)) ended.table = {{last_segment_, 1000}};
    for (int i = 0; i < 3; ++i) ended.table.push_back({++last_segment_, 1000});
    Decide(ended);
    Answer();
    if (core_.run_count() < kRuns) Decide(RunAdded{++last_run_, kJobs, Tasks()});
  }

  /// Of each decision, in µs, since the last call.
  std::vector<double> TakeTimes() { return std::exchange(times_us_, {}); }
  size_t evictions() const { return evictions_; }

 private:
  /// What the disk was told to do is done.
  void Answer() {
    for (const SegmentId segment : std::exchange(written_, {})) Decide(SegmentSwappedOut{segment});
    for (const SegmentId segment : std::exchange(read_, {})) Decide(SegmentSwappedIn{segment});
  }

  std::vector<TaskSpec> Tasks() { return TasksOf(shape_, random_); }

  void Decide(const Event& event) {
    const double before = CpuMicroseconds();
    const auto decisions = core_.On(event, now_ += 0.001);
    times_us_.push_back(CpuMicroseconds() - before);
    for (const Decision& decision : decisions) {
      using enum Decision::Kind;
      if (decision.kind == kStart) running_.emplace_back(decision.task, decision.attempt);
      if (decision.kind == kSwapOut) written_.push_back(decision.segment);
      if (decision.kind == kSwapIn) read_.push_back(decision.segment);
      const bool dropped = decision.kind == kRelease && decision.reason == Reason::kMakeRoom;
      if (decision.kind == kSwapOut || decision.kind == kUnload || dropped) ++evictions_;
    }
  }

  const Shape shape_;
  std::mt19937_64 random_{1};
  Core core_;
  std::vector<std::pair<TaskId, int>> running_;  // and its attempt
  std::vector<SegmentId> written_;               // told to be
  std::vector<SegmentId> read_;
  size_t evictions_ = 0;
  std::vector<double> times_us_;
  RunId last_run_ = 0;
  SegmentId last_segment_ = 1;
  Time now_ = 0;
};

void Measure(benchmark::State& state, const Core::Options& options) {
  Load load(static_cast<Shape>(state.range(0)), options);
  load.TakeTimes();  // of the first runs' coming
  while (state.KeepRunning()) load.Step();
  auto times = load.TakeTimes();
  std::sort(times.begin(), times.end());
  state.counters["mean_us"] =
      std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size());
  state.counters["p99_us"] = times[times.size() * 99 / 100];
  state.counters["max_us"] = times.back();
  state.counters["evictions"] = static_cast<double>(load.evictions());
}

void Decide(benchmark::State& state) { Measure(state, {kJobs}); }
BENCHMARK(Decide)->ArgName("shape")->Arg(kChains)->Arg(kFan)->Arg(kRandom)->Iterations(50000);

void DecideWithin(benchmark::State& state) {
  Measure(state, {kJobs, {kLimitBytes, 0}, static_cast<EvictionPolicy>(state.range(1))});
}
BENCHMARK(DecideWithin)
    ->ArgNames({"shape", "policy"})
    ->ArgsProduct({{kChains, kFan, kRandom},
                   {static_cast<int64_t>(EvictionPolicy::kSwap),
                    static_cast<int64_t>(EvictionPolicy::kRollback),
                    static_cast<int64_t>(EvictionPolicy::kAdaptive)}})
    ->Iterations(20000);

}  // namespace
}  // namespace zerrow::resource

BENCHMARK_MAIN();
