// Who holds which segments, and where they are: each one's bytes are counted once, however many
// hold it, for the engine, and for a run if that alone holds it.
//
// Pure: it owns no memory and makes no system calls, so that a simulator and the engine keep the
// same book. A segment is known while somebody holds it; whoever releases the last hold is told
// that it can be freed. Who has it mapped pins it. All amounts are bytes. One thread at a time.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
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

/// Where a segment's bytes are.
enum class Place {
  kMemory,
  kWriting,  // in memory, and a copy on disk is being made
  kCopied,   // in memory and on disk
  kReading,  // on disk, and the memory that they are read into is there
  kDisk,
};

/// Of all segments, or those that one run holds, and perhaps the cache.
struct SegmentUse {
  int64_t memory_bytes = 0;
  int64_t leaving_bytes = 0;  // of these: about to be on disk only, or to be forgotten by the cache

  friend bool operator==(const SegmentUse&, const SegmentUse&) = default;
};

/// What could go of the memory of a holder's segments. Nothing that is pinned.
struct Idle {
  int64_t unwritten_bytes = 0;  // on disk only, once they are written
  int64_t copied_bytes = 0;     // at once, as they are on disk already
  int64_t exclusive_bytes = 0;  // if the holder released, as nobody else but the cache holds them

  friend bool operator==(const Idle&, const Idle&) = default;
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

  /// `holder`'s segments are mapped by one more, and can't go. Before it holds others.
  void Pin(const Holder& holder) { ChangePins(holder, 1); }
  void Unpin(const Holder& holder) { ChangePins(holder, -1); }
  /// Of a segment that is known.
  void Move(SegmentId id, Place place);
  Place PlaceOf(SegmentId id) const { return segments_.at(id).place; }
  bool IsPinned(SegmentId id) const { return segments_.at(id).pins > 0; }
  /// It is in memory, and that could go.
  bool IsIdle(SegmentId id) const { return segments_.at(id).idle(); }
  int64_t BytesOf(SegmentId id) const { return segments_.at(id).bytes; }
  /// It isn't idle any more, as it can't be written.
  void MarkUnwritable(SegmentId id) { segments_.at(id).unwritable = true; }
  /// The cache holds it, and wasn't told to forget it.
  bool IsCached(SegmentId id) const {
    return segments_.at(id).cached() && !segments_.at(id).uncaching;
  }
  /// The cache was told to forget it.
  void MarkUncaching(SegmentId id);

  SegmentUse use() const { return use_; }
  SegmentUse use(RunId run) const;
  /// Of the segments that are on disk, in memory or not.
  int64_t disk_bytes() const { return disk_bytes_; }
  /// Segments that are being read, or written.
  int reading() const { return reading_; }
  int writing() const { return writing_; }
  Idle IdleOf(const Holder& holder) const;
  /// Oldest first; none if it holds nothing.
  const std::vector<SegmentId>& SegmentsOf(const Holder& holder) const;
  /// The oldest segment that only the cache holds, of those that it wasn't told to forget.
  std::optional<SegmentId> OldestOnlyCached() const;
  bool Knows(SegmentId id) const { return segments_.contains(id); }

  /// Of all segments, wherever they are.
  int64_t bytes() const { return bytes_; }
  size_t segment_count() const { return segments_.size(); }
  bool empty() const { return segments_.empty(); }
  /// What would be freed if `holder` released; 0 for one that holds nothing.
  int64_t Exclusive(const Holder& holder) const;
  /// Several hold it.
  bool IsShared(SegmentId id) const { return segments_.at(id).holders.size() > 1; }
  /// Those of a segment, in their order; none if it isn't known.
  std::vector<Holder> HoldersOf(SegmentId id) const;

 private:
  struct Segment {
    int64_t bytes = 0;
    int64_t live_bytes = 0;  // less than `bytes` once the rest was told to be unread
    std::map<Holder, std::vector<ByteRange>> holders;  // what they use
    std::map<RunId, size_t> runs;                      // how many of these each has
    Place place = Place::kMemory;
    int pins = 0;
    bool unwritable = false;
    bool uncaching = false;

    bool in_memory() const { return place != Place::kDisk; }
    bool cached() const;
    /// Its memory could go while somebody holds it.
    bool idle() const {
      const bool settled = place == Place::kCopied || (place == Place::kMemory && !unwritable);
      return settled && pins == 0;
    }
    bool only_cached() const { return holders.size() == 1 && cached(); }
    SegmentUse use() const;
  };
  struct HashOf {
    size_t operator()(const Holder& holder) const;
  };

  void ChangePins(const Holder& holder, int by);
  /// Adds the segment to all sums, or takes it off: around each change of it.
  void Count(SegmentId id, const Segment& segment, int sign);
  static std::optional<Remainder> RemainderOf(SegmentId id, const Segment& segment);

  // Asked for far more often than anything else.
  std::unordered_map<SegmentId, Segment> segments_;
  std::unordered_map<Holder, std::vector<SegmentId>, HashOf> held_;
  std::set<SegmentId> released_;     // by one of their holders, since TakeRemainders
  std::set<SegmentId> only_cached_;  // and the cache wasn't told to forget them
  std::map<RunId, SegmentUse> runs_;
  SegmentUse use_;
  int64_t bytes_ = 0;
  int64_t disk_bytes_ = 0;
  int reading_ = 0;
  int writing_ = 0;
};

}  // namespace zerrow::resource
