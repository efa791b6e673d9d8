// The shared memory of one engine: source, pool, broker, ids and reaper, wired together.
//
// Any thread. Destroy it after the engine's workers are dead; leases on segments may outlive it.
#pragma once

#include <arrow/result.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/machine.h"
#include "base/task_thread.h"
#include "shm/chunk_broker.h"
#include "shm/chunk_pool.h"
#include "shm/publish.h"
#include "shm/segment.h"
#include "shm/spill_file.h"

namespace zerrow::shm {

struct SharedMemoryOptions {
  enum class Source { kBest, kTmpfs, kMemfd };
  Source source = Source::kBest;  // kBest: tmpfs, where it can't be had memfd
  PoolOptions pool = PoolOptions::ForMemory(base::MachineMemoryBytes());
  BrokerOptions broker;
  std::shared_ptr<SegmentIds> ids;  // to take ids from; null: ids of its own
  /// What chunks may take; 0: what this process may still open, less a reserve for all else.
  int64_t descriptors = 0;
};

class SharedMemory {
 public:
  /// IOError: the source that was asked for can't be had; the broker can't start.
  static arrow::Result<std::unique_ptr<SharedMemory>> Make(SharedMemoryOptions options = {});
  ~SharedMemory();

  ChunkBroker& broker() { return *broker_; }
  ChunkPool& pool() { return *pool_; }
  SegmentIds& ids() { return *ids_; }
  const base::TaskThread& reaper() const { return *reaper_; }

  const DescriptorBudget& descriptors() const { return *descriptors_; }

  /// shm/publish.h
  arrow::Result<Publication> Publish(std::vector<GrantedChunk> chunks,
                                     std::span<const Reference> references);

  /// SpillFile::Load into memory of the pool.
  arrow::Result<std::shared_ptr<const Segment>> Load(const SpillFile& copy,
                                                     const std::stop_token& stop = {}) {
    return copy.Load(pool_, *reaper_, stop);
  }

  /// Gives `bytes` or more of what is kept for the next worker back to the kernel, or all of it;
  /// returns how much. Doesn't wait for that. For when memory runs short.
  int64_t ReleaseIdle(int64_t bytes) { return pool_->Shrink(bytes); }

  /// Segment::FromMemfd: files that workers made themselves, under an id of ids().
  arrow::Result<std::shared_ptr<const Segment>> PublishMemfd(SegmentId id, base::UniqueFd fd,
                                                             int64_t size_bytes);

 private:
  SharedMemory() = default;

  std::shared_ptr<SegmentIds> ids_;
  std::shared_ptr<DescriptorBudget> descriptors_;
  std::shared_ptr<ChunkPool> pool_;  // before the reaper, whose last tasks fill it
  std::unique_ptr<base::TaskThread> reaper_;
  std::unique_ptr<ChunkBroker> broker_;
};

}  // namespace zerrow::shm
