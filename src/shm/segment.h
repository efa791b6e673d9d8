// A published piece of shared memory: an id, a file and a length.
//
// It costs one descriptor. Those that readers map it by are opened when they are needed.
// Immutable: by the time that a Segment exists no process can write to its bytes any more. A
// shared_ptr<const Segment> is a lease: while one is held the bytes stay. When the last one ends,
// on whatever thread, the memory is freed or recycled on the reaper's thread; that may be after
// the engine is gone. Any thread. Unnamed memory: after a crash the kernel frees it.
#pragma once

#include <arrow/result.h>

#include <atomic>
#include <functional>
#include <memory>
#include <span>

#include "base/fd.h"
#include "base/task_thread.h"
#include "shm/chunk_source.h"
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
  /// What becomes of the chunk after the last lease; runs on the reaper's thread. Null: it simply
  /// goes.
  using Disposal = std::function<void(Chunk)>;

  /// Publishes a memfd, whoever made it: adds what seals are missing first. IOError: it is still
  /// mapped writable (EBUSY), or can't be sealed; Invalid: its size isn't `size_bytes`.
  static arrow::Result<std::shared_ptr<const Segment>> FromMemfd(SegmentId id, base::UniqueFd fd,
                                                                 int64_t size_bytes,
                                                                 const base::TaskThread& reaper);

  /// Another engine's, which keeps the bytes as they are for as long as this process wants them:
  /// IOError; Invalid: it can be written by `fd`.
  static arrow::Result<std::shared_ptr<const Segment>> FromElsewhere(SegmentId id,
                                                                     base::UniqueFd fd);

  /// For sources of memory: a frozen chunk.
  static std::shared_ptr<const Segment> Adopt(SegmentId id, Chunk chunk, bool huge,
                                              const base::TaskThread& reaper,
                                              Disposal disposal = nullptr);

  SegmentId id() const { return id_; }
  /// A new descriptor, by which nobody can write. IOError.
  arrow::Result<base::UniqueFd> Open() const;
  int64_t size_bytes() const { return chunk_.size_bytes; }
  /// Made of 2 MiB pages where the kernel had them.
  bool huge() const { return huge_; }
  /// Memory behind it now: trimmed ranges are holes and cost nothing.
  int64_t backed_bytes() const;

  /// Gives the memory behind all but the `used` ranges (sorted, disjoint) back to the system, as
  /// far as whole pages go. No reader may need those bytes any more: they read as zeros. The bytes
  /// that it has freed; NotImplemented: nobody can, not even this process, as the file is sealed or
  /// the way to write to it is gone. IOError.
  arrow::Result<int64_t> Discard(std::span<const ByteRange> used) const;

 private:
  Segment(SegmentId id, Chunk chunk, bool huge, Disposal disposal)
      : id_(id), chunk_(std::move(chunk)), huge_(huge), disposal_(std::move(disposal)) {}
  static std::shared_ptr<const Segment> Share(Segment* segment, const base::TaskThread& reaper);
  static void Dispose(Segment* segment);

  SegmentId id_;
  Chunk chunk_;
  base::UniqueFd file_;  // opened, of a worker's own file; then the chunk has no handles
  bool huge_;
  Disposal disposal_;
};

}  // namespace zerrow::shm
