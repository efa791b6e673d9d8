// The state that the Core's parts share: all runs with their tasks, the ledger, and what memory is
// charged, committed and leaving.
//
// Plain data with the arithmetic on it; who may change what is said where it is done. All amounts
// are bytes. Pure, one thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "resource/events.h"
#include "resource/ledger.h"

namespace zerrow::resource {

/// Whose budget: a run's, or the engine's (nullopt).
using Scope = std::optional<RunId>;

/// The scopes that a task is in and that have limits: none, one or both.
class Scopes {
 public:
  void Add(Scope scope) { scopes_[count_++] = scope; }
  const Scope* begin() const { return scopes_.data(); }
  const Scope* end() const { return scopes_.data() + count_; }

 private:
  std::array<Scope, 2> scopes_;
  size_t count_ = 0;
};

/// What attempts take.
struct Charge {
  int64_t present = 0;    // measured
  int64_t committed = 0;  // measured, or expected of those that can grow if that is more
  int64_t leaving = 0;    // measured, of those that are about to end

  friend bool operator==(const Charge&, const Charge&) = default;
};

/// What is better to start comes first.
using Rank = std::tuple<int64_t, int, size_t>;

/// What others held where a task was too large alone, by its run's limit or by the engine's.
struct Beside {
  int64_t bytes = 0;
  bool of_run = false;
  int64_t own_bytes = 0;  // that its attempt had; 0: its inputs alone were too much
};

struct Task {
  // See core.h.
  enum class State { kWaiting, kReady, kRestoring, kRunning, kStopping, kLeaving, kFinished };
  /// Beside whom it mustn't run, as it has outgrown what was expected of it.
  enum class Alone { kNo, kInRun, kInEngine };

  TaskSpec spec;                  // inputs and after: distinct
  std::vector<size_t> readers;    // of its table
  std::vector<size_t> followers;  // come after it; readers too
  State state = State::kWaiting;
  int attempt = 0;
  int losses = 0;           // of attempts, without its doing
  int refusals = 0;         // the same, for want of memory
  int depth = 0;            // longest way from a task without inputs
  size_t waiting_for = 0;   // inputs and others that haven't succeeded, or are being made again
  size_t open_readers = 0;  // that haven't finished
  bool told = false;        // its end, which isn't told twice
  bool succeeded = false;   // it has finished, or is leaving, at least once
  bool resident = false;    // its table
  int64_t table_bytes = 0;  // only that table's, when it was published
  Rank rank;                // while ready
  ModelStatus stop_status = ModelStatus::kTimeout;
  Reason stop_reason = Reason::kTimeUp;
  Reason start_reason = Reason::kInputsThere;  // of the next attempt
  std::optional<Time> deadline;
  bool pinned = false;  // its inputs' tables: it has them mapped, or is about to

  int64_t measured_bytes = 0;  // of the attempt
  int64_t highest_bytes = 0;   // of these
  /// That the next or present attempt is expected to need; of one that nothing was known of
  /// before its first attempt a guess.
  int64_t peak_bytes = 0;
  Charge charge;       // as it is in the sums
  uint64_t order = 0;  // of its attempt's start among all
  Time began = 0;
  double run_s = 0;  // until it has published: expected, then measured
  int passes = 0;    // others that were started though it came first
  bool frozen = false;
  std::optional<double> time_left_s;  // until its deadline, while it is frozen
  Alone alone = Alone::kNo;
  Alone next_alone = Alone::kNo;    // of a stop: how the next attempt is to run
  std::optional<Beside> too_large;  // of a stop: it ran alone with others' memory
  std::optional<Beside> parked;     // so it waits until others hold less; not in `ready` then
  int outgrown = 0;                 // attempts that were stopped so

  bool repeatable = true;          // deterministic, with all its ancestors
  bool dropped = false;            // its table; it comes back if it is asked for
  bool lost = false;               // its table can't come back
  int rollbacks = 0;               // of its table
  int vain_rollbacks = 0;          // of these: the last ones, while no task of its run finished
  size_t told_before = 0;          // of its run's tasks, at the last rollback
  ContentHash content_hash;        // of its last table
  bool restarts = false;           // once its attempt, which is leaving, has ended
  bool outdated = false;           // its table, which goes once nobody has it mapped any more
  int mapped_by = 0;               // readers that are pinned
  uint64_t visit = 0;              // the last walk along its descendants' lineage
  std::vector<size_t> awaited_by;  // readers that have asked for the table to be made again
  bool regains = false;            // inputs of it that were dropped, while it waits
  bool wanted = false;             // it was made again for a reader that hasn't begun yet
  size_t first_open = 0;           // in `readers`: all before have finished, unless they came back
  std::optional<double> score;     // among the candidates to be evicted

  bool has_attempt() const {
    return state == State::kRunning || state == State::kStopping || state == State::kLeaving;
  }
  bool has_slot() const {
    return state == State::kRunning || state == State::kStopping || state == State::kRestoring;
  }
};

using Candidates = std::set<std::pair<double, TaskId>>;

/// A run that could start something: by its running tasks, and when it last got a slot.
using Turn = std::tuple<int, uint64_t, RunId>;

/// The runs of one priority.
struct Level {
  int runs = 0;
  int opened = 0;  // of these
  std::set<Turn> turns;
  int passed = 0;  // by runs of higher priority, since one of it last got a slot
};

struct Run {
  int jobs = 1;
  int priority = 0;
  std::vector<Task> tasks;
  std::set<Rank> ready;
  size_t unfinished = 0;
  size_t told = 0;   // tasks whose end has been told
  int running = 0;   // tasks that have a slot
  int attempts = 0;  // and those that are leaving
  int ending = 0;    // stopping or leaving
  int frozen = 0;
  int alone = 0;             // tasks with a slot beside which none of it may run
  int forced = 0;            // tasks that began because others had passed them too often
  uint64_t served = 0;       // when it last got a slot; smaller is longer ago
  std::optional<Turn> turn;  // among those of its level
  bool cancelled = false;
  uint64_t opened = 0;  // when a task that makes a table first began, among all runs; 0: none has
  Budget budget;
  Charge charge;
  /// Tasks that were too large beside others, by how much those held.
  std::set<std::pair<int64_t, size_t>> parked;
  /// Tables in memory, by the score that they had when they were last looked at.
  Candidates candidates;
  /// Others that have idle memory, but neither way is open to them: no room on disk, or too much
  /// to be made again.
  std::set<size_t> stuck;
  bool stale = false;  // these: a table was made again since, or the disk has room again

  /// Where one of them has to lose its tables to the other.
  bool IsBefore(const Run& other) const {
    if (priority != other.priority) return priority > other.priority;
    return opened > 0 && (other.opened == 0 || opened < other.opened);
  }
};

class Board {
 public:
  Run* FindRun(RunId run);
  Task* Find(TaskId task);
  const Task* Find(TaskId task) const;
  /// Of ids that are known to be there.
  Task& At(TaskId task) { return runs.at(task.run).tasks[task.index]; }
  const Task& At(TaskId task) const { return runs.at(task.run).tasks[task.index]; }

  Decision& Decide(Decision::Kind kind, TaskId task, Reason reason);
  Decision& Decide(Decision::Kind kind, SegmentId segment, TaskId task, Reason reason);

  /// Brings the sums up to date with the task's state and measure: after each change of these.
  void Recharge(TaskId task);

  /// The engine's.
  void SetBudget(const Budget& budget);
  const Budget& BudgetOf(Scope scope) const;
  /// Its capacity at most under its present limit: what the engine itself takes rises and falls.
  int64_t MostCapacity(Scope scope) const;
  int64_t Charged(Scope scope) const;
  int64_t Committed(Scope scope) const;
  int64_t Leaving(Scope scope) const;
  /// How much is committed beyond the capacity if `bytes` more are; negative: what is left.
  int64_t Shortfall(Scope scope, int64_t bytes) const;
  /// Tasks that have an attempt, or are about to.
  int Attempts(Scope scope) const { return scope ? runs.at(*scope).attempts : attempts; }
  int Frozen(Scope scope) const { return scope ? runs.at(*scope).frozen : frozen; }
  /// Whether memory will become free, or known to be needed or not, without anything being done.
  bool IsSettling(Scope scope) const;
  Scopes LimitedScopesOf(RunId run) const;
  bool unlimited() const { return !budget.limited() && limited_runs.empty(); }
  /// Of a task's inputs, each once.
  std::vector<SegmentId> InputSegments(TaskId task) const;
  int64_t InputBytes(TaskId task) const;
  /// Of these: what isn't in memory, nor being read.
  int64_t MissingBytes(TaskId task) const;
  /// Of a table.
  int64_t BytesOnDisk(TaskId table) const;
  /// Of its inputs' tables that were dropped, when they were there.
  int64_t AbsentBytes(TaskId task) const;

  /// Brings the run's turn up to date: after each change of what it is made of.
  void Requeue(RunId id, Run& run);

  /// How good a candidate to be evicted the table is; nullopt: none.
  void SetScore(TaskId table, std::optional<double> score);
  /// Something has changed about how well the table could be evicted.
  void NoteMoved(TaskId table) {
    if (!unlimited()) moved.insert(table);
  }

  static Holder TableOf(TaskId task) { return {Holder::Kind::kTable, task}; }
  static Holder ResultOf(TaskId task) { return {Holder::Kind::kResult, task}; }
  static Holder CacheOf(SegmentId segment) { return {Holder::Kind::kCache, {0, segment}}; }

  std::map<RunId, Run> runs;
  std::map<int, Level, std::greater<>> levels;  // by priority, the highest first
  std::multiset<int> jobs;                      // of all runs
  Ledger ledger;
  Budget budget;
  int64_t most_capacity = 0;  // of it, under this limit
  std::set<RunId> limited_runs;
  Charge charge;
  Candidates candidates;                            // of all runs
  std::set<std::pair<uint64_t, TaskId>> executing;  // running attempts, oldest first
  std::set<TaskId> restoring;
  std::set<std::pair<Time, TaskId>> deadlines;  // of running tasks
  std::set<RunId> touched;                      // may have ended
  std::set<TaskId> tables;                      // resident, or kept by runs that go on
  std::set<TaskId> moved;                       // of these, since they were last weighed
  /// Of tables of tasks without inputs, whatever their run.
  int64_t largest_root_bytes = 0;
  uint64_t served = 0;
  uint64_t started = 0;
  uint64_t opened = 0;
  int running = 0;   // have a slot
  int attempts = 0;  // have a slot, or are leaving
  int ending = 0;    // stopping or leaving
  int frozen = 0;
  int alone = 0;  // tasks with a slot beside which no other may run
  Time now = 0;
  std::vector<Decision> decisions;  // of the event that is being handled
};

}  // namespace zerrow::resource
