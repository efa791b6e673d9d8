#include "sipc/testing/arena.h"

#include <algorithm>
#include <cstring>

namespace zerrow::sipc::testing {
namespace {

// Keeps its mapping for as long as somebody holds a slice of it.
class MappedBuffer : public arrow::Buffer {
 public:
  explicit MappedBuffer(base::Mapping mapping)
      : arrow::Buffer(mapping.data(), mapping.size()), mapping_(std::move(mapping)) {}

 private:
  base::Mapping mapping_;
};

}  // namespace

arrow::Result<std::unique_ptr<Arena>> Arena::Make(SegmentId segment, int64_t size_bytes) {
  ARROW_ASSIGN_OR_RAISE(auto fd, base::MakeMemfd("arena", size_bytes));
  ARROW_ASSIGN_OR_RAISE(
      auto mapping, base::Mapping::Map(fd.get(), size_bytes, base::Mapping::Access::kReadWrite));
  return std::unique_ptr<Arena>(new Arena(segment, std::move(fd), std::move(mapping)));
}

arrow::Result<std::shared_ptr<arrow::Buffer>> Arena::MapReadOnly() const {
  ARROW_ASSIGN_OR_RAISE(auto mapping, base::Mapping::Map(fd_.get(), mapping_.size(),
                                                         base::Mapping::Access::kReadOnly));
  return std::make_shared<MappedBuffer>(std::move(mapping));
}

arrow::Status Arena::Allocate(int64_t size, int64_t alignment, uint8_t** out) {
  const int64_t step = std::max<int64_t>(alignment, 64);
  const int64_t rounded = (size + step - 1) / step * step;
  const int64_t offset = used_.fetch_add(rounded);
  if (offset + rounded > mapping_.size()) return arrow::Status::OutOfMemory("arena is full");
  ++num_allocations_;
  *out = mapping_.data() + offset;
  return arrow::Status::OK();
}

arrow::Status Arena::Reallocate(int64_t old_size, int64_t new_size, int64_t alignment,
                                uint8_t** ptr) {
  if (new_size <= old_size) return arrow::Status::OK();
  uint8_t* moved = nullptr;
  ARROW_RETURN_NOT_OK(Allocate(new_size, alignment, &moved));
  std::memcpy(moved, *ptr, static_cast<size_t>(old_size));
  *ptr = moved;
  return arrow::Status::OK();
}

}  // namespace zerrow::sipc::testing
