// Turns a dead worker's chunks into segments that hold its output and nothing else.
//
// Every range that no reference covers is taken out of the file (shm/trim.h), so that what a
// worker's heap held besides isn't readable, nor pinned.
// Then the chunk is frozen; chunks without references go back to the pool. The worker and all its
// descendants must be dead. Any thread; takes 10-100 ms per GiB, so keep it off the engine's loop
// where that matters. On an error nothing is published and nothing leaks.
#pragma once

#include <arrow/result.h>

#include <memory>
#include <span>
#include <vector>

#include "base/task_thread.h"
#include "shm/chunk_broker.h"
#include "shm/chunk_pool.h"
#include "shm/segment.h"
#include "zerrow/reference.h"

namespace zerrow::shm {

struct Publication {
  std::vector<std::shared_ptr<const Segment>> segments;  // by ascending id
  int64_t referenced_bytes = 0;                          // covered by references
  int64_t backed_bytes = 0;   // memory behind the segments after trimming
  int64_t trimmed_bytes = 0;  // memory that trimming gave back
  double trim_cpu_s = 0;
  double freeze_cpu_s = 0;
};

/// `references`: sorted, not overlapping; those to other segments (the worker's inputs) are
/// skipped. SerializationError: one that leaves its chunk; Invalid: not sorted; IOError: some
/// process can still write to a chunk.
arrow::Result<Publication> Publish(std::vector<GrantedChunk> chunks,
                                   std::span<const Reference> references,
                                   const std::shared_ptr<ChunkPool>& pool,
                                   const base::TaskThread& reaper);

/// Makes a segment of a frozen chunk, which comes back to the pool after the last lease, as long as
/// whole huge pages are, if its source can do that.
std::shared_ptr<const Segment> AdoptChunk(SegmentId id, Chunk chunk,
                                          const std::shared_ptr<ChunkPool>& pool,
                                          const base::TaskThread& reaper);

}  // namespace zerrow::shm
