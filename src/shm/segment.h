// A published piece of shared memory: an id, a read-only file descriptor and a length.
//
// Immutable: by the time that a Segment exists no process can write to its bytes any more. A
// shared_ptr<const Segment> is a lease: while one is held the bytes stay. When the last one ends,
// on whatever thread, the memory is freed or recycled on the reaper's thread; that may be after
// the engine is gone. Any thread. Unnamed memory: after a crash the kernel frees it.
#pragma once

#include <arrow/result.h>

#include <atomic>
#include <functional>
#include <memory>

#include "base/fd.h"
#include "shm/reaper.h"
#include "zerrow/reference.h"

namespace zerrow::shm {

/// Hands out ids, each once. One per engine. Any thread.
class SegmentIds {
 public:
  SegmentId Next() { return next_.fetch_add(1, std::memory_order_relaxed); }

 private:
  std::atomic<SegmentId> next_{1};
};

class Segment {
 public:
  /// What becomes of the memory after the last lease, when fd() is closed; runs on the reaper's
  /// thread. Null: the file simply goes.
  using Disposal = std::function<void()>;

  /// Publishes a memfd, whoever made it: adds what seals are missing first. IOError: it is still
  /// mapped writable (EBUSY), or can't be sealed; Invalid: its size isn't `size_bytes`.
  static arrow::Result<std::shared_ptr<const Segment>> FromMemfd(SegmentId id, base::UniqueFd fd,
                                                                 int64_t size_bytes,
                                                                 const Reaper& reaper);

  /// For sources of memory: `fd` is open for reading only and nobody can write to its file.
  static std::shared_ptr<const Segment> Adopt(SegmentId id, base::UniqueFd fd, int64_t size_bytes,
                                              bool huge, const Reaper& reaper,
                                              Disposal disposal = nullptr);

  SegmentId id() const { return id_; }
  /// What readers get; still owned by the segment.
  int fd() const { return fd_.get(); }
  int64_t size_bytes() const { return size_bytes_; }
  /// Made of 2 MiB pages where the kernel had them.
  bool huge() const { return huge_; }
  /// Memory behind it now: trimmed ranges are holes and cost nothing.
  int64_t backed_bytes() const;

 private:
  Segment(SegmentId id, base::UniqueFd fd, int64_t size_bytes, bool huge, Disposal disposal)
      : id_(id),
        fd_(std::move(fd)),
        size_bytes_(size_bytes),
        huge_(huge),
        disposal_(std::move(disposal)) {}
  static void Dispose(Segment* segment);

  SegmentId id_;
  base::UniqueFd fd_;
  int64_t size_bytes_;
  bool huge_;
  Disposal disposal_;
};

}  // namespace zerrow::shm
