#include <cstring>
#include <unordered_map>

#include "worker/handover.h"
#include "worker/table_buffers.h"

namespace zerrow::worker {

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
