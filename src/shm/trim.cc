#include "shm/trim.h"

#include <fcntl.h>

#include <cerrno>

#include "base/fd.h"

namespace zerrow::shm {

arrow::Result<std::vector<ByteRange>> UncoveredRanges(std::span<const Reference> references,
                                                      int64_t size_bytes) {
  std::vector<ByteRange> uncovered;
  int64_t covered_to = 0;
  for (const Reference& reference : references) {
    if (reference.offset < 0 || reference.length < 0 || reference.offset > size_bytes ||
        reference.length > size_bytes - reference.offset) {
      return arrow::Status::SerializationError("a reference to bytes ", reference.offset, " + ",
                                               reference.length, " of segment ", reference.segment,
                                               ", which has ", size_bytes);
    }
    if (reference.offset < covered_to) {
      return arrow::Status::Invalid("references that are not sorted or overlap");
    }
    if (reference.offset > covered_to) {
      uncovered.push_back({covered_to, reference.offset - covered_to});
    }
    covered_to = reference.offset + reference.length;
  }
  if (covered_to < size_bytes) uncovered.push_back({covered_to, size_bytes - covered_to});
  return uncovered;
}

arrow::Status PunchHoles(int fd, std::span<const ByteRange> ranges) {
  constexpr int kMode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  for (const ByteRange& range : ranges) {
    while (::fallocate(fd, kMode, range.offset, range.length) != 0) {
      if (errno != EINTR) return base::ErrnoStatus(errno, "trimming a chunk");
    }
  }
  return arrow::Status::OK();
}

}  // namespace zerrow::shm
