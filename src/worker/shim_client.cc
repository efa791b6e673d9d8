#include "worker/shim_client.h"

#include <dlfcn.h>

#include "shm/shim/shim.h"

namespace zerrow::worker {

namespace {

// The type of the function comes from the shim's own header, so that the two can't drift apart.
template <typename Function>
Function* FindInShim(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_DEFAULT, name));
}

auto* StartFunction() { return FindInShim<decltype(zerrow_shim_start)>("zerrow_shim_start"); }
auto* RangesFunction() { return FindInShim<decltype(zerrow_shim_ranges)>("zerrow_shim_ranges"); }

}  // namespace

bool ShimLoaded() { return StartFunction() != nullptr; }

arrow::Status StartShim(base::UniqueFd broker) {
  auto* start = StartFunction();
  if (start == nullptr) return arrow::Status::NotImplemented("the allocator shim isn't loaded");
  const int error = start(broker.release());
  if (error != 0) return base::ErrnoStatus(error, "starting the allocator shim");
  return arrow::Status::OK();
}

std::vector<ShareableRange> ShareableRanges() {
  auto* list = RangesFunction();
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

}  // namespace zerrow::worker
