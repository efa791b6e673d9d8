// Takes what no reference covers out of a chunk: whole pages are freed, the rest of partly
// covered pages is zeroed by the kernel. No byte is read. Stateless, any thread. After a crash
// midway the file is unpublished and goes with its owner.
#pragma once

#include <arrow/result.h>

#include <span>
#include <vector>

#include "zerrow/reference.h"

namespace zerrow::shm {

struct ByteRange {
  int64_t offset = 0;
  int64_t length = 0;

  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

/// What `references`, all to one segment of `size_bytes`, leave uncovered. Invalid: they are not
/// sorted or overlap; SerializationError: one leaves the segment.
arrow::Result<std::vector<ByteRange>> UncoveredRanges(std::span<const Reference> references,
                                                      int64_t size_bytes);

/// Makes holes of the ranges. `fd` is open for writing. IOError.
arrow::Status PunchHoles(int fd, std::span<const ByteRange> ranges);

}  // namespace zerrow::shm
