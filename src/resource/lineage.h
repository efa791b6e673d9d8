// Tables that were dropped and how they are made again: rollback.
//
// A dropped table's task isn't run again at once, but when one of its readers comes to be the next
// to start. Then the task, and those of its ancestors whose tables are absent too, go back to
// waiting for their inputs, and the reader waits for them. Only what is deterministic with all its
// ancestors is dropped for want of memory, so that it comes back as it was; if it doesn't, see
// versions.h. Pure, one thread at a time.
#pragma once

#include "resource/board.h"
#include "resource/eviction.h"
#include "resource/lifecycle.h"
#include "resource/versions.h"

namespace zerrow::resource {

class Lineage {
 public:
  /// All outlive it.
  Lineage(Board& board, Lifecycle& lifecycle, Versions& versions)
      : board_(board), lifecycle_(lifecycle), versions_(versions) {}

  /// What it would take to make a table again.
  struct Remake {
    double run_s = kNever;  // its task and others, one after another; kNever: it mustn't be dropped
    int64_t bytes = 0;      // of tables that would have to be there again before
  };
  Remake RemakeOf(TaskId table);
  /// Drops the table.
  Decision& RollBack(TaskId table, Reason reason);
  /// The table can't be used any more, nor kept. If it can't be made again its readers will fail.
  void Lose(TaskId table);
  /// Sees to it that what `reader`, which is ready, needs is made again. Whether it is all there.
  bool Demand(TaskId reader);
  /// A task that was to make its table again has finished without it. `why`: where it didn't fit.
  void OnNotRemade(TaskId table, const Figures& why = {});
  /// It has left by now, and somebody may have asked for its table, which was dropped.
  void ReviveIfAwaited(TaskId table);

 private:
  void Revive(TaskId table);
  void Await(TaskId dropped);
  void FailReader(TaskId reader, Reason reason, const Figures& why = {});

  Board& board_;
  Lifecycle& lifecycle_;
  Versions& versions_;
  uint64_t visits_ = 0;  // walks, each with a number
};

}  // namespace zerrow::resource
