// Decides what all runs of an engine do next: a deterministic state machine over their tasks and
// the memory that these and their tables take.
//
// Events go in, decisions come out. There are no system calls, threads or clocks (time is an
// argument), so that a simulator drives the same code as real workers do. Not thread-safe; owns
// nothing outside.
//
// A task's states:   waiting -> ready [-> restoring] -> running -> finished
//                       |         ^                    |`-> ready      (its attempt was lost)
//                       |         |                    |`-> stopping -> finished (timeout, cancel)
//                       |         |                    |           `-> ready     (for its memory)
//                       |         |                    `-> leaving -> finished   (published first)
//                       `---------`--> finished                   (skipped, cancelled, too large)
//                       ^--- finished                (its table was dropped, or is outdated)
// A task occupies a slot, of its run's and of the engine's, while it is restoring (its inputs are
// read back from disk), running or stopping. Its end is told exactly once, unless that is taken
// back (kRestart); a leaving one will succeed, whatever becomes of its process. A table is absent,
// then resident (in memory or on disk) from when it is published until its last reader has
// published or finished, unless it is dropped in between and made again. A run ends when all its
// tasks have finished.
//
// What starts is said in scheduler.h, what goes when memory is short in eviction.h and evictor.h,
// what happens when there is too little in pressure.h, how dropped tables come back in lineage.h,
// what happens if they aren't the same then in versions.h, and why all that ends in
// docs/decisions/0014-memory-budgets.md.
#pragma once

#include <optional>
#include <vector>

#include "resource/board.h"
#include "resource/evictor.h"
#include "resource/lifecycle.h"
#include "resource/lineage.h"
#include "resource/pressure.h"
#include "resource/scheduler.h"
#include "resource/versions.h"

namespace zerrow::resource {

class Core {
 public:
  struct Options {
    /// As many tasks run at once, or as many as the most that one of the runs allows itself, if
    /// that is more. At least 1.
    int slots = 1;
    Budget budget = {};
    EvictionPolicy policy = EvictionPolicy::kAdaptive;
  };
  explicit Core(const Options& options);
  explicit Core(int slots) : Core(Options{slots}) {}
  // Its parts refer to each other.
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  /// Events about what isn't there (any more) are ignored: they may have crossed a decision.
  std::vector<Decision> On(const Event& event, Time now);

  /// When a Tick has something to do next.
  std::optional<Time> next_deadline() const;

  const Ledger& ledger() const { return board_.ledger; }
  size_t run_count() const { return board_.runs.size(); }
  /// Attempts, but for those that have published.
  int running() const { return board_.running - static_cast<int>(board_.restoring.size()); }
  /// By attempts, and by tasks whose inputs are being read back.
  int slots_taken() const { return board_.running; }
  /// What is there of the scope's memory, or may come to be without asking again.
  int64_t charged_bytes(Scope scope = {}) const { return board_.Charged(scope); }
  int64_t committed_bytes(Scope scope = {}) const { return board_.Committed(scope); }
  /// Of a run that is there, or of the engine.
  const Budget& budget(Scope scope = {}) const { return board_.BudgetOf(scope); }
  /// The task that comes next and waits for memory, if one does.
  const std::optional<TaskId>& blocked() const { return scheduler_.blocked(); }
  /// Why it waits, in words.
  std::string ExplainWait(TaskId task) const;
  /// Tasks that could start but for want of memory or slots.
  size_t ready_count() const;
  /// Nothing runs, and nothing is being written, read, or about to end.
  bool IsIdle() const {
    return board_.attempts == 0 && !board_.IsSettling({}) && board_.ledger.writing() == 0;
  }

  /// The attempt's TaskEnded is still to come; of any other one it would be ignored.
  bool Awaits(TaskId task, int attempt) const;
  /// The attempt's table is wanted: of any other one TaskPublished would be ignored.
  bool MayPublish(TaskId task, int attempt) const;
  /// It was told to stop: whatever becomes of it counts as that.
  bool IsStopping(TaskId task) const { return Is(task, Task::State::kStopping); }
  /// And will run again, stopped for its memory or for what it reads: its answer isn't wanted.
  bool RunsAgain(TaskId task) const;
  /// It has published its table, and its process has yet to end.
  bool IsLeaving(TaskId task) const { return Is(task, Task::State::kLeaving); }
  /// The state of a task's table.
  bool IsResident(TaskId task) const;
  /// How often it was dropped to be made again.
  int VainRollbacksOf(TaskId task) const;

 private:
  void Handle(const RunAdded& event);
  void Handle(const TasksAdded& event);
  void Handle(const TaskRunning& event);
  void Handle(const TaskPublished& event);
  void Handle(const TaskEnded& event);
  void Handle(const RunCancelled& event);
  void Handle(const ResultDropped& event);
  void Handle(const SegmentCached& event);
  void Handle(const SegmentUncached& event);
  void Handle(const Tick& event);
  void Handle(const TaskMeasured& event);
  void Handle(const BudgetChanged& event);
  void Handle(const SegmentSwappedOut& event) { evictor_.OnSwappedOut(event); }
  void Handle(const SegmentSwappedIn& event) { scheduler_.OnSwappedIn(event); }

  bool Is(TaskId task, Task::State state) const;
  /// Whether the event's table was published.
  bool End(const TaskEnded& event);
  bool RetryLost(TaskId id, bool for_memory);
  void EndLeaving(TaskId task);
  void Publish(TaskId task, const std::vector<SegmentBytes>& table, const ContentHash& hash);
  void SetBudget(RunId id, const Budget& budget);
  void EndFinishedRuns();

  Board board_;
  Lifecycle lifecycle_;
  Versions versions_;
  Lineage lineage_;
  Evictor evictor_;
  Scheduler scheduler_;
  Pressure pressure_;
};

}  // namespace zerrow::resource
