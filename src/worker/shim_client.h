// The worker's side of the allocator shim (shm/shim/shim.h), found at run time: nothing links
// against it, since it is there only if it was preloaded.
//
// Thread safety: Start once, before other threads allocate; the rest from any thread.
#pragma once

#include <arrow/result.h>

#include <vector>

#include "base/fd.h"
#include "worker/handover.h"

namespace zerrow::worker {

/// True if this process runs with the shim preloaded.
bool ShimLoaded();

/// From now on large allocations are served from chunks that the engine's broker grants. The shim
/// owns the socket afterwards. NotImplemented if the shim isn't loaded; IOError.
arrow::Status StartShim(base::UniqueFd broker);

/// For a process that is about to exit: nothing is mapped from chunks any more (shim.h).
void LetGoOfChunks();

/// The memory that `table` may be published from; none without the shim: chunks, and of those that
/// a fork() has left partly private to this process the table's buffers that are still shared.
std::vector<ShareableRange> ShareableRanges(const arrow::Table& table);

}  // namespace zerrow::worker
