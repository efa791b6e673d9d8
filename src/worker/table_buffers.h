// Every buffer that a table's arrays are made of, those of children and dictionaries too.
//
// Reads no buffer's bytes; any thread.
#pragma once

#include <arrow/array.h>
#include <arrow/table.h>

#include <cstdint>
#include <set>
#include <utility>

namespace zerrow::worker {

/// Calls `visit(const arrow::Buffer&)` for each use of a buffer; empty ones are left out.
template <typename Visit>
void ForEachUse(const arrow::Table& table, Visit&& visit) {
  auto walk = [&](auto&& self, const arrow::ArrayData& data) -> void {
    for (const auto& buffer : data.buffers) {
      if (buffer != nullptr && buffer->size() > 0) visit(*buffer);
    }
    for (const auto& child : data.child_data) self(self, *child);
    if (data.dictionary != nullptr) self(self, *data.dictionary);
  };
  for (const auto& column : table.columns()) {
    for (const auto& chunk : column->chunks()) walk(walk, *chunk->data());
  }
}

/// The same, once for each address and size.
template <typename Visit>
void ForEachBuffer(const arrow::Table& table, Visit&& visit) {
  std::set<std::pair<const uint8_t*, int64_t>> seen;
  ForEachUse(table, [&](const arrow::Buffer& buffer) {
    if (seen.emplace(buffer.data(), buffer.size()).second) visit(buffer);
  });
}

}  // namespace zerrow::worker
