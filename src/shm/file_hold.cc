#include "shm/file_hold.h"

#include <fcntl.h>

#include <cerrno>

namespace zerrow::shm {

namespace {

// The lease is only asked for, never kept: while it lasts, opening the file would send signals.
arrow::Status TryLease(int fd, int kind, std::string_view held) {
  if (::fcntl(fd, F_SETLEASE, kind) != 0) {
    if (errno == EAGAIN) return arrow::Status::IOError(held);
    return base::ErrnoStatus(errno, "asking for a file's lease");
  }
  if (::fcntl(fd, F_SETLEASE, F_UNLCK) != 0) {
    return base::ErrnoStatus(errno, "giving a file's lease back");
  }
  return arrow::Status::OK();
}

}  // namespace

arrow::Result<base::UniqueFd> Reopen(int fd, int flags) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  // Nonblocking: a lease that somebody keeps on the file refuses at once, instead of after a
  // minute.
  base::UniqueFd opened(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK));
  if (!opened.valid()) return base::ErrnoStatus(errno, "opening a chunk");
  return opened;
}

arrow::Status CheckNoWriters(int fd) {
  return TryLease(fd, F_RDLCK, "a process can still write to this memory");
}

arrow::Status CheckNoOtherUsers(int fd) {
  return TryLease(fd, F_WRLCK, "a process still holds this memory");
}

}  // namespace zerrow::shm
