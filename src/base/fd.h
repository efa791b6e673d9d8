// File descriptors with an owner, and the system calls on them as arrow::Status / arrow::Result.
//
// UniqueFd is move-only and closes on destruction; a raw `int` parameter is always borrowed.
// Thread safety: as for any value. After a crash the kernel closes what was open.
#pragma once

#include <arrow/result.h>
#include <arrow/status.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace zerrow::base {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset();

 private:
  int fd_ = -1;
};

/// IOError "`what`: strerror(error)"; `error` is an errno value. EMFILE says what to do about it.
arrow::Status ErrnoStatus(int error, std::string_view what);

/// A new memfd of `size_bytes` zero bytes, close-on-exec, that can be sealed.
arrow::Result<UniqueFd> MakeMemfd(const std::string& name, int64_t size_bytes = 0);

/// A memfd that holds `bytes` and can never change again: all seals are set.
arrow::Result<UniqueFd> MakeSealedMemfd(const std::string& name, std::string_view bytes);

/// Forbids every further change of a memfd's bytes and size. IOError (EBUSY) while somebody maps
/// it writable.
arrow::Status SealMemfd(int fd);

/// True if no process, its owner included, can change the file's bytes or size any more.
bool IsSealed(int fd);

/// The size of a file that is sealed and whose bytes are all there. SerializationError if it isn't
/// sealed, or is sparse: reading a hole costs whoever reads it memory that its maker never had.
arrow::Result<int64_t> SealedSize(int fd);

arrow::Result<UniqueFd> Duplicate(int fd);
arrow::Result<int64_t> FileSize(int fd);
arrow::Status WriteAll(int fd, std::string_view bytes);
/// The parts one after the other, in as few calls as there may be.
arrow::Status WriteParts(int fd, std::vector<std::string_view> parts);
/// The whole file or pipe up to its end. CapacityError if it holds more than `limit_bytes`.
arrow::Result<std::string> ReadAll(int fd, int64_t limit_bytes);

}  // namespace zerrow::base
