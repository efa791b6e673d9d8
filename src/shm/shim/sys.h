// Raw system calls, past the symbols that the shim itself replaces.
//
// They set errno as usual; the Heap's lock saves and restores it for the program.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

namespace zerrow::shim {

inline void* SysMmap(uintptr_t address, size_t size, int protection, int flags, int fd,
                     int64_t offset) {
  return reinterpret_cast<void*>(::syscall(SYS_mmap, address, size, protection, flags, fd, offset));
}
inline int SysMunmap(uintptr_t address, size_t size) {
  return static_cast<int>(::syscall(SYS_munmap, address, size));
}
inline int SysMprotect(uintptr_t address, size_t size, int protection) {
  return static_cast<int>(::syscall(SYS_mprotect, address, size, protection));
}
inline int SysMadvise(uintptr_t address, size_t size, int advice) {
  return static_cast<int>(::syscall(SYS_madvise, address, size, advice));
}
inline int SysPkeyMprotect(uintptr_t address, size_t size, int protection, int key) {
  return static_cast<int>(::syscall(SYS_pkey_mprotect, address, size, protection, key));
}
inline int SysMlock(uintptr_t address, size_t size, unsigned flags) {
  return static_cast<int>(::syscall(SYS_mlock2, address, size, flags));
}
inline int SysMunlock(uintptr_t address, size_t size) {
  return static_cast<int>(::syscall(SYS_munlock, address, size));
}
inline void* SysMremap(uintptr_t address, size_t old_size, size_t new_size, int flags,
                       uintptr_t target) {
  return reinterpret_cast<void*>(::syscall(SYS_mremap, address, old_size, new_size, flags, target));
}

// Which file a descriptor was opened on. A program that closes descriptors that aren't its own
// may reuse the shim's numbers for other files; before each use the shim makes sure.
class KeptFd {
 public:
  constexpr KeptFd() = default;

  /// Takes `fd` and moves it up to a number that programs seldom pick.
  void Keep(int fd) {
    const int high = ::fcntl(fd, F_DUPFD_CLOEXEC, 512);
    if (high >= 0) {
      ::syscall(SYS_close, fd);
      fd = high;
    }
    struct stat status = {};
    fd_ = ::fstat(fd, &status) == 0 ? fd : -1;
    device_ = status.st_dev;
    inode_ = status.st_ino;
  }
  /// The descriptor, or -1 if it isn't ours any more.
  int get() const {
    struct stat status = {};
    const bool same = fd_ >= 0 && ::fstat(fd_, &status) == 0 && status.st_dev == device_ &&
                      status.st_ino == inode_;
    return same ? fd_ : -1;
  }
  void Close() {
    if (get() >= 0) ::syscall(SYS_close, fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace zerrow::shim
