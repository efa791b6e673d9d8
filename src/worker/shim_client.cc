#include "worker/shim_client.h"

#include <dlfcn.h>

#include <algorithm>
#include <span>

#include "shm/shim/shim.h"
#include "worker/table_buffers.h"

namespace zerrow::worker {

namespace {

// The type of the function comes from the shim's own header, so that the two can't drift apart.
template <typename Function>
Function* FindInShim(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_DEFAULT, name));
}

auto* StartFunction() { return FindInShim<decltype(zerrow_shim_start)>("zerrow_shim_start"); }
using ListRanges = decltype(zerrow_shim_ranges);

std::vector<ShareableRange> List(ListRanges* list) {
  if (list == nullptr) return {};
  // The list may grow while it is read: ask until it fits.
  std::vector<zerrow_shim_range> raw(64);
  size_t count = list(raw.data(), raw.size());
  while (count > raw.size()) {
    raw.resize(count + 16);
    count = list(raw.data(), raw.size());
  }
  std::vector<ShareableRange> ranges;
  ranges.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    ranges.push_back({raw[i].segment, reinterpret_cast<const uint8_t*>(raw[i].address),
                      static_cast<int64_t>(raw[i].size_bytes), 0});
  }
  return ranges;
}

bool Contains(const ShareableRange& range, const uint8_t* address) {
  return address >= range.address && address < range.address + range.size_bytes;
}

// Of chunks that are in part the process's own, after a fork: the buffers of the table that are as
// the chunk's file has them. Those that overlap or touch are one range, so that slices of a buffer
// are found as well.
std::vector<ShareableRange> UnchangedBuffers(const arrow::Table& table,
                                             std::span<const ShareableRange> chunks) {
  auto* shareable = FindInShim<decltype(zerrow_shim_shareable)>("zerrow_shim_shareable");
  std::vector<ShareableRange> found;
  ForEachBuffer(table, [&](const arrow::Buffer& buffer) {
    const auto chunk = std::ranges::find_if(
        chunks, [&](const ShareableRange& range) { return Contains(range, buffer.data()); });
    if (chunk == chunks.end()) return;
    if (shareable(buffer.data(), static_cast<size_t>(buffer.size())) == 0) return;
    found.push_back({chunk->segment, buffer.data(), buffer.size(), buffer.data() - chunk->address});
  });
  std::ranges::sort(found, {}, &ShareableRange::address);
  std::vector<ShareableRange> merged;
  for (const ShareableRange& next : found) {
    const bool apart = merged.empty() || merged.back().segment != next.segment ||
                       merged.back().address + merged.back().size_bytes < next.address;
    if (apart) {
      merged.push_back(next);
    } else {
      const int64_t end = next.address + next.size_bytes - merged.back().address;
      merged.back().size_bytes = std::max(merged.back().size_bytes, end);
    }
  }
  return merged;
}

}  // namespace

bool ShimLoaded() { return StartFunction() != nullptr; }

arrow::Status StartShim(base::UniqueFd broker) {
  auto* start = StartFunction();
  if (start == nullptr) return arrow::Status::NotImplemented("the allocator shim isn't loaded");
  const int error = start(broker.release());
  if (error != 0) return base::ErrnoStatus(error, "starting the allocator shim");
  return arrow::Status::OK();
}

void LetGoOfChunks() {
  auto* let_go = FindInShim<decltype(zerrow_shim_let_go)>("zerrow_shim_let_go");
  if (let_go != nullptr) let_go();
}

std::vector<ShareableRange> ShareableRanges(const arrow::Table& table) {
  auto ranges = List(FindInShim<ListRanges>("zerrow_shim_ranges"));
  const auto partial = List(FindInShim<ListRanges>("zerrow_shim_partial_ranges"));
  if (partial.empty()) return ranges;
  const auto unchanged = UnchangedBuffers(table, partial);
  ranges.insert(ranges.end(), unchanged.begin(), unchanged.end());
  return ranges;
}

}  // namespace zerrow::worker
