// Joins one-column messages into the message of a table, without reading the table's bytes.
//
// A cached column chunk is a sealed message of its own, with one column whose buffers lie in its
// body. What such a message says of its arrays is small and is kept as a ColumnPiece; from these a
// table's message is made that refers to the pieces' messages as segments: whoever reads it maps
// those. Nothing is decoded or copied, so a hit costs the same whatever its size.
// Thread safety: a piece never changes, any thread may use it; functions, any thread. Ownership: a
// piece holds nothing of the message that it was read from; references in a joined message hold no
// memory alive, that is up to whoever owns the segments.
#pragma once

#include <arrow/buffer.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sipc/format.h"
#include "zerrow/reference.h"

namespace zerrow::sipc {

/// What a one-column message says of its arrays, copied out of it.
class ColumnPiece {
 public:
  /// What a slot's number counts.
  enum class SlotKind : uint8_t { kBuffer, kList, kDictionary };

  /// `message` is what the segment `id` holds, all of it. SerializationError if its structure isn't
  /// sound, if it hasn't exactly one column or refers to other segments; NotImplemented for a
  /// later version of the format; Invalid if `id` is 0.
  static arrow::Result<ColumnPiece> Read(std::span<const uint8_t> message, SegmentId id);

  SegmentId segment() const { return segment_; }
  /// Of the whole message: what has to be granted of the segment.
  int64_t size_bytes() const { return size_bytes_; }
  int64_t rows() const { return rows_; }
  /// Of the message's body.
  int64_t data_bytes() const { return data_bytes_; }
  uint32_t num_chunks() const { return num_chunks_; }

 private:
  friend class Joiner;

  /// Records that belong together; first those of the column's chunks, then of dictionaries'
  /// values.
  struct Arrays {
    std::vector<NodeRecord> nodes;
    std::vector<uint32_t> slots;
    std::vector<SlotKind> slot_kinds;  // of each slot
    std::vector<uint32_t> lists;       // each a count and that many buffers
  };

  ColumnPiece() = default;
  void SplitOffValues(uint64_t chunk_nodes);

  SegmentId segment_ = 0;
  int64_t size_bytes_ = 0;
  int64_t rows_ = 0;
  int64_t data_bytes_ = 0;
  uint32_t num_chunks_ = 0;
  uint32_t layout_ = 0;  // the column's
  std::vector<LayoutRecord> layouts_;
  std::vector<uint32_t> layout_children_;
  std::vector<uint32_t> dictionaries_;  // layouts
  Arrays chunks_;
  Arrays values_;                      // of the dictionaries
  std::vector<BufferRecord> buffers_;  // in the message
};

/// A part of a joined column: a piece as it is or, if there are `values`, a piece of indices into
/// these, which makes a part of a dictionary column. Parts with the same values share them.
struct JoinedPart {
  JoinedPart(const ColumnPiece* whole) : piece(whole) {}  // NOLINT(google-explicit-constructor)
  explicit JoinedPart(const ColumnPiece* indices, const ColumnPiece* of)
      : piece(indices), values(of) {}

  const ColumnPiece* piece;
  const ColumnPiece* values = nullptr;
};

/// The message of a table: column i consists of columns[i], top to bottom, and a piece may occur
/// any number of times; it must outlive the call only. A table without columns has num_rows rows
/// all the same. Invalid: a column's pieces don't add up to num_rows, their arrays don't lie in
/// memory as the schema's type asks, values aren't one plain array, or there aren't as many columns
/// as fields; NotImplemented: a type that SIPC doesn't know; CapacityError: more records than the
/// format takes (kMaxRecords).
arrow::Result<std::shared_ptr<arrow::Buffer>> Join(
    const arrow::Schema& schema, int64_t num_rows,
    const std::vector<std::vector<JoinedPart>>& columns);

}  // namespace zerrow::sipc
