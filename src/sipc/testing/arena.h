// Memory for tests that stands in for a segment: allocations from it can be found in an AddressMap.
//
// An Arrow MemoryPool that hands out memory of one memfd, mapped writable, never reused. Pages are
// made when they are touched. Thread safety: as MemoryPool asks. The arena must outlive what was
// allocated from it.
#pragma once

#include <arrow/memory_pool.h>
#include <arrow/result.h>

#include <atomic>
#include <memory>
#include <string>

#include "base/fd.h"
#include "base/mapping.h"
#include "sipc/address_map.h"
#include "sipc/reader.h"
#include "zerrow/reference.h"

namespace zerrow::sipc::testing {

class Arena : public arrow::MemoryPool {
 public:
  static arrow::Result<std::unique_ptr<Arena>> Make(SegmentId segment, int64_t size_bytes);

  SegmentId segment() const { return segment_; }
  int fd() const { return fd_.get(); }
  int64_t size_bytes() const { return mapping_.size(); }
  const uint8_t* data() const { return mapping_.data(); }
  void AddTo(AddressMap* map) const { map->Add(segment_, mapping_.data(), mapping_.size()); }
  /// A second, read-only mapping, as a consumer would have.
  arrow::Result<std::shared_ptr<arrow::Buffer>> MapReadOnly() const;

  using MemoryPool::Allocate;
  arrow::Status Allocate(int64_t size, int64_t alignment, uint8_t** out) override;
  using MemoryPool::Reallocate;
  arrow::Status Reallocate(int64_t old_size, int64_t new_size, int64_t alignment,
                           uint8_t** ptr) override;
  using MemoryPool::Free;
  void Free(uint8_t*, int64_t, int64_t) override {}
  int64_t bytes_allocated() const override { return used_.load(); }
  int64_t total_bytes_allocated() const override { return used_.load(); }
  int64_t num_allocations() const override { return num_allocations_.load(); }
  std::string backend_name() const override { return "arena"; }

 private:
  Arena(SegmentId segment, base::UniqueFd fd, base::Mapping mapping)
      : segment_(segment), fd_(std::move(fd)), mapping_(std::move(mapping)) {}

  SegmentId segment_;
  base::UniqueFd fd_;
  base::Mapping mapping_;
  std::atomic<int64_t> used_ = 0;
  std::atomic<int64_t> num_allocations_ = 0;
};

}  // namespace zerrow::sipc::testing
