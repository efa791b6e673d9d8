// Who holds which segments: each one's bytes are counted once, however many hold it.
//
// Pure: it owns no memory and makes no system calls, so that a simulator and the engine keep the
// same book. A segment is known while somebody holds it; whoever releases the last hold is told
// that it can be freed. One thread at a time.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "zerrow/reference.h"

namespace zerrow::resource {

/// Names a run of an engine, for as long as the engine lives.
using RunId = uint64_t;

/// A task by its place in its run.
struct TaskId {
  RunId run = 0;
  size_t index = 0;

  // clang-tidy 14 takes its 0 for a pointer.
  friend auto operator<=>(const TaskId&, const TaskId&) = default;  // NOLINT(modernize-use-nullptr)
};

/// Who needs a segment.
struct Holder {
  enum class Kind {
    kTable,   // the table of a task, while something may still read it
    kResult,  // that table in the hands of whoever asked for the run
    kCache,   // the cache of decoded columns; `task.index` is the segment
  };
  Kind kind = Kind::kTable;
  TaskId task;

  friend auto operator<=>(const Holder&, const Holder&) = default;  // NOLINT(modernize-use-nullptr)
  std::string ToString() const;
};

/// A segment and the memory behind it.
struct SegmentBytes {
  SegmentId id = 0;
  int64_t bytes = 0;
  std::vector<ByteRange> used = {};  // all that its holder reads, sorted; empty: the whole segment
};

/// A segment of which its holders read little.
struct Remainder {
  SegmentId segment = 0;
  std::vector<ByteRange> used;  // by any of them: sorted, disjoint
};

class Ledger {
 public:
  /// `holder` needs the segment. Its bytes count from its first holder on; a later one's are
  /// ignored. Holding twice is holding once.
  void Hold(const Holder& holder, const SegmentBytes& segment);
  /// `holder` needs nothing any more. Returns the segments that nobody needs now: free them.
  std::vector<SegmentId> Release(const Holder& holder);
  /// Of the segments that releases since the last call have left to others: those of which nobody
  /// reads a quarter any more, and at least 1 MiB. Each part of a segment is told of once.
  std::vector<Remainder> TakeRemainders();

  /// Of all segments.
  int64_t bytes() const { return bytes_; }
  size_t segment_count() const { return segments_.size(); }
  bool empty() const { return segments_.empty(); }
  /// What would be freed if `holder` released; 0 for one that holds nothing.
  int64_t Exclusive(const Holder& holder) const;
  /// Those of a segment, in their order; none if it isn't known.
  std::vector<Holder> HoldersOf(SegmentId id) const;

 private:
  struct Segment {
    int64_t bytes = 0;
    int64_t live_bytes = 0;  // less than `bytes` once the rest was told to be unread
    std::map<Holder, std::vector<ByteRange>> holders;  // what they use
  };
  static std::optional<Remainder> RemainderOf(SegmentId id, const Segment& segment);

  std::map<SegmentId, Segment> segments_;
  std::map<Holder, std::vector<SegmentId>> held_;
  std::set<SegmentId> released_;  // by one of their holders, since TakeRemainders
  int64_t bytes_ = 0;
};

}  // namespace zerrow::resource
