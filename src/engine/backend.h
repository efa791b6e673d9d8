// How a function's output becomes segments: one class for each way that there is.
//
// A backend says what its zygotes' environment needs, makes the grant of a worker that is about to
// start, and the grant publishes what the worker answers. Backends live as long as their engine;
// a grant as long as its attempt. On the loop's thread, but for what Grant says.
#pragma once

#include <arrow/result.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/fd.h"
#include "engine/publish_output.h"
#include "engine/zygote.h"
#include "shm/segment_store.h"
#include "shm/shared_memory.h"
#include "zerrow/run.h"

namespace zerrow::engine {

/// What one worker may use to hand its output over. Destroyed once the worker and all its
/// descendants are gone, or nobody holds what was granted, it gives back what wasn't published.
class Grant {
 public:
  virtual ~Grant() = default;

  /// The worker's end of its conversation with the broker, once; invalid: it has none.
  virtual base::UniqueFd TakeSocket() { return {}; }
  /// Adds what the worker must know to its task.
  virtual void Describe(nlohmann::json& task) const {}
  /// Memory behind what is granted now.
  virtual int64_t BackedBytes() const { return 0; }

  /// The worker was killed, and nothing of it is wanted: the memory goes back at once, whenever the
  /// worker itself does. Once, instead of Publish, on whatever thread.
  virtual void Discard() {}

  /// The worker says that it has let go of what it was granted: whether the kernel confirms that
  /// nobody can write to its output any more. Nothing more is granted from then on. Any thread.
  virtual bool IsSettled(const OutputAnswer& output);

  /// The worker is gone, or its output settled: that, over `inputs`, becomes a table. Once, on
  /// whatever thread; it takes time with the bytes. Errors as publish_output.h.
  virtual arrow::Result<Publication> Publish(OutputAnswer output, Segments inputs) = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual BackendKind kind() const = 0;
  /// What its zygotes need.
  virtual void Configure(ZygoteOptions& zygote) const = 0;
  /// IOError.
  virtual arrow::Result<std::unique_ptr<Grant>> MakeGrant() = 0;
};

/// Arrow IPC streams in shared memory: kCopy maps them in readers, kFullCopy reads them. `store`
/// outlives it.
std::unique_ptr<Backend> MakeCopyBackend(BackendKind kind, shm::SegmentStore& store);

/// Chunks that a preloaded allocator serves large allocations from. `shim_path`: that allocator.
/// `store` outlives it.
std::unique_ptr<Backend> MakeMemfdBackend(std::string shim_path,
                                          std::shared_ptr<shm::SharedMemory> memory,
                                          shm::SegmentStore& store);

/// The kernel module moves a worker's pages into a file.
std::unique_ptr<Backend> MakeKernelZeroBackend(std::shared_ptr<shm::SharedMemory> memory,
                                               shm::SegmentStore& store);

}  // namespace zerrow::engine
