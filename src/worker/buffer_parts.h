// Which bytes of its buffers an array uses, one part for each buffer.
//
// Reads nothing but the first and last offset of text; parts that reach beyond their buffer, or
// that don't begin with a whole byte, are left out. Any thread.
#pragma once

#include <arrow/array/data.h>

#include <compare>
#include <cstdint>
#include <vector>

namespace zerrow::worker {

/// How much memory a part is: bytes and, after them, bits of one more.
struct PartSize {
  int64_t bytes = 0;
  int bits = 0;

  friend auto operator<=>(const PartSize&,
                          const PartSize&) = default;  // NOLINT(modernize-use-nullptr)
};

struct BufferPart {
  size_t buffer = 0;  // of ArrayData::buffers
  int64_t begin = 0;  // in bytes
  PartSize size;
  int64_t alignment = 1;  // of the buffer's start, as its values want it
};

/// Of the array itself, not of its children and its dictionary.
std::vector<BufferPart> BufferPartsOf(const arrow::ArrayData& data);

}  // namespace zerrow::worker
