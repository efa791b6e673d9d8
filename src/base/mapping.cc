#include "base/mapping.h"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "base/fd.h"

namespace zerrow::base {

arrow::Result<Mapping> Mapping::Map(int fd, int64_t size_bytes, Access access) {
  if (size_bytes < 0) return arrow::Status::Invalid("a mapping of ", size_bytes, " bytes");
  if (size_bytes == 0) return Mapping();
  const int protection = access == Access::kReadOnly ? PROT_READ : PROT_READ | PROT_WRITE;
  void* data =
      ::mmap(nullptr, static_cast<size_t>(size_bytes), protection, MAP_SHARED, fd, /*offset=*/0);
  if (data == MAP_FAILED) return ErrnoStatus(errno, "mmap");
  return Mapping(static_cast<uint8_t*>(data), size_bytes);
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) ::munmap(data_, static_cast<size_t>(size_bytes_));
}

}  // namespace zerrow::base
