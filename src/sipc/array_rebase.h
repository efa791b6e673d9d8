// Offsets counted from somewhere else, so that memory in front of what a slice uses needn't be
// copied along with it.
//
// Part of the writer. Rows were checked to be in the buffers by the functions of array_usage.h
// that found the bases. Each returns new memory for the rows [begin, end) alone.
#pragma once

#include <arrow/array/data.h>
#include <arrow/buffer.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "sipc/array_usage.h"

namespace zerrow::sipc {

/// The offsets (the array's second buffer) less `base`; 0 where they are less than it.
arrow::Result<std::shared_ptr<arrow::Buffer>> RebaseOffsets(const arrow::ArrayData& data,
                                                            int64_t offset_bytes, Rows rows,
                                                            int64_t base);

/// The views, each less the base of its variadic buffer. Nulls stay as they are.
arrow::Result<std::shared_ptr<arrow::Buffer>> RebaseViews(const arrow::ArrayData& data, Rows rows,
                                                          const std::vector<int64_t>& bases);

/// The offsets of a dense union, each less the base of its child.
arrow::Result<std::shared_ptr<arrow::Buffer>> RebaseDenseUnion(const arrow::UnionType& type,
                                                               const arrow::ArrayData& data,
                                                               Rows rows,
                                                               const std::vector<int64_t>& bases);

}  // namespace zerrow::sipc
