// What becomes of tasks: they wait, become ready, run, finish; their tables come and go.
//
// Which task starts is the Scheduler's choice, what is evicted the Evictor's. Changes the Board and
// puts decisions there. Pure, one thread at a time.
#pragma once

#include <vector>

#include "resource/board.h"

namespace zerrow::resource {

class Lifecycle {
 public:
  /// `board` outlives it.
  explicit Lifecycle(Board& board) : board_(board) {}

  /// Adds tasks at the run's end.
  void Append(RunId run, const std::vector<TaskSpec>& specs);
  /// The task, which has no attempt, waits for what it needs and hasn't succeeded, or has to be
  /// made again for it; ready if there is nothing to wait for.
  void Await(TaskId task);
  /// It doesn't wait for its inputs to be made again.
  void StopAwaiting(TaskId task);
  /// All that it needs has succeeded.
  void MakeReady(TaskId task);
  /// Out of the queue of those that may start.
  void Dequeue(TaskId task);
  /// What starting the last reader of the table would free is another amount from now on.
  void Rerank(TaskId table);
  void Enter(TaskId task, Task::State state);
  void Start(TaskId task);
  /// The table is there. Its readers may start, once Succeed was called.
  void Publish(TaskId task, const std::vector<SegmentBytes>& segments);
  void Succeed(TaskId task);
  /// The attempt wasn't the last.
  void Retry(TaskId task, Reason reason);
  void Stop(TaskId task, ModelStatus status, Reason reason);
  /// Its end is told, unless it was before: a table that was dropped is made again in silence.
  Decision* Finish(TaskId task, ModelStatus status, Reason reason);
  void SkipFollowers(TaskId task);
  /// It has its inputs mapped, or is about to: they can't be evicted. More than once is once.
  void PinInputs(TaskId task);
  void UnpinInputs(TaskId task);
  void ReleaseInputs(TaskId reader);
  void ReleaseIfUnread(TaskId task);
  void Free(const Holder& holder);
  /// Its table counts no more: it goes as soon as nobody has it mapped, and isn't made before.
  void Outdate(TaskId task);
  void ClearDeadline(TaskId task);
  /// Those that were to make a table again which nobody needs any more.
  void FinishAbandoned();

 private:
  Task& NewTask(RunId run, size_t index, const TaskSpec& spec);
  void DropOutdated(TaskId task);
  Rank RankOf(TaskId task) const;
  /// A task of that priority got a slot.
  void NotePassed(int priority);

  Board& board_;
  std::vector<TaskId> abandoned_;
};

}  // namespace zerrow::resource
