// The segments of an engine by id: the one place that has them.
//
// A segment is in memory, in memory with a copy on disk (clean), or on disk only. What is needed
// and what goes says the Ledger's owner; the store does as it is told. A segment that somebody else
// still leases (a table being published, a result in a user's hands) goes with the last lease.
// One thread at a time, but for ids().
#pragma once

#include <map>
#include <memory>
#include <utility>

#include "base/task_thread.h"
#include "shm/segment.h"
#include "shm/spill_file.h"

namespace zerrow::shm {

class SegmentStore {
 public:
  /// Shared with whatever makes segments of this engine.
  const std::shared_ptr<SegmentIds>& ids() const { return ids_; }
  /// For segments that are made of memfds.
  const base::TaskThread& reaper() const { return reaper_; }

  /// Its id is new here, or its memory had gone.
  void Add(std::shared_ptr<const Segment> segment) {
    Entry& entry = segments_[segment->id()];
    const int64_t now_bytes = segment->backed_bytes();
    bytes_ += now_bytes - entry.bytes;
    entry.bytes = now_bytes;
    entry.segment = std::move(segment);
  }

  /// Null: it isn't in memory (any more).
  std::shared_ptr<const Segment> Find(SegmentId id) const {
    const auto found = segments_.find(id);
    return found == segments_.end() ? nullptr : found->second.segment;
  }

  /// Its copy on disk, to read it from while the store may free it. Null: there is none.
  std::shared_ptr<const SpillFile> Copy(SegmentId id) const {
    const auto found = segments_.find(id);
    return found == segments_.end() ? nullptr : found->second.copy;
  }

  /// A copy was written. It goes at once if its segment was freed meanwhile.
  void NoteCopy(SpillFile copy) {
    auto shared = std::make_shared<const SpillFile>(std::move(copy));
    const auto found = segments_.find(shared->id());
    if (found == segments_.end()) return Drop(std::move(shared));
    spilled_bytes_ += shared->bytes();
    if (found->second.copy) spilled_bytes_ -= found->second.copy->bytes();
    Drop(std::exchange(found->second.copy, std::move(shared)));
  }

  /// The store's lease of the memory ends; only if there is a copy. With the last lease a chunk
  /// that can be used again goes back to its pool, with the memory behind it: the next grant or
  /// SpillFile::Load takes that, which is far cheaper than fresh memory. Whoever wants it for
  /// something else, as for private heaps, asks SharedMemory::ReleaseIdle after a Flush of
  /// SharedMemory::reaper(), on which all this happens. Any other segment's memory is freed there.
  void Unload(SegmentId id) {
    const auto found = segments_.find(id);
    if (found == segments_.end() || !found->second.copy) return;
    bytes_ -= std::exchange(found->second.bytes, 0);
    found->second.segment.reset();
  }

  /// It was read back from its copy. It goes at once if it was freed meanwhile.
  void Load(std::shared_ptr<const Segment> segment) {
    if (segments_.contains(segment->id())) Add(std::move(segment));
  }

  /// Memory and copy. Nothing happens if it isn't there.
  void Free(SegmentId id) {
    const auto found = segments_.find(id);
    if (found == segments_.end()) return;
    bytes_ -= found->second.bytes;
    if (found->second.copy) spilled_bytes_ -= found->second.copy->bytes();
    Drop(std::move(found->second.copy));
    segments_.erase(found);
  }

  /// Less memory may be behind it now.
  void Measure(SegmentId id) {
    const auto found = segments_.find(id);
    if (found == segments_.end() || !found->second.segment) return;
    const int64_t now_bytes = found->second.segment->backed_bytes();
    bytes_ += now_bytes - found->second.bytes;
    found->second.bytes = now_bytes;
  }

  /// Memory behind all of them now, by the kernel. As many system calls as there are segments.
  int64_t BackedBytes() const {
    int64_t bytes = 0;
    for (const auto& [id, entry] : segments_) {
      if (entry.segment) bytes += entry.segment->backed_bytes();
    }
    return bytes;
  }

  /// Memory behind all of them, as it was when they came or were measured.
  int64_t bytes() const { return bytes_; }
  /// Of all copies, on disk.
  int64_t spilled_bytes() const { return spilled_bytes_; }
  size_t size() const { return segments_.size(); }

 private:
  struct Entry {
    std::shared_ptr<const Segment> segment;  // null: on disk only
    int64_t bytes = 0;
    std::shared_ptr<const SpillFile> copy;
  };

  // Blocks of the disk are freed elsewhere: that takes a while.
  void Drop(std::shared_ptr<const SpillFile> copy) const {
    if (copy) reaper_.Post([copy = std::move(copy)]() mutable { copy.reset(); });
  }

  const std::shared_ptr<SegmentIds> ids_ = std::make_shared<SegmentIds>();
  const base::TaskThread reaper_;
  std::map<SegmentId, Entry> segments_;
  int64_t bytes_ = 0;
  int64_t spilled_bytes_ = 0;
};

}  // namespace zerrow::shm
