// Chooses what starts next: order among runs and tasks, and admission to the budgets.
//
// Slots go to the run of the highest priority, but after sixteen in a row to one of lower priority;
// of equals to the run with the fewest running tasks, then to the one that has waited longest.
// Within a run first comes what adds least to memory (what it is expected to leave, less what it
// frees), then what is furthest along (so that a chain is finished before another one begins), then
// the plan's order. Who comes first and doesn't fit is passed by others that do, or whose memory it
// would take, but not for long (EASY backfilling's rule, Lifka 1995, with a number of passes for
// the unknown time of a reservation); since each turn that is taken from others by eviction costs
// them, that number doubles with each. Nothing is evicted or made again while others can go on
// without that, and one reader at a time has its inputs made again, unless there is room for more.
// Pure, one thread at a time.
#pragma once

#include <optional>
#include <vector>

#include "resource/board.h"
#include "resource/evictor.h"
#include "resource/lifecycle.h"
#include "resource/lineage.h"

namespace zerrow::resource {

class Scheduler {
 public:
  /// All outlive it. At least one of `slots`.
  Scheduler(Board& board, Lifecycle& lifecycle, Lineage& lineage, Evictor& evictor, int slots);

  void StartReady();
  void OnSwappedIn(const SegmentSwappedIn& event);
  /// A ready task was too large beside others' memory, which couldn't go.
  void ParkOrFail(TaskId task, const Beside& beside);
  /// A limit is another one.
  void Unpark();

  /// Attempts of a task that were too large alone, after which it isn't tried again though it seems
  /// to fit: what the engine itself takes rises and falls with what runs.
  static constexpr int kMostOutgrown = 8;

  /// What comes first and waits for memory, if something does.
  const std::optional<TaskId>& blocked() const { return blocked_; }

 private:
  // Tasks, in one go.
  static constexpr size_t kLookedAt = 64;

  bool HasSlot() const { return board_.running < slots_now_; }
  std::optional<TaskId> First(const Run& run, RunId id) const;
  std::optional<TaskId> First() const;
  TaskId LookAhead(TaskId first) const;
  /// Beyond the first: the next few of its run, and of the other runs.
  std::vector<TaskId> Others(TaskId first);
  std::vector<TaskId> ReadyIn(const Level& level, size_t most) const;
  /// Expects something of a task that was never seen. Before it is asked whether the task fits.
  void Guess(TaskId task);
  bool Fits(TaskId task) const;
  bool FitsIn(Scope scope, TaskId task, int64_t bytes) const;
  bool MayRunBeside(TaskId task) const;
  bool SeveralAreReady() const;
  bool AnOpenRunIsReady() const;
  bool IsPassedOften(TaskId task) const;
  bool IsLessUrgent(TaskId task, TaskId than) const;
  int64_t AddedBytes(TaskId task) const;
  bool Demand(TaskId reader);
  bool IsRegaining();
  bool GivesWay(TaskId task);
  std::optional<TaskId> NextFor(TaskId reader) const;
  bool MayOpen(TaskId task, int64_t bytes) const;
  bool MakeRoomFor(TaskId task);
  bool CanGoOn(TaskId task);
  bool IsAwaited(TaskId task) const;
  bool StartCrowdedOut(TaskId first);
  bool StartOther(TaskId first, bool of_other_runs);
  /// Nothing else is there in the scope: starts something, or says why not.
  void StartAlone(Scope scope);
  std::optional<TaskId> FirstIn(Scope scope) const;
  std::optional<TaskId> NextAlone(Scope scope);
  int64_t BytesWithInputs(TaskId task) const;
  int64_t BytesToRegain(TaskId task) const;
  int64_t BytesToGoOn(TaskId task) const;
  bool TakesFromOthers(TaskId task) const;
  std::optional<TaskId> FirstOfOldest(TaskId otherwise) const;
  std::optional<TaskId> WhoMakesRoom(TaskId first);
  std::optional<TaskId> BestParked(Scope scope) const;
  bool SettleParked(Scope scope);
  bool TryAlone(Scope scope, TaskId task);
  void Fail(TaskId task, const Beside& beside);
  void StartAloneInRuns();
  void Begin(TaskId task);
  void ReadInputs(TaskId task);
  void ReadAhead();
  Figures FiguresOf(Scope scope, TaskId task) const;

  Board& board_;
  Lifecycle& lifecycle_;
  Lineage& lineage_;
  Evictor& evictor_;
  const int slots_;
  int slots_now_ = 1;                // with those that runs bring along
  std::optional<TaskId> regaining_;  // whose inputs are being made again
  std::optional<TaskId> blocked_;
};

}  // namespace zerrow::resource
