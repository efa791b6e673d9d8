// Opens a published table in the engine's own process, for its caller: `zerrow.run` in Python.
//
// Zero-copy: the table's buffers lie in mappings of the segments, and each holds the lease, so that
// the table stays valid for as long as it is held, whatever becomes of the engine. Any thread.
#pragma once

#include <arrow/result.h>
#include <arrow/table.h>

#include <memory>

#include "engine/published_table.h"

namespace zerrow::engine {

/// The table passes Arrow's ValidateFull, as the caller is the first who trusts a function's data:
/// offsets and indices are in bounds, text is UTF-8. That reads text, offsets and indices, but not
/// numbers. IOError; SerializationError or Invalid if what the function made is malformed.
arrow::Result<std::shared_ptr<arrow::Table>> OpenTable(
    const std::shared_ptr<const PublishedTable>& table);

}  // namespace zerrow::engine
