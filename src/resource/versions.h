// One run never mixes two versions of a table: what stems from an earlier one is done again.
//
// A task that says it is deterministic may not be. Once its table, made again, isn't the same, it
// counts as not deterministic from then on, with all its descendants: none of these is dropped any
// more. What has begun on the earlier version, directly or not, or has ended well with it,
// *restarts*: attempts are stopped, tables and results go, and the task waits for its inputs as if
// it had never run. What failed stays so. A restarted task may need a table that was released long
// ago and that won't be the same either: that one restarts, too, and so do those that had read it.
// All of these are found in one go, before any of them runs again, so that each holds the tables
// that it needs until it has ended, and nothing is renewed twice for one cause. Pure, one thread at
// a time.
#pragma once

#include <vector>

#include "resource/board.h"
#include "resource/lifecycle.h"

namespace zerrow::resource {

class Versions {
 public:
  /// Both outlive it.
  Versions(Board& board, Lifecycle& lifecycle) : board_(board), lifecycle_(lifecycle) {}

  /// The task's table is there. Before Lifecycle::Succeed.
  void OnPublished(TaskId task, const ContentHash& content_hash,
                   const std::vector<SegmentBytes>& table);
  /// The table, which can't be had again as it was, is lost: it is made anew, for all.
  void Renew(TaskId table);
  /// An attempt has ended, whatever it answered, of a task that restarts.
  void OnEnded(TaskId task);

 private:
  /// Tasks of a run, by index.
  struct Affected {
    std::vector<bool> restart;  // what stems from the table
    std::vector<bool> wait;     // and what comes after these
  };
  void MarkVarying(TaskId task);
  Affected Find(const Run& run, size_t changed, bool with_itself) const;
  void RestartReaders(TaskId changed, bool with_itself);
  void Restart(TaskId task, TaskId cause);
  void Halt(TaskId task, TaskId cause);

  Board& board_;
  Lifecycle& lifecycle_;
};

}  // namespace zerrow::resource
