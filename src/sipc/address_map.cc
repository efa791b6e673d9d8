#include "sipc/address_map.h"

#include <algorithm>

namespace zerrow::sipc {

void AddressMap::Add(SegmentId segment, const uint8_t* address, int64_t size_bytes,
                     int64_t offset) {
  if (size_bytes <= 0) return;
  const auto begin = reinterpret_cast<uintptr_t>(address);
  const uintptr_t end = begin + static_cast<uintptr_t>(size_bytes);
  std::erase_if(ranges_, [&](const Range& r) { return r.begin < end && begin < r.end; });
  auto at = std::upper_bound(ranges_.begin(), ranges_.end(), begin,
                             [](uintptr_t p, const Range& r) { return p < r.begin; });
  ranges_.insert(at, Range{begin, end, segment, offset});
}

std::optional<Reference> AddressMap::Find(const uint8_t* p, int64_t length_bytes) const {
  const auto begin = reinterpret_cast<uintptr_t>(p);
  auto after = std::upper_bound(ranges_.begin(), ranges_.end(), begin,
                                [](uintptr_t q, const Range& r) { return q < r.begin; });
  if (length_bytes < 0 || after == ranges_.begin()) return std::nullopt;
  const Range& range = *std::prev(after);
  if (begin >= range.end || static_cast<uintptr_t>(length_bytes) > range.end - begin) {
    return std::nullopt;
  }
  return Reference{range.segment, range.offset + static_cast<int64_t>(begin - range.begin),
                   length_bytes};
}

}  // namespace zerrow::sipc
