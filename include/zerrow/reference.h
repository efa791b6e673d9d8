// Where a buffer's bytes are, as a value that can cross processes: addresses never do.
//
// A reference names a segment (a piece of shared memory that the engine owns) by its id, and a
// range of bytes inside it. Plain values: any thread, no ownership; holding one keeps nothing
// alive. A lease on the segment does (shm/segment.h).
#pragma once

#include <compare>
#include <cstdint>

namespace zerrow {

/// Unique among the segments of one engine, never reused while it lives; 0 is no segment.
using SegmentId = uint64_t;

struct Reference {
  SegmentId segment = 0;
  int64_t offset = 0;  // bytes from the segment's start
  int64_t length = 0;  // bytes

  friend auto operator<=>(const Reference&, const Reference&) = default;
};

struct ByteRange {
  int64_t offset = 0;
  int64_t length = 0;

  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

}  // namespace zerrow
