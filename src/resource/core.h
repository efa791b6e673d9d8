// Decides what all runs of an engine do next: a deterministic state machine over their tasks.
//
// Events go in, decisions come out. There are no system calls, threads or clocks (time is an
// argument), so that a simulator drives the same code as real workers do. Not thread-safe; owns
// nothing outside.
//
// A task's states:   waiting -> ready -> running -> finished
//                       |         ^         |`-> ready      (its attempt was lost)
//                       |         |         |`-> stopping -> finished  (timeout or cancel)
//                       |         |         `-> leaving -> finished    (published first)
//                       `---------`--> finished                        (skipped or cancelled)
// A task occupies a slot, of its run's and of the engine's, while it is running or stopping. It
// finishes exactly once; a leaving one will succeed, whatever becomes of its process. A table is
// absent, then resident from when it is published until its last reader has published or finished.
// A run ends when all its tasks have finished.
//
// Slots go to the run with the fewest running tasks, of equals to the one that has waited longest.
// Within a run first comes what frees most memory, then what is furthest along (so that a chain is
// finished before another one begins), then the plan's order.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "resource/events.h"

namespace zerrow::resource {

class Core {
 public:
  /// As many tasks as `slots` run at once, or as many as the most that one of the runs allows
  /// itself, if that is more. At least 1.
  explicit Core(int slots);

  /// Events about what isn't there (any more) are ignored: they may have crossed a decision.
  std::vector<Decision> On(const Event& event, Time now);

  /// When a Tick has something to do next.
  std::optional<Time> next_deadline() const;

  const Ledger& ledger() const { return ledger_; }
  size_t run_count() const { return runs_.size(); }
  int running() const { return running_; }
  /// The attempt's TaskEnded is still to come; of any other one it would be ignored.
  bool Awaits(TaskId task, int attempt) const;
  /// The attempt's table is wanted: of any other one TaskPublished would be ignored.
  bool MayPublish(TaskId task, int attempt) const;
  /// It was told to stop: whatever becomes of it counts as that.
  bool IsStopping(TaskId task) const;
  /// It has published its table, and its process has yet to end.
  bool IsLeaving(TaskId task) const;
  /// The state of a task's table.
  bool IsResident(TaskId task) const;

 private:
  enum class State { kWaiting, kReady, kRunning, kStopping, kLeaving, kFinished };
  /// What is better to start comes first.
  using Rank = std::tuple<int64_t, int, size_t>;

  struct Task {
    TaskSpec spec;                  // inputs and after: distinct
    std::vector<size_t> readers;    // of its table
    std::vector<size_t> followers;  // come after it; readers too
    State state = State::kWaiting;
    int attempt = 0;
    int depth = 0;            // longest way from a task without inputs
    size_t waiting_for = 0;   // inputs and others that haven't succeeded
    size_t open_readers = 0;  // that haven't finished
    bool succeeded = false;   // it has finished, or is leaving
    bool resident = false;    // its table
    int64_t table_bytes = 0;  // only that table's, when it was published
    Rank rank;                // while ready
    ModelStatus stop_status = ModelStatus::kTimeout;
    Reason stop_reason = Reason::kTimeUp;
    std::optional<Time> deadline;
  };
  struct Run {
    int jobs = 1;
    std::vector<Task> tasks;
    std::set<Rank> ready;
    size_t unfinished = 0;
    int running = 0;
    uint64_t served = 0;  // when it last got a slot; smaller is longer ago
    bool cancelled = false;
  };
  using Decisions = std::vector<Decision>;

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

  /// Whether the event's table was published.
  bool End(const TaskEnded& event);
  Run* Find(RunId run);
  Task* Find(TaskId task);
  const Task* Find(TaskId task) const;
  void Append(RunId id, Run& run, const std::vector<TaskSpec>& specs);
  void StartReady();
  void StartBest(RunId id, Run& run);
  void MakeReady(Run& run, size_t index);
  Rank RankOf(const Run& run, size_t index) const;
  void Rerank(Run& run, const Task& input);
  void Publish(TaskId id, Task& task, const std::vector<SegmentBytes>& segments);
  void Retry(TaskId id);
  void Stop(TaskId id, Task& task, ModelStatus status, Reason reason);
  void Finish(TaskId id, ModelStatus status, Reason reason);
  void FreeSlot(Run& run, const Task& task);
  void Succeed(Run& run, Task& task);
  void ReleaseInputs(TaskId reader);
  void SkipFollowers(TaskId id);
  void ReleaseIfUnread(TaskId id);
  void Free(const Holder& holder);
  void ClearDeadline(TaskId id, Task& task);
  void EndFinishedRuns();
  void Decide(Decision::Kind kind, TaskId task, Reason reason);
  int Slots() const;

  const int slots_;
  std::map<RunId, Run> runs_;
  Ledger ledger_;
  std::set<std::pair<Time, TaskId>> deadlines_;  // of running tasks
  std::set<RunId> touched_;                      // may have ended
  uint64_t served_ = 0;
  int running_ = 0;
  Time now_ = 0;
  Decisions decisions_;  // of the event that is being handled
};

}  // namespace zerrow::resource
