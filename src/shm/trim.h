// Takes what no reference covers out of a chunk: whole pages are freed, the rest of partly
// covered pages is zeroed. A huge page that is nearly all output is zeroed around it rather than
// broken up, as pieces cost readers and the next worker more than the memory is worth. No byte is
// read. Stateless, any thread. After a crash midway the file is unpublished and goes with its
// owner.
#pragma once

#include <arrow/result.h>

#include <span>
#include <vector>

#include "zerrow/reference.h"

namespace zerrow::shm {

/// What `references`, all to one segment of `size_bytes`, leave uncovered. Invalid: they are not
/// sorted or overlap; SerializationError: one leaves the segment.
arrow::Result<std::vector<ByteRange>> UncoveredRanges(std::span<const Reference> references,
                                                      int64_t size_bytes);

struct TrimPlan {
  std::vector<ByteRange> punch;
  std::vector<ByteRange> zero;    // in huge pages that stay whole
  std::vector<ByteRange> broken;  // huge pages of which a part is punched
};

constexpr int64_t kHugePageBytes = 2 << 20;

/// As many bytes as the huge pages have that hold `size_bytes`: what chunks are granted in.
constexpr int64_t WholeHugePages(int64_t size_bytes) {
  return (size_bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
}

/// What to do with uncovered ranges of a segment that is made of huge pages, or not.
TrimPlan PlanTrim(std::span<const ByteRange> uncovered, int64_t size_bytes, bool huge);

/// `fd` is open for writing. IOError.
arrow::Status Trim(int fd, const TrimPlan& plan);

/// Frees the memory behind the ranges of a file that is open for writing. IOError.
arrow::Status Punch(int fd, std::span<const ByteRange> ranges);

}  // namespace zerrow::shm
