// What the Core is told and what it decides: plain values, so that either can be noted, replayed
// and made by a simulator.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "resource/ledger.h"
#include "zerrow/run.h"

namespace zerrow::resource {

/// Seconds on any clock that never goes back.
using Time = double;

/// One thing to do for a run: reading the project, a call of a model, writing a table.
struct TaskSpec {
  std::vector<size_t> inputs;  // tasks whose tables it reads; all come before it in the run
  std::vector<size_t> after;   // tasks that must have succeeded too; they come before it as well
  std::optional<double> timeout_s;
  bool has_table = true;  // publishes a table if it succeeds
  bool kept = false;      // that table outlives the run, in the hands of who asked for it
};

/// At most `jobs` of its tasks run at once.
struct RunAdded {
  RunId run = 0;
  int jobs = 1;
  std::vector<TaskSpec> tasks;
};
/// More tasks, known only now; their indexes go on where the run's tasks end. Before the end of
/// the run's last task.
struct TasksAdded {
  RunId run = 0;
  std::vector<TaskSpec> tasks;
};
/// The task's process lives: its time counts from now on.
struct TaskRunning {
  TaskId task;
  int attempt = 1;
};
/// The task has done its part and its table is published; its process can't change that any more,
/// reads nothing any more, and has only to end. TaskEnded follows.
struct TaskPublished {
  TaskId task;
  int attempt = 1;
  std::vector<SegmentBytes> table;  // the segments that it refers to
};
/// Nothing of the task's process is left.
struct TaskEnded {
  TaskId task;
  int attempt = 1;
  ModelStatus status = ModelStatus::kSuccess;  // or kFailed, kKilled, kTimeout
  bool lost = false;  // not by its own doing: whoever ran it is gone. Worth another attempt
  std::vector<SegmentBytes> table;  // of kSuccess: as TaskPublished's
};
struct RunCancelled {
  RunId run = 0;
};
/// Nobody has the kept table in hands any more.
struct ResultDropped {
  TaskId task;
};
/// The cache keeps a segment, whoever else does.
struct SegmentCached {
  SegmentBytes segment;
};
/// It keeps it no more.
struct SegmentUncached {
  SegmentId segment = 0;
};
/// Time has passed.
struct Tick {};

using Event = std::variant<RunAdded, TasksAdded, TaskRunning, TaskPublished, TaskEnded,
                           RunCancelled, ResultDropped, SegmentCached, SegmentUncached, Tick>;

/// Why something was decided, for whoever reads a log or a report.
enum class Reason {
  kInputsThere,  // its inputs are there and a slot is free
  kLost,         // the last attempt was lost without its doing; of kFinish: and it was the last
  kEnded,        // it ended by itself
  kTimeUp,
  kCancelled,
  kInputFailed,  // what it needs wasn't made
  kUnread,       // nothing will read it any more
  kAllEnded,     // of the run
};
std::string_view ToString(Reason reason);

struct Decision {
  enum class Kind {
    kStart,    // run the task; its inputs are published
    kStop,     // kill the task's process; TaskEnded follows once it is gone
    kFinish,   // the task has its final `status`
    kRelease,  // the task's table is absent from now on
    kFree,     // nobody holds the `segment`
    kShrink,   // nobody reads of the `segment` but what is `used`
    kEndRun,   // all tasks of the run have finished
  };
  Kind kind = Kind::kStart;
  TaskId task;                                 // of kEndRun: only its run
  int attempt = 0;                             // of kStart and kStop: counts from 1
  ModelStatus status = ModelStatus::kSkipped;  // of kFinish
  SegmentId segment = 0;                       // of kFree and kShrink
  std::vector<ByteRange> used = {};            // of kShrink: sorted, disjoint
  Reason reason = Reason::kInputsThere;

  friend bool operator==(const Decision&, const Decision&) = default;
};

}  // namespace zerrow::resource
