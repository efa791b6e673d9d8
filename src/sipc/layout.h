// How arrays lie in memory, without what they mean: int64 and timestamp have one layout.
//
// A message describes its columns' layouts by a table in which every distinct layout stands once
// and children stand before their parents; so the engine can check a message's structure without
// knowing Arrow's types. Plain values; a LayoutTable is used by one thread at a time.
#pragma once

#include <arrow/result.h>
#include <arrow/type.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sipc/format.h"

namespace zerrow::sipc {

/// Slots that an array's node has, in order; [x] is present only if its parameter says so.
enum class LayoutKind : uint8_t {
  kNull = 0,            // no slots
  kFixed = 1,           // validity, values; parameter: bits of a value
  kBinary32 = 2,        // validity, offsets (int32), data
  kBinary64 = 3,        // validity, offsets (int64), data
  kView = 4,            // validity, views, index in the lists of: count, that many buffers
  kList32 = 5,          // validity, offsets (int32); child: values
  kList64 = 6,          // validity, offsets (int64); child: values
  kListView32 = 7,      // validity, offsets, sizes (int32); child: values
  kListView64 = 8,      // validity, offsets, sizes (int64); child: values
  kFixedSizeList = 9,   // validity; child: values; parameter: values in a list
  kStruct = 10,         // validity; children: fields
  kSparseUnion = 11,    // type ids (int8); children: alternatives
  kDenseUnion = 12,     // type ids (int8), offsets (int32); children: alternatives
  kDictionary = 13,     // validity, indices, the dictionary's index; parameter: bits of an index;
                        // child: values' layout, whose nodes stand with the dictionary
  kRunEndEncoded = 14,  // no slots; children: run ends, values
};
inline constexpr uint8_t kNumLayoutKinds = 15;

/// Of one array's node, children not counted.
uint32_t NumSlots(LayoutKind kind);

/// Bytes of an offset or size in kinds that have them; 0 otherwise.
int64_t OffsetBytes(LayoutKind kind);

/// The type that says how `type` is stored: itself, or what its extension type wraps.
const arrow::DataType& StorageOf(const arrow::DataType& type);

/// The kind and parameter of an Arrow type. NotImplemented for types that SIPC doesn't know.
arrow::Result<std::pair<LayoutKind, uint32_t>> LayoutOf(const arrow::DataType& type);

/// The types whose layouts are the children of `type`'s: fields, and a dictionary's values.
std::vector<const arrow::DataType*> LayoutChildren(const arrow::DataType& type);

/// What one array of a layout takes, children included; dictionaries' values stand elsewhere.
struct LayoutSize {
  uint64_t nodes = 0;
  uint64_t slots = 0;
  int depth = 0;
};

/// The size of a layout of `kind` whose children have the sizes `size_of(i)`. Saturates far above
/// what any message could hold.
template <typename SizeOf>
LayoutSize SizeOfLayout(LayoutKind kind, uint32_t num_children, SizeOf&& size_of) {
  constexpr uint64_t kMost = uint64_t{1} << 62;
  LayoutSize size = {.nodes = 1, .slots = NumSlots(kind), .depth = 1};
  for (uint32_t i = 0; i < num_children; ++i) {
    const LayoutSize child = size_of(i);
    size.depth = std::max(size.depth, child.depth + 1);
    if (kind == LayoutKind::kDictionary) continue;
    size.nodes = std::min(size.nodes + child.nodes, kMost);
    size.slots = std::min(size.slots + child.slots, kMost);
  }
  return size;
}

/// Builds the table of a message that is being written.
class LayoutTable {
 public:
  /// The index of `type`'s layout, which is added if it is new. `type` must live as long as the
  /// table. Invalid if it is nested deeper than kMaxDepth.
  arrow::Result<uint32_t> Add(const arrow::DataType& type, int depth = 1);

  /// Likewise of a layout whose children, indexes, are in the table already.
  uint32_t Add(LayoutKind kind, uint32_t parameter, std::span<const uint32_t> children);

  const std::vector<LayoutRecord>& records() const { return records_; }
  const std::vector<uint32_t>& children() const { return children_; }
  const LayoutSize& size(uint32_t layout) const { return sizes_[layout]; }

 private:
  std::vector<LayoutRecord> records_;
  std::vector<uint32_t> children_;
  std::vector<LayoutSize> sizes_;
  std::unordered_map<const arrow::DataType*, uint32_t> by_type_;
  std::map<std::vector<uint32_t>, uint32_t> by_shape_;  // kind, parameter, children
};

}  // namespace zerrow::sipc
