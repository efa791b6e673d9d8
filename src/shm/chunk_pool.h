// Free chunks that are still backed by memory, kept for the next worker.
//
// Touching a fresh GiB costs half a second and more of CPU, a recycled one milliseconds: so memory
// that comes back is kept, up to a limit and for as long as it isn't idle. Any thread. Chunks that
// go are freed on the reaper's thread. Time comes in by argument, so that tests need not wait.
// Chunks in use belong to their holders; the pool only counts them.
#pragma once

#include <arrow/result.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/task_thread.h"
#include "shm/chunk_source.h"
#include "shm/pool_policy.h"

namespace zerrow::shm {

struct PoolStats {
  int64_t free_chunks = 0;
  int64_t free_bytes = 0;      // memory behind free chunks
  int64_t chunks_made = 0;     // fresh, so far
  int64_t chunks_reused = 0;   // granted again, so far
  int64_t chunks_dropped = 0;  // freed, so far: the limit, idleness, Shrink, or not reusable
};

class ChunkPool {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  ChunkPool(std::unique_ptr<ChunkSource> source, PoolOptions options,
            std::shared_ptr<DescriptorBudget> descriptors, base::TaskThread::Handle reaper);
  ~ChunkPool();

  const ChunkSource& source() const { return *source_; }

  /// The free chunk that saves most memory, resized if need be, else a fresh one; at least
  /// `size_bytes` long. Free chunks that don't serve go where a fresh one needs their descriptors.
  /// IOError; CapacityError: no descriptors are left for it.
  arrow::Result<Chunk> Take(int64_t size_bytes);

  /// The same, but exactly `size_bytes` long.
  arrow::Result<Chunk> TakeExactly(int64_t size_bytes);

  /// Whether a frozen chunk will be able to come back. While descriptors are scarce it can't: then
  /// all that is kept of it is the way for readers.
  bool KeepWayBack(Chunk& chunk) const;

  /// A chunk that nobody uses any more comes back. If some process holds it in spite of that, it
  /// isn't used again, and goes when that process does.
  void Give(Chunk chunk, TimePoint now = std::chrono::steady_clock::now());

  /// Like Give, but leaves the chunk with the caller if some process still holds it (IOError).
  arrow::Status TryGive(Chunk& chunk, TimePoint now = std::chrono::steady_clock::now());

  /// Frees what has been idle for too long.
  void Tick(TimePoint now);

  /// Frees at least `bytes` of free chunks, oldest first, or all; returns how much that is.
  int64_t Shrink(int64_t bytes);

  PoolStats stats() const;

 private:
  std::optional<Chunk> TakeFree(int64_t size_bytes);
  arrow::Result<Chunk> Make(int64_t size_bytes);
  std::optional<Chunk> TakeOldest();
  std::vector<Chunk> Extract(const std::vector<PoolPolicy::Key>& keys);  // holds mutex_
  void Free(std::vector<Chunk> chunks) const;

  const std::unique_ptr<ChunkSource> source_;
  const std::shared_ptr<DescriptorBudget> descriptors_;
  const base::TaskThread::Handle reaper_;
  mutable std::mutex mutex_;  // guards what follows
  PoolPolicy policy_;
  std::map<PoolPolicy::Key, Chunk> free_;
  PoolPolicy::Key next_key_ = 0;
  PoolStats stats_;
};

}  // namespace zerrow::shm
