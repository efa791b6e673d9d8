#include "resource/simulator.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

namespace zerrow::resource {

namespace {

// In which one whose memory grows is measured.
constexpr int kGrowthSteps = 16;

class Simulation {
 public:
  Simulation(const std::vector<ScenarioRun>& runs, const ForecastOptions& options)
      : runs_(runs), options_(options), core_(options.core) {
    for (const ScenarioRun& run : runs_) {
      first_.push_back(progress_.size());
      for (const ScenarioTask& task : run.tasks) {
        progress_.push_back({task.spec.inputs.size(), {}});
        ForecastTask& told = forecast_.tasks.emplace_back();
        told.name = run.name.empty() ? task.name : run.name + "." + task.name;
      }
    }
  }

  Forecast Run() {
    for (RunId run = 0; run < runs_.size(); ++run) {
      At(runs_[run].arrives, [this, run] { Add(run); });
    }
    while (!agenda_.empty()) {
      const auto next = agenda_.extract(agenda_.begin());
      MoveTo(next.key().first);
      next.mapped()();
    }
    return std::move(forecast_);
  }

 private:
  /// How long it was waited for slots and for memory, by whatever waited.
  struct Waited {
    double slot_s = 0;
    double memory_s = 0;
  };
  struct Progress {
    size_t missing = 0;  // inputs that haven't been made once
    Waited ready;        // when the last of them was
    std::vector<size_t> readers = {};
    uint64_t attempt = 0;  // the one that runs; 0: none
    int number = 0;
    int steps_left = 0;
    Time step_ends = 0;
    double frozen_s = -1;  // left of the step; negative: it isn't frozen
    Time began = 0;
  };

  size_t PlaceOf(TaskId task) const { return first_[task.run] + task.index; }
  Progress& At(TaskId task) { return progress_[PlaceOf(task)]; }
  ForecastTask& Told(TaskId task) { return forecast_.tasks[PlaceOf(task)]; }
  const ScenarioTask& Of(TaskId task) const { return runs_[task.run].tasks[task.index]; }

  void At(Time time, std::function<void()> what) {
    agenda_.emplace(std::pair(time, count_++), std::move(what));
  }

  void MoveTo(Time time) {
    const bool busy = core_.slots_taken() >= options_.core.slots;
    (busy ? waited_.slot_s : waited_.memory_s) += time - now_;
    now_ = time;
  }

  void Add(RunId run) {
    RunAdded added{run, options_.core.slots, {}, {}, runs_[run].priority};
    for (size_t i = 0; i < runs_[run].tasks.size(); ++i) {
      added.tasks.push_back(runs_[run].tasks[i].spec);
      for (const size_t input : added.tasks.back().inputs) {
        At(TaskId{run, input}).readers.push_back(i);
      }
      if (At(TaskId{run, i}).missing == 0) At(TaskId{run, i}).ready = waited_;
    }
    Tell(added);
  }

  void Tell(const Event& event) {
    for (const Decision& decision : core_.On(event, now_)) Perform(decision);
    forecast_.peak_bytes = std::max(forecast_.peak_bytes, core_.charged_bytes());
  }

  void Perform(const Decision& decision) {
    using enum Decision::Kind;
    switch (decision.kind) {
      case kStart:
        return Start(decision.task, decision.attempt);
      case kStop:
        return At(now_, [this, task = decision.task] { Stopped(task); });
      case kFinish:
        return Finish(decision);
      case kRelease:
        if (decision.reason != Reason::kUnread) Note(decision, "rollback");
        return;
      case kFreeze:
        At(decision.task).frozen_s = At(decision.task).step_ends - now_;
        return;
      case kThaw:
        return Thaw(decision.task);
      case kSwapOut:
        return SwapOut(decision);
      case kUnload:
        // One that wasn't written just now was read back before.
        if (writing_.erase(decision.segment) == 0) Note(decision, "swap");
        return;
      case kSwapIn:
        return SwapIn(decision);
      case kFree:
      case kShrink:
      case kUncache:
      case kEndRun:
      // All is the same each time.
      case kVary:
      case kRestart:
        return;
    }
  }

  void Note(const Decision& decision, const char* how) {
    const auto name_of = [this](TaskId task) { return Told(task).name; };
    forecast_.evictions.push_back(
        {now_, name_of(decision.task), how, decision.why.bytes, Explain(decision, name_of)});
  }

  void Start(TaskId task, int number) {
    Progress& progress = At(task);
    ForecastTask& told = Told(task);
    if (!told.start) {
      told.start = now_;
      told.slot_wait_s = waited_.slot_s - progress.ready.slot_s;
      told.memory_wait_s = waited_.memory_s - progress.ready.memory_s;
    }
    ++told.attempts;
    progress.attempt = ++last_attempt_;
    progress.number = number;
    progress.steps_left = Of(task).grows ? kGrowthSteps : 1;
    progress.frozen_s = -1;
    progress.began = progress.step_ends = now_;
    At(now_, [this, task, attempt = progress.attempt] {
      if (At(task).attempt != attempt) return;
      Tell(TaskRunning{task, At(task).number});
      if (!Of(task).grows) Measure(task, Of(task).memory_bytes);
      if (At(task).frozen_s >= 0) {
        At(task).frozen_s = StepSeconds(task);
      } else {
        BeginStep(task, StepSeconds(task));
      }
    });
  }

  double StepSeconds(TaskId task) const {
    return Of(task).run_s / (Of(task).grows ? kGrowthSteps : 1);
  }

  void Measure(TaskId task, int64_t bytes) { Tell(TaskMeasured{task, At(task).number, bytes}); }

  void BeginStep(TaskId task, double seconds) {
    Progress& progress = At(task);
    progress.step_ends = now_ + seconds;
    At(progress.step_ends, [this, task, attempt = progress.attempt, ends = progress.step_ends] {
      const Progress& of = At(task);
      if (of.attempt == attempt && of.frozen_s < 0 && of.step_ends == ends) EndStep(task);
    });
  }

  void EndStep(TaskId task) {
    Progress& progress = At(task);
    --progress.steps_left;
    const int done = kGrowthSteps - progress.steps_left;
    const uint64_t attempt = progress.attempt;
    if (Of(task).grows) Measure(task, Of(task).memory_bytes / kGrowthSteps * done);
    if (progress.attempt != attempt) return;
    if (progress.frozen_s >= 0) {
      progress.frozen_s = progress.steps_left > 0 ? StepSeconds(task) : 0;
      return;
    }
    progress.steps_left > 0 ? BeginStep(task, StepSeconds(task)) : Succeed(task);
  }

  void Thaw(TaskId task) {
    Progress& progress = At(task);
    const double left = std::exchange(progress.frozen_s, -1);
    // Its next step is done, or is the end that it has reached.
    At(now_, [this, task, left, attempt = progress.attempt] {
      const Progress& of = At(task);
      if (of.attempt != attempt || of.frozen_s >= 0) return;
      of.steps_left > 0 ? BeginStep(task, left) : Succeed(task);
    });
  }

  void Succeed(TaskId task) {
    Progress& progress = At(task);
    if (Told(task).status == ModelStatus::kSuccess) forecast_.remade_s += Of(task).run_s;
    progress.attempt = 0;
    TaskEnded ended{task, progress.number, ModelStatus::kSuccess, false, {}};
    if (Of(task).table_bytes > 0) ended.table = {{++last_segment_, Of(task).table_bytes}};
    Tell(ended);
  }

  void Stopped(TaskId task) {
    Progress& progress = At(task);
    if (progress.attempt == 0) return;
    ++forecast_.stops;
    forecast_.lost_s += now_ - progress.began;
    progress.attempt = 0;
    Tell(TaskEnded{task, progress.number, ModelStatus::kKilled, false, {}});
  }

  void Finish(const Decision& decision) {
    ForecastTask& told = Told(decision.task);
    told.status = decision.status;
    told.end = now_;
    forecast_.makespan_s = std::max(forecast_.makespan_s, now_);
    if (decision.status != ModelStatus::kSuccess) {
      told.error = Explain(decision, [this](TaskId task) { return Told(task).name; });
      if (IsAboutMemory(decision.reason)) ++forecast_.failed;
      return;
    }
    for (const size_t reader : At(decision.task).readers) {
      Progress& next = At(TaskId{decision.task.run, reader});
      if (--next.missing == 0) next.ready = waited_;
    }
  }

  // When the disk will have done this, too, and how long that alone takes.
  std::pair<Time, double> OnDisk(int64_t bytes, double bytes_per_s) {
    const double takes = static_cast<double>(bytes) / bytes_per_s;
    disk_free_ = std::max(disk_free_, now_) + takes;
    return {disk_free_, takes};
  }

  void SwapOut(const Decision& decision) {
    Note(decision, "swap");
    writing_.insert(decision.segment);
    forecast_.written_bytes += decision.why.bytes;
    const auto [done, takes] = OnDisk(decision.why.bytes, options_.disk_write_bytes_per_s);
    At(done, [this, segment = decision.segment, took = takes] {
      Tell(SegmentSwappedOut{segment, SegmentSwappedOut::Result::kDone, took});
    });
  }

  void SwapIn(const Decision& decision) {
    forecast_.read_bytes += decision.why.bytes;
    const auto [done, takes] = OnDisk(decision.why.bytes, options_.disk_read_bytes_per_s);
    At(done, [this, segment = decision.segment, took = takes] {
      Tell(SegmentSwappedIn{segment, true, took});
    });
  }

  const std::vector<ScenarioRun>& runs_;
  const ForecastOptions options_;
  Core core_;
  Forecast forecast_;
  std::vector<size_t> first_;       // of each run, among all tasks
  std::vector<Progress> progress_;  // of all tasks
  std::map<std::pair<Time, uint64_t>, std::function<void()>> agenda_;
  std::set<SegmentId> writing_;
  Waited waited_;
  Time now_ = 0;
  Time disk_free_ = 0;
  uint64_t count_ = 0;
  uint64_t last_attempt_ = 0;
  SegmentId last_segment_ = 0;
};

}  // namespace

Forecast Simulate(const std::vector<ScenarioRun>& runs, const ForecastOptions& options) {
  return Simulation(runs, options).Run();
}

}  // namespace zerrow::resource
