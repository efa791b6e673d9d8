// Raw system calls, past the symbols that the shim itself replaces.
//
// They set errno as usual; the Heap's lock saves and restores it for the program.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
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

// While it lives this process may have as many descriptors as it could ever be allowed. A worker
// has one for each of its chunks, and the limit that its program sees is meant for the program's
// own.
class DescriptorAllowance {
 public:
  DescriptorAllowance() {
    raised_ = ::getrlimit(RLIMIT_NOFILE, &before_) == 0 && before_.rlim_cur < before_.rlim_max;
    rlimit most = before_;
    most.rlim_cur = before_.rlim_max;
    raised_ = raised_ && ::setrlimit(RLIMIT_NOFILE, &most) == 0;
  }
  ~DescriptorAllowance() {
    if (raised_) ::setrlimit(RLIMIT_NOFILE, &before_);
  }
  DescriptorAllowance(const DescriptorAllowance&) = delete;
  DescriptorAllowance& operator=(const DescriptorAllowance&) = delete;

  /// The first number that the program can't get, nor hand to select(), where that isn't so high
  /// that the kernel's table would be large.
  int first_beyond() const {
    constexpr rlim_t kSelectable = 1024;
    constexpr rlim_t kHighest = 4096;
    const bool beyond = raised_ && kSelectable < before_.rlim_cur && before_.rlim_cur <= kHighest;
    return static_cast<int>(beyond ? before_.rlim_cur : kSelectable);
  }

 private:
  rlimit before_ = {};
  bool raised_ = false;
};

// Which file a descriptor was opened on. A program that closes descriptors that aren't its own
// may reuse the shim's numbers for other files; before each use the shim makes sure.
class KeptFd {
 public:
  constexpr KeptFd() = default;

  /// Takes `fd` and moves it up to a number that programs seldom pick.
  void Keep(int fd) {
    const DescriptorAllowance allowance;
    int high = ::fcntl(fd, F_DUPFD_CLOEXEC, allowance.first_beyond());
    if (high < 0) high = ::fcntl(fd, F_DUPFD_CLOEXEC, 512);  // the hard limit is low
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
