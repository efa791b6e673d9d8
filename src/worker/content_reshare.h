// What a library copied without changing it: found in the output by content, and replaced by the
// input's own memory, so that publishing refers to that.
//
// Buffers are compared by the bytes that their array uses, whatever their type: first a few cache
// lines of those that have the same length, then all of them. Effort is bounded by the output's
// size. Inputs must not change. Any thread; ends with the process.
#pragma once

#include <arrow/table.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "sipc/address_map.h"

namespace zerrow::worker {

struct Reshared {
  std::shared_ptr<arrow::Table> table;  // equal to the output
  int64_t bytes = 0;                    // of it that lie in inputs now and didn't before
};

/// Only inputs' memory that lies in `segments` is referred to. With `split`, chunks may be split
/// where inputs' are: of a table whose chunks nobody has chosen.
Reshared ReshareContent(const std::shared_ptr<arrow::Table>& output,
                        std::span<const std::shared_ptr<arrow::Table>> inputs,
                        const sipc::AddressMap& segments, bool split = false);

/// Bytes of `output` that are equal to an input's but lie elsewhere, however small or costly to
/// find.
int64_t CountDuplicateBytes(const std::shared_ptr<arrow::Table>& output,
                            std::span<const std::shared_ptr<arrow::Table>> inputs);

}  // namespace zerrow::worker
