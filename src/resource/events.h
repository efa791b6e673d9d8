// What the Core is told and what it decides: plain values, so that either can be noted, replayed
// and made by a simulator.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "resource/ledger.h"
#include "zerrow/run.h"

namespace zerrow::resource {

/// Seconds on any clock that never goes back.
using Time = double;

/// What tables and attempts may take, of an engine or a run: `limit_bytes` less a reserve for
/// writing out, reporting, and what attempts grow between two measurements.
struct Budget {
  static constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

  int64_t limit_bytes = kUnlimited;
  int64_t reserve_bytes = 0;

  /// With the usual reserve. On a busy machine one may come to measure late, and in a cgroup that
  /// is full a fork or a write fails where a page fault only waits.
  static Budget Of(int64_t limit_bytes) {
    constexpr int64_t kMiB = int64_t{1} << 20;
    return {limit_bytes, std::clamp(limit_bytes / 8, 16 * kMiB, 512 * kMiB)};
  }

  bool limited() const { return limit_bytes != kUnlimited; }
  int64_t capacity() const {
    if (!limited()) return kUnlimited;
    return limit_bytes > reserve_bytes ? limit_bytes - reserve_bytes : 0;
  }
};

/// What an attempt will probably take; zeros: nothing is known of it.
struct Expectation {
  int64_t output_bytes = 0;   // new shared memory of its table
  int64_t private_bytes = 0;  // at most at once, besides
  double run_s = 0;

  int64_t peak_bytes() const { return output_bytes + private_bytes; }
};

/// One thing to do for a run: reading the project, a call of a model, writing a table.
struct TaskSpec {
  std::vector<size_t> inputs;  // tasks whose tables it reads; all come before it in the run
  std::vector<size_t> after;   // tasks that must have succeeded too; they come before it as well
  std::optional<double> timeout_s;
  bool gate = false;          // nothing to do: it has succeeded, untold, once what it needs has
  bool has_table = true;      // publishes a table if it succeeds
  bool kept = false;          // that table outlives the run, in the hands of who asked for it
  bool deterministic = true;  // run again it makes the same table
  Expectation expected = {};
};

/// At most `jobs` of its tasks run at once. A run of higher priority gets slots and memory first.
struct RunAdded {
  RunId run = 0;
  int jobs = 1;
  std::vector<TaskSpec> tasks;
  Budget budget = {};
  int priority = 0;
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
/// What a table says, so that two of them can be compared; empty: it couldn't be told, so that the
/// table had better not be made again. Nullopt: nobody wanted to know, as it will be the same.
using ContentHash = std::optional<std::string>;

/// The task has done its part and its table is published; its process can't change that any more,
/// reads nothing any more, and has only to end. TaskEnded follows.
struct TaskPublished {
  TaskId task;
  int attempt = 1;
  std::vector<SegmentBytes> table;  // the segments that it refers to
  ContentHash content_hash = {};
};
/// Nothing of the task's process is left.
struct TaskEnded {
  TaskId task;
  int attempt = 1;
  ModelStatus status = ModelStatus::kSuccess;  // or kFailed, kKilled, kTimeout
  bool lost = false;  // not by its own doing: whoever ran it is gone. Worth another attempt
  std::vector<SegmentBytes> table;  // of kSuccess: as TaskPublished's, and the next
  ContentHash content_hash = {};
  bool for_memory = false;  // of one that was lost: it was refused memory, as the limit was met
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

/// What the attempt has of memory now: its private heap, and what it has been granted for its
/// output and hasn't published. Zero until it is told, and once the attempt has ended. Publishing
/// takes what its table's new segments hold off it, until it is measured again.
struct TaskMeasured {
  TaskId task;
  int attempt = 1;
  int64_t bytes = 0;
};
/// The engine's budget is another one from now on, or that of a `run`.
struct BudgetChanged {
  std::optional<RunId> run;
  Budget budget;
};
/// An answer to kSwapOut: a copy of the segment is on disk, or isn't.
struct SegmentSwappedOut {
  enum class Result { kDone, kDiskFull, kFailed };
  SegmentId segment = 0;
  Result result = Result::kDone;
  double took_s = 0;
};
/// An answer to kSwapIn: the segment is in memory again (and on disk), or can't be read.
struct SegmentSwappedIn {
  SegmentId segment = 0;
  bool ok = true;
  double took_s = 0;
};

using Event = std::variant<RunAdded, TasksAdded, TaskRunning, TaskPublished, TaskEnded,
                           RunCancelled, ResultDropped, SegmentCached, SegmentUncached, Tick,
                           TaskMeasured, BudgetChanged, SegmentSwappedOut, SegmentSwappedIn>;

/// Why something was decided, for whoever reads a log or a report.
enum class Reason {
  kInputsThere,  // its inputs are there and a slot is free
  kLost,         // the last attempt was lost without its doing; of kFinish: and it was the last
  kRefused,      // the same for want of memory
  kEnded,        // it ended by itself
  kTimeUp,
  kCancelled,
  kInputFailed,      // what it needs wasn't made
  kUnread,           // nothing will read it any more
  kAllEnded,         // of the run
  kTriedAlone,       // it wouldn't fit as expected, but nothing else can run
  kAgainAlone,       // it had outgrown what was expected of it, beside others
  kMadeRoom,         // it had been stopped so that others could go on
  kRemake,           // its table was dropped, and is needed
  kMakeRoom,         // for the task `why.beneficiary`
  kOverLimit,        // more is charged than the limit allows
  kBelowLimit,       // no longer
  kCopied,           // what is on disk needn't be in memory
  kNeeded,           // by the task `why.beneficiary`, which is about to start
  kTooLarge,         // alone and with its inputs it needs more than the limit allows
  kInputNotRemade,   // a table that it needs was dropped, and couldn't be made again
  kInputUnreadable,  // a table that it needs was on disk, and can't be read
  kTableUnreadable,  // its table was on disk, can't be read, and won't be the same again
  kDiffers,          // its table was made again, and isn't the same
  kOutdated          // it stems from a table of the task `why.cause` that is another one by now
};
/// In words that follow on what was decided, without the figures.
std::string_view ToString(Reason reason);

/// Of an end: why no attempt was, or could be, made.
inline bool IsAboutMemory(Reason reason) {
  return reason == Reason::kTooLarge || reason == Reason::kInputNotRemade ||
         reason == Reason::kInputUnreadable;
}

/// What a decision about memory was made by. Zeros where they don't matter.
struct Figures {
  int64_t bytes = 0;          // that it is about: that go, come back or are had by the attempt
  int64_t needed_bytes = 0;   // by the beneficiary, its inputs included
  int64_t others_bytes = 0;   // that others hold and that can't go
  int64_t limit_bytes = 0;    // of the engine or run whose limit it is
  int64_t reserve_bytes = 0;  // of that: what isn't for tables and functions
  bool of_run = false;        // it is the run's
  std::optional<TaskId> beneficiary;
  std::optional<TaskId> cause;

  friend bool operator==(const Figures&, const Figures&) = default;
};

struct Decision {
  enum class Kind {
    kStart,    // run the task; its inputs are published, and in memory
    kStop,     // kill the task's process; TaskEnded follows once it is gone
    kFinish,   // the task has its final `status`
    kRelease,  // the task's table is absent from now on, or until it starts again
    kFree,     // nobody holds the `segment`, in memory or on disk
    kShrink,   // nobody reads of the `segment` but what is `used`
    kEndRun,   // all tasks of the run have finished
    // Only where there are budgets:
    kVary,     // the task isn't deterministic: its table isn't what it was when it was made before
    kRestart,  // the task's kFinish, and its table, kept or not, count no more: it runs again
    kFreeze,   // the task's processes don't go on (its time doesn't count), until kThaw or kStop
    kThaw,     // they go on
    kSwapOut,  // copy the `segment` to disk; SegmentSwappedOut follows, unless it is freed
    kUnload,   // the `segment` is on disk, its memory goes now
    kSwapIn,   // read the `segment` back; SegmentSwappedIn follows, unless it is freed
    kUncache,  // the cache is to forget the `segment`; SegmentUncached follows
  };
  Kind kind = Kind::kStart;
  TaskId task;                                 // of kEndRun: only its run
  int attempt = 0;                             // of kStart and kStop: counts from 1
  ModelStatus status = ModelStatus::kSkipped;  // of kFinish
  SegmentId segment = 0;                       // of kFree, kShrink, and those of segments
  std::vector<ByteRange> used = {};            // of kShrink: sorted, disjoint
  Reason reason = Reason::kInputsThere;
  Figures why = {};

  friend bool operator==(const Decision&, const Decision&) = default;
};

/// The decision's reason in words, figures included: "... to make room for ...". Tasks are named by
/// `name_of`.
std::string Explain(const Decision& decision, const std::function<std::string(TaskId)>& name_of);

}  // namespace zerrow::resource
