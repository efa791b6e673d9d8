// Inputs' memory by its content: where the same bytes lie already.
//
// Made when it is first asked, and samples only input memory of a length that was asked for: what
// an output shares by address costs nothing. One thread; the inputs must outlive it.
#pragma once

#include <arrow/buffer.h>
#include <arrow/table.h>

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sipc/address_map.h"
#include "worker/buffer_parts.h"

namespace zerrow::worker {

/// A piece of an input's buffer.
struct Place {
  std::shared_ptr<arrow::Buffer> buffer;
  int64_t begin = 0;

  const uint8_t* data() const { return buffer->data() + begin; }
};

class ContentIndex {
 public:
  struct Options {
    const sipc::AddressMap* segments = nullptr;  // only memory in there is looked at; null: all
    int64_t min_bytes = 1;                       // of parts worth looking at
    bool bounded = false;                        // by the bytes that were asked for
  };

  ContentIndex(std::span<const std::shared_ptr<arrow::Table>> inputs, Options options)
      : inputs_(inputs), options_(options) {}

  /// True if the part is large enough, and not an input's itself.
  bool IsWanted(const arrow::Buffer& buffer, const BufferPart& part) const;

  /// For a part that is wanted: memory of an input with the same bytes as the part of `buffer`,
  /// which has as many in front of it and is aligned as well. Null: none was found.
  const Place* Find(const arrow::Buffer& buffer, const BufferPart& part);

 private:
  struct SameSize {
    std::vector<Place> places;
    std::unordered_multimap<uint64_t, size_t> by_sample;  // index of a place; empty: not sampled
  };

  void Collect();
  void Collect(const arrow::ArrayData& data);
  bool IsEqual(const uint8_t* bytes, const Place& place, PartSize size);

  const std::span<const std::shared_ptr<arrow::Table>> inputs_;
  const Options options_;
  bool collected_ = false;
  std::map<PartSize, SameSize> by_size_;
  std::set<std::pair<const uint8_t*, PartSize>> known_;
  int64_t budget_bytes_ = 0;  // that may still be compared
};

}  // namespace zerrow::worker
