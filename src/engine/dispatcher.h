// Drives all runs of an engine: asks the Core, has a Performer do what it decides, and takes the
// news to the runs' sinks.
//
// No threads, processes or clocks of its own, so that the simulator drives the very code that the
// engine runs. All on one thread; only the function that ResultTables call when they are dropped
// may come from another one, and is the owner's to bring here.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/memory_performer.h"
#include "engine/performer.h"
#include "engine/run.h"
#include "engine/run_sink.h"
#include "resource/core.h"

namespace zerrow::engine {

class Dispatcher {
 public:
  struct Options {
    int slots = 1;  // resource::Core
    std::function<resource::Time()> now;
    /// Called from any thread; must bring DropResult to this one.
    std::function<void(resource::TaskId)> on_result_dropped;
    resource::Budget budget = {};  // as all budgets: only with `memory`
    resource::EvictionPolicy policy = resource::EvictionPolicy::kAdaptive;
    MemoryPerformer* memory = nullptr;  // outlives it
    /// Fills in what is expected of tasks that a run adds; null: nothing is.
    std::function<void(resource::RunId, const Run&, std::vector<resource::TaskSpec>&)> estimate;
    /// The task has succeeded, and nothing of its process is left. What it was charged with at
    /// most: Outcome's. Null: nobody wants to know.
    std::function<void(const Run&, size_t task, std::optional<int64_t> charged_peak_bytes)>
        on_taken;
    /// The task isn't deterministic, though it says so. Null: nobody wants to know.
    std::function<void(const Run&, size_t task)> on_varied;
  };
  /// `performer` outlives it.
  Dispatcher(Options options, Performer& performer);
  ~Dispatcher();

  /// Begins a run; `sink` hears of it until Done.
  void Add(resource::RunId id, RunRequest request, std::unique_ptr<RunSink> sink,
           const resource::Budget& budget = {}, int priority = 0);
  void Cancel(resource::RunId run);
  void CancelAll();
  /// Nothing goes on any more: all runs are done, with this.
  void Abandon(const arrow::Status& why);
  /// The run's sink takes lines again.
  void Resume(resource::RunId run);
  void DropResult(resource::TaskId task);
  /// The clock has moved.
  void OnTime();
  /// The engine's, or a run's that is there.
  void SetBudget(resource::Scope scope, const resource::Budget& budget);

  /// For those who ask for explanations: MemoryLog::NoteStall.
  void NoteStall(double share);

  // From the Performer. News of runs and attempts that are over are ignored.
  void OnRunning(resource::TaskId task, int attempt);
  void OnImporting(resource::RunId run, std::string file);
  void OnLine(resource::TaskId task, int stream, std::string_view line);
  /// Whether the attempt may publish its table before its end: it wasn't stopped.
  bool Wants(resource::TaskId task, int attempt) const { return core_.MayPublish(task, attempt); }
  /// The attempt's table, which is wanted, is there and can't change any more. OnEnded tells of it
  /// again, whatever has become of the process.
  void OnPublished(resource::TaskId task, int attempt, const TablePtr& table);
  void OnEnded(resource::TaskId task, int attempt, Outcome outcome);
  /// The cache keeps the segment, or does no more.
  void OnCached(const resource::SegmentBytes& segment);
  void OnUncached(SegmentId segment);
  /// What the attempt has of memory; its run's sink hears of it from time to time.
  void OnMeasured(resource::TaskId task, int attempt, int64_t bytes);
  void OnSwappedOut(const resource::SegmentSwappedOut& event) { Handle(event); }
  void OnSwappedIn(const resource::SegmentSwappedIn& event) { Handle(event); }

  const resource::Core& core() const { return core_; }
  const Run* Find(resource::RunId run) const;
  /// A table that is there, with the bytes of its segments, shared ones included.
  struct HeldTable {
    std::string run;
    std::string model;
    int64_t bytes = 0;
    int64_t disk_bytes = 0;
  };
  /// The largest ones, at most `count`.
  std::vector<HeldTable> LargestTables(size_t count) const;
  std::string NameOf(resource::TaskId task) const;
  bool idle() const { return runs_.empty(); }

 private:
  struct Entry;
  void Handle(const resource::Event& event);
  void Perform(const resource::Decision& decision);
  void PerformForMemory(const resource::Decision& decision) const;
  void Log(const resource::Decision& decision);
  void LogWaiting();
  void Start(Entry& entry, resource::TaskId task, int attempt);
  void Vary(Run& run, size_t task) const;
  void Restart(Entry& entry, const resource::Decision& decision);
  void Finish(Entry& entry, const resource::Decision& decision);
  void EndRun(resource::RunId run);
  void Offer(Entry& entry, resource::RunId run, RunEvent event);
  void TellMemory(Entry& entry, resource::RunId run);

  const Options options_;
  Performer& performer_;
  resource::Core core_;
  std::map<resource::RunId, std::unique_ptr<Entry>> runs_;
  std::optional<resource::TaskId> waiting_;  // for memory, as the logs have it
};

}  // namespace zerrow::engine
