// The live MemoryPerformer: measures what runs take of memory, and does what is decided about it.
//
// What the engine uses that isn't a table's or an attempt's (its own heap, zygotes, importers) is
// taken off its budget as part of the reserve, as it changes. Segments are written to the spill
// folder and read back on threads of the loop for that. On the loop's thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <stop_token>

#include "engine/dispatcher.h"
#include "engine/event_loop.h"
#include "engine/live_performer.h"
#include "engine/memory_performer.h"
#include "shm/segment_store.h"
#include "shm/shared_memory.h"
#include "shm/spill_folder.h"

namespace zerrow::engine {

class LiveMemory final : public MemoryPerformer {
 public:
  struct Options {
    int64_t limit_bytes = 0;
    std::shared_ptr<shm::SpillFolder> spill;  // null: nothing can be written
    /// Null: there is none yet.
    std::function<std::shared_ptr<shm::SharedMemory>()> memory;
    std::function<resource::Time()> now;
  };
  /// All outlive it.
  LiveMemory(EventLoop& loop, shm::SegmentStore& store, LivePerformer& performer, Options options);

  /// Before anything else; it outlives the last call of the loop.
  void Attach(Dispatcher& dispatcher) { dispatcher_ = &dispatcher; }

  /// What the Core begins with, before anything was measured.
  resource::Budget budget() const;

  void Freeze(resource::TaskId task, int attempt, bool frozen) override;
  void SwapOut(SegmentId segment) override;
  void Unload(SegmentId segment) override { store_.Unload(segment); }
  void SwapIn(SegmentId segment) override;
  void Uncache(SegmentId segment) override;
  /// Whoever writes or reads the segment needn't go on.
  void Forget(SegmentId segment);
  void StopTransfers();

  /// Memory that is being filled from disk.
  int64_t reading_bytes() const { return reading_bytes_; }

  /// Every few milliseconds while there are runs, once the sampler has sampled.
  void OnTime();

 private:
  struct Transfer;
  std::shared_ptr<Transfer> Begin(SegmentId segment);
  double End(const Transfer& transfer);
  void OnWritten(Transfer& transfer);
  void OnRead(Transfer& transfer);
  int64_t OtherBytes() const;
  void AdjustReserve();
  void TrimPool();
  void NoteStall();
  int64_t PooledBytes() const;

  EventLoop& loop_;
  shm::SegmentStore& store_;
  LivePerformer& performer_;
  const Options options_;
  Dispatcher* dispatcher_ = nullptr;
  std::map<SegmentId, std::stop_source> transfers_;
  int64_t other_bytes_ = 0;  // as the budget has it
  int64_t reading_bytes_ = 0;
  resource::Time next_look_ = 0;  // at what the kernel says of stalls
};

}  // namespace zerrow::engine
