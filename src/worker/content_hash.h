// A hash of what a table says, whatever memory says it: to see whether a function that ran again
// made the same table.
//
// Column names, types and nullability, all values bit by bit, nulls, and the order of rows count.
// Chunks, offsets, slices, what lies behind nulls, the order of a dictionary's values and those of
// them that aren't used, and metadata of columns don't. A dictionary that is marked as standing for
// plain text ("zerrow:dictionary" = "auto") counts as that. An index that is null and one of a null
// are told apart. No proof against whoever wants two tables to have the same hash. Functions of
// their arguments; any thread.
#pragma once

#include <arrow/result.h>
#include <arrow/table.h>

#include <array>
#include <cstdint>
#include <string>

namespace zerrow::worker {

using ContentHash = std::array<uint64_t, 2>;

/// NotImplemented: a type that isn't known here. Invalid: what Arrow's Validate refuses, or
/// offsets, views, sizes or indices out of bounds.
arrow::Result<ContentHash> HashContent(const arrow::Table& table);

/// 32 hexadecimal digits.
std::string ToString(const ContentHash& hash);

}  // namespace zerrow::worker
