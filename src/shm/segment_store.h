// The segments of an engine by id: the one place that has them.
//
// What is needed says the Ledger; the store gives back what it is told to free. A segment that
// somebody else still leases (a table being published, a result in a user's hands) goes with the
// last lease. One thread at a time, but for ids().
#pragma once

#include <map>
#include <memory>
#include <utility>

#include "base/task_thread.h"
#include "shm/segment.h"

namespace zerrow::shm {

class SegmentStore {
 public:
  /// Shared with whatever makes segments of this engine.
  const std::shared_ptr<SegmentIds>& ids() const { return ids_; }
  /// For segments that are made of memfds.
  const base::TaskThread& reaper() const { return reaper_; }

  /// Its id is new here.
  void Add(std::shared_ptr<const Segment> segment) {
    const Entry entry{segment, segment->backed_bytes()};
    bytes_ += entry.bytes;
    segments_.emplace(segment->id(), entry);
  }

  /// Null: it isn't there (any more).
  std::shared_ptr<const Segment> Find(SegmentId id) const {
    const auto found = segments_.find(id);
    return found == segments_.end() ? nullptr : found->second.segment;
  }

  /// Nothing happens if it isn't there.
  void Free(SegmentId id) {
    const auto found = segments_.find(id);
    if (found == segments_.end()) return;
    bytes_ -= found->second.bytes;
    segments_.erase(found);
  }

  /// Less memory may be behind it now.
  void Measure(SegmentId id) {
    const auto found = segments_.find(id);
    if (found == segments_.end()) return;
    const int64_t now_bytes = found->second.segment->backed_bytes();
    bytes_ += now_bytes - found->second.bytes;
    found->second.bytes = now_bytes;
  }

  /// Memory behind all of them, as it was when they came or were measured.
  int64_t bytes() const { return bytes_; }
  size_t size() const { return segments_.size(); }

 private:
  struct Entry {
    std::shared_ptr<const Segment> segment;
    int64_t bytes = 0;
  };
  const std::shared_ptr<SegmentIds> ids_ = std::make_shared<SegmentIds>();
  const base::TaskThread reaper_;
  std::map<SegmentId, Entry> segments_;
  int64_t bytes_ = 0;
};

}  // namespace zerrow::shm
