// A range of memory that maps a file; unmapped when the owner goes.
//
// Move-only. The file may be closed while it is mapped. Touching a page past the end of a file
// that shrank raises SIGBUS: map only files that can't shrink (sealed, or the engine's own).
#pragma once

#include <arrow/result.h>

#include <cstdint>

namespace zerrow::base {

class Mapping {
 public:
  enum class Access { kReadOnly, kReadWrite };

  /// Maps the first `size_bytes` of `fd`, shared. Zero bytes give an empty mapping. IOError if
  /// the system refuses.
  static arrow::Result<Mapping> Map(int fd, int64_t size_bytes, Access access);

  Mapping() = default;
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  uint8_t* data() const { return data_; }
  int64_t size() const { return size_bytes_; }

 private:
  Mapping(uint8_t* data, int64_t size_bytes) : data_(data), size_bytes_(size_bytes) {}

  uint8_t* data_ = nullptr;
  int64_t size_bytes_ = 0;
};

}  // namespace zerrow::base
