// Which part of its values an array uses, for arrays whose rows say so themselves: found by
// reading offsets, views and run ends.
//
// Part of the writer. These functions read only bytes that they have checked to be in the
// buffers, and return Invalid for an array that contradicts itself.
#pragma once

#include <arrow/array/data.h>
#include <arrow/result.h>

#include <cstdint>
#include <vector>

#include "sipc/layout.h"

namespace zerrow::sipc {

/// Half-open; empty as long as nothing was included.
struct Extent {
  int64_t begin = INT64_MAX;
  int64_t end = 0;

  void Include(int64_t from, int64_t to);
  bool empty() const { return begin >= end; }
};

/// The rows [begin, end) of an array, counted from the start of its buffers.
struct Rows {
  int64_t begin;
  int64_t end;
};

/// A value of a view array that is too long to be inside it.
struct View {
  int32_t size;
  int32_t prefix;
  int32_t buffer;
  int32_t offset;
};

/// Tells which views say where something is: what a null's view holds is undefined.
class ViewRows {
 public:
  /// The array's validity bitmap, if it has one, must hold all rows that are asked about.
  explicit ViewRows(const arrow::ArrayData& data);
  bool PointsToBuffer(int64_t row, const View& view) const;

 private:
  const uint8_t* validity_ = nullptr;
};

/// What the rows of a binary or list array cover, by the first and the last offset.
arrow::Result<Extent> UsedByOffsets(const arrow::ArrayData& data, int64_t offset_bytes, Rows rows);

/// What the rows of a list view cover. `end` is behind every row, empty ones too.
arrow::Result<Extent> UsedByListViews(const arrow::ArrayData& data, int64_t offset_bytes,
                                      Rows rows);

/// What the rows of a view array cover of each of its variadic buffers.
arrow::Result<std::vector<Extent>> UsedByViews(const arrow::ArrayData& data, Rows rows);

/// What the rows of a dense union cover of each child. `end` is behind every row.
arrow::Result<std::vector<Extent>> UsedByDenseUnion(const arrow::UnionType& type,
                                                    const arrow::ArrayData& data, Rows rows);

/// The runs that hold the rows.
arrow::Result<Extent> UsedRuns(const arrow::ArrayData& data, Rows rows);

}  // namespace zerrow::sipc
