// What happens when more is charged than a budget allows: attempts are frozen, memory goes, and in
// the end an attempt is stopped and runs again, alone.
//
// Pure, one thread at a time.
#pragma once

#include "resource/board.h"
#include "resource/evictor.h"
#include "resource/lifecycle.h"
#include "resource/lineage.h"
#include "resource/scheduler.h"

namespace zerrow::resource {

class Pressure {
 public:
  /// All outlive it.
  Pressure(Board& board, Lifecycle& lifecycle, Evictor& evictor, Scheduler& scheduler)
      : board_(board), lifecycle_(lifecycle), evictor_(evictor), scheduler_(scheduler) {}

  /// After each event.
  void Relieve();
  /// A frozen attempt goes on.
  void Thaw(TaskId task);
  /// An attempt that was stopped for its memory has ended.
  void OnStopped(TaskId task);

 private:
  bool Exceeds(Scope scope) const;
  bool IsIn(TaskId task, Scope scope) const { return !scope || task.run == *scope; }
  std::vector<TaskId> ExecutingIn(Scope scope) const;
  void Relieve(Scope scope);
  void FreezeAll(Scope scope);
  void GiveUpRestoring(Scope scope);
  void StopOne(Scope scope);
  void ThawSome();
  bool MayThaw(TaskId task) const;
  void Freeze(TaskId task, Scope scope);

  Board& board_;
  Lifecycle& lifecycle_;
  Evictor& evictor_;
  Scheduler& scheduler_;
};

}  // namespace zerrow::resource
