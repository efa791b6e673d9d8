// A table that a worker handed over: immutable, held by leases on its segments.
//
// The engine never reads the table's bytes; it keeps the message that describes them and the
// segments that the message refers to. Shared as shared_ptr<const PublishedTable> between the
// nodes that consume it and the result of the run; the last one out frees the memory. Any thread.
// After a crash the kernel frees everything: nothing of it has a name.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "zerrow/run.h"

namespace zerrow::shm {
class Segment;
}

namespace zerrow::engine {

struct PublishedTable {
  /// kSipc: the message refers to `segments`. kArrowFile: the message is a whole Arrow IPC stream.
  enum class Format { kSipc, kArrowFile };

  Format format = Format::kSipc;
  base::UniqueFd message;  // a sealed memfd
  int64_t message_bytes = 0;
  std::vector<std::shared_ptr<const shm::Segment>> segments;  // leases

  int64_t rows = 0;
  int64_t bytes = 0;  // new + reshared + copied
  int64_t new_bytes = 0;
  int64_t reshared_bytes = 0;
  int64_t copied_bytes = 0;
  std::optional<int64_t> duplicate_bytes;
  ModelTimings timings;
};

}  // namespace zerrow::engine
