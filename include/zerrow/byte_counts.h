// What became of the bytes of an output. Plain values.
#pragma once

#include <cstdint>
#include <optional>

namespace zerrow {

/// Each byte of a buffer counts once, however often it is used.
struct ByteCounts {
  int64_t new_bytes = 0;                   // handed over by reference, first stored by this model
  int64_t reshared_bytes = 0;              // references to inputs' segments
  int64_t content_reshared_bytes = 0;      // of these, found by content: the worker's claim
  int64_t copied_bytes = 0;                // copied on the way out
  std::optional<int64_t> duplicate_bytes;  // not reshared, yet equal to an input's (--account)

  int64_t total() const { return new_bytes + reshared_bytes + copied_bytes; }

  ByteCounts& operator+=(const ByteCounts& other) {
    new_bytes += other.new_bytes;
    reshared_bytes += other.reshared_bytes;
    content_reshared_bytes += other.content_reshared_bytes;
    copied_bytes += other.copied_bytes;
    if (other.duplicate_bytes) {
      duplicate_bytes = duplicate_bytes.value_or(0) + *other.duplicate_bytes;
    }
    return *this;
  }
};

}  // namespace zerrow
