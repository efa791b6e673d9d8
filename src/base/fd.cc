#include "base/fd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace zerrow::base {

namespace {
constexpr int kAllSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
}  // namespace

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void UniqueFd::reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

arrow::Status ErrnoStatus(int error, std::string_view what) {
  rlimit limit{};
  if (error == EMFILE && ::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    return arrow::Status::IOError(what, ": this process may have no more than ", limit.rlim_cur,
                                  " open files: raise that limit (ulimit -n), or use fewer jobs");
  }
  return arrow::Status::IOError(what, ": ", std::strerror(error));
}

arrow::Result<UniqueFd> MakeMemfd(const std::string& name, int64_t size_bytes) {
  UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return ErrnoStatus(errno, "memfd_create");
  if (size_bytes > 0 && ::ftruncate(fd.get(), size_bytes) != 0) {
    return ErrnoStatus(errno, "ftruncate of a memfd");
  }
  return fd;
}

arrow::Result<UniqueFd> MakeSealedMemfd(const std::string& name, std::string_view bytes) {
  ARROW_ASSIGN_OR_RAISE(UniqueFd fd, MakeMemfd(name));
  ARROW_RETURN_NOT_OK(WriteAll(fd.get(), bytes));
  ARROW_RETURN_NOT_OK(SealMemfd(fd.get()));
  return fd;
}

// The kernel waits 0.15 s for whoever else has hold of a page, such as reclaim while memory is
// short, and then gives up. A mapping it refuses at once.
arrow::Status SealMemfd(int fd) {
  constexpr int kTries = 3;
  for (int tries = 1; ::fcntl(fd, F_ADD_SEALS, kAllSeals) != 0; ++tries) {
    if (errno != EBUSY || tries == kTries) return ErrnoStatus(errno, "sealing a memfd");
  }
  return arrow::Status::OK();
}

bool IsSealed(int fd) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  constexpr int kNeeded = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
  return seals >= 0 && (seals & kNeeded) == kNeeded;
}

arrow::Result<int64_t> SealedSize(int fd) {
  // First, as it asks no file system: fstat of a file from one that its sender serves could hang.
  if (!IsSealed(fd)) return arrow::Status::SerializationError("a file that isn't sealed");
  struct stat info;
  if (::fstat(fd, &info) != 0) return ErrnoStatus(errno, "fstat");
  // Whole pages, huge ones too, so that it may be more than the size.
  constexpr int64_t kBlockBytes = 512;
  const int64_t there = int64_t{info.st_blocks} * kBlockBytes;
  if (there < info.st_size) {
    return arrow::Status::SerializationError("a sparse file: ", there, " bytes are there of ",
                                             info.st_size);
  }
  return static_cast<int64_t>(info.st_size);
}

arrow::Result<UniqueFd> Duplicate(int fd) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return ErrnoStatus(errno, "duplicating a file descriptor");
  return copy;
}

arrow::Result<int64_t> FileSize(int fd) {
  struct stat info;
  if (::fstat(fd, &info) != 0) return ErrnoStatus(errno, "fstat");
  return static_cast<int64_t>(info.st_size);
}

arrow::Status WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "write");
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return arrow::Status::OK();
}

arrow::Status WriteParts(int fd, std::vector<std::string_view> parts) {
  std::array<iovec, 256> vectors;
  auto part = parts.begin();
  while (part != parts.end()) {
    const auto count = std::min<size_t>(vectors.size(), static_cast<size_t>(parts.end() - part));
    for (size_t i = 0; i < count; ++i) {
      const std::string_view bytes = part[static_cast<std::ptrdiff_t>(i)];
      vectors[i] = {.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
    }
    const ssize_t written = ::writev(fd, vectors.data(), static_cast<int>(count));
    if (written < 0 && errno != EINTR) return ErrnoStatus(errno, "write");
    auto left = static_cast<size_t>(std::max<ssize_t>(written, 0));
    while (part != parts.end() && left >= part->size()) left -= (part++)->size();
    if (left > 0) part->remove_prefix(left);
  }
  return arrow::Status::OK();
}

arrow::Result<std::string> ReadAll(int fd, int64_t limit_bytes) {
  std::string bytes;
  char chunk[16 * 1024];
  while (true) {
    const ssize_t got = ::read(fd, chunk, sizeof(chunk));
    if (got < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "read");
    }
    if (got == 0) return bytes;
    if (static_cast<int64_t>(bytes.size()) + got > limit_bytes) {
      return arrow::Status::CapacityError("more than ", limit_bytes, " bytes to read");
    }
    bytes.append(chunk, static_cast<size_t>(got));
  }
}

}  // namespace zerrow::base
