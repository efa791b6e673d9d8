#include "worker/shim_client.h"

#include <dlfcn.h>

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
                      static_cast<int64_t>(raw[i].size_bytes)});
  }
  return ranges;
}

bool Contains(const ShareableRange& range, const uint8_t* address) {
  return address >= range.address && address < range.address + range.size_bytes;
}

// Leaves only those ranges in which every buffer of the table is as the chunk's file has it.
void DropPrivate(const arrow::Table& table, std::vector<ShareableRange>* ranges) {
  auto* shareable = FindInShim<decltype(zerrow_shim_shareable)>("zerrow_shim_shareable");
  ForEachBuffer(table, [&](const arrow::Buffer& buffer) {
    std::erase_if(*ranges, [&](const ShareableRange& range) {
      return Contains(range, buffer.data()) &&
             shareable(buffer.data(), static_cast<size_t>(buffer.size())) == 0;
    });
  });
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

std::vector<ShareableRange> ShareableRanges(const arrow::Table& table) {
  auto partial = List(FindInShim<ListRanges>("zerrow_shim_partial_ranges"));
  if (!partial.empty()) DropPrivate(table, &partial);
  auto ranges = List(FindInShim<ListRanges>("zerrow_shim_ranges"));
  ranges.insert(ranges.end(), partial.begin(), partial.end());
  return ranges;
}

}  // namespace zerrow::worker
