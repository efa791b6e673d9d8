// Choosing rows of an array, for types for which Arrow has no kernel too: string and binary views,
// at any depth.
//
// A view is 16 bytes that either hold the text or say where it is; choosing rows moves only these,
// and the text stays in the buffers that it is in. Pure functions, any thread.
#pragma once

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/result.h>

#include <memory>

namespace zerrow::worker {

/// The elements of `array` where `mask` is true.
arrow::Result<std::shared_ptr<arrow::Array>> FilterArray(const std::shared_ptr<arrow::Array>& array,
                                                         const arrow::BooleanArray& mask);

/// The elements at `indices`, in that order.
arrow::Result<std::shared_ptr<arrow::ChunkedArray>> TakeRows(
    const std::shared_ptr<arrow::ChunkedArray>& column,
    const std::shared_ptr<arrow::Array>& indices);

}  // namespace zerrow::worker
