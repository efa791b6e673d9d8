// Which memory of this process is which segment: the map from addresses to references.
//
// A worker adds the mappings of its inputs' segments and the chunks that its own allocations came
// from; the writer then finds out where a buffer lies. Plain value; Find may be called from many
// threads, Add not concurrently with anything. The map owns no memory and reads none: whoever
// adds a mapping keeps it mapped as long as the map is used. Nothing outlives a crash.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "zerrow/reference.h"

namespace zerrow::sipc {

class AddressMap {
 public:
  /// Says that the `size_bytes` at `address` are those of `segment` from `offset` on. What was
  /// added before and overlaps is forgotten: an address can be only one thing at a time.
  void Add(SegmentId segment, const uint8_t* address, int64_t size_bytes, int64_t offset = 0);

  /// Where the `length_bytes` at `p` are, if they lie within one added range. Zero bytes are found
  /// where their address is.
  std::optional<Reference> Find(const uint8_t* p, int64_t length_bytes) const;

  bool empty() const { return ranges_.empty(); }

 private:
  struct Range {
    uintptr_t begin = 0;
    uintptr_t end = 0;
    SegmentId segment = 0;
    int64_t offset = 0;  // of `begin`
  };
  std::vector<Range> ranges_;  // sorted by begin, never overlapping
};

}  // namespace zerrow::sipc
