#include <cstring>
#include <set>
#include <unordered_map>

#include "worker/handover.h"

namespace zerrow::worker {

namespace {

// Calls `visit` once with every distinct buffer of `table`, those of dictionaries and children too.
template <typename Visit>
void ForEachBuffer(const arrow::Table& table, Visit&& visit) {
  std::set<std::pair<const uint8_t*, int64_t>> seen;
  auto walk = [&](auto&& self, const arrow::ArrayData& data) -> void {
    for (const auto& buffer : data.buffers) {
      if (buffer == nullptr || buffer->size() == 0) continue;
      if (seen.emplace(buffer->data(), buffer->size()).second) visit(*buffer);
    }
    for (const auto& child : data.child_data) self(self, *child);
    if (data.dictionary != nullptr) self(self, *data.dictionary);
  };
  for (const auto& column : table.columns()) {
    for (const auto& chunk : column->chunks()) walk(walk, *chunk->data());
  }
}

}  // namespace

int64_t CountDuplicateBytes(const arrow::Table& output,
                            std::span<const std::shared_ptr<arrow::Table>> inputs) {
  std::unordered_multimap<int64_t, const uint8_t*> by_size;
  for (const auto& input : inputs) {
    ForEachBuffer(*input, [&](const arrow::Buffer& buffer) {
      by_size.emplace(buffer.size(), buffer.data());
    });
  }
  int64_t duplicate_bytes = 0;
  ForEachBuffer(output, [&](const arrow::Buffer& buffer) {
    bool equal = false;
    const auto [begin, end] = by_size.equal_range(buffer.size());
    for (auto it = begin; it != end; ++it) {
      if (it->second == buffer.data()) return;  // it is the input's
      equal = equal || std::memcmp(it->second, buffer.data(), buffer.size()) == 0;
    }
    if (equal) duplicate_bytes += buffer.size();
  });
  return duplicate_bytes;
}

}  // namespace zerrow::worker
