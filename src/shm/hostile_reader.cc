// Each attack answers whether the kernel let it through; whether bytes really changed is for the
// test to look up. They run in a forked process, one after the other.
#include "shm/hostile_reader.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/fd.h"
#include "shm/test_worker.h"

namespace zerrow::shm {

namespace {

constexpr int kFd = 3;  // the segment, in the attacker's process
constexpr char kByte = 'H';

struct Target {
  size_t size;
  char* mapping;  // of the whole segment, shared, for reading
  pid_t engine;
};

// Whatever was opened for writing: is it?
bool WritesThrough(int fd) {
  if (fd < 0) return false;
  const bool written = ::pwrite(fd, &kByte, 1, 0) == 1 || ::ftruncate(fd, 0) == 0;
  void* mapping = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapping != MAP_FAILED) *static_cast<char*>(mapping) = kByte;
  ::close(fd);
  return written || mapping != MAP_FAILED;
}

bool OpensForWriting(const std::string& path) {
  bool through = false;
  for (const int flags : {O_RDWR, O_WRONLY, O_RDWR | O_TRUNC, O_WRONLY | O_APPEND}) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK);
    // Truncation happens in open itself; the rest needs a write. A sealed file opens, and refuses.
    through |= WritesThrough(fd);
  }
  return through;
}

bool Write(const Target&) {
  iovec part{const_cast<char*>(&kByte), 1};
  return ::write(kFd, &kByte, 1) > 0 || ::pwrite(kFd, &kByte, 1, 0) > 0 ||
         ::pwritev2(kFd, &part, 1, 0, RWF_APPEND) > 0;
}

bool Resize(const Target& target) {
  return ::ftruncate(kFd, 0) == 0 || ::ftruncate(kFd, static_cast<off_t>(target.size) * 2) == 0;
}

bool Fallocate(const Target&) {
  for (const int mode : {0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
                         FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_KEEP_SIZE}) {
    if (::fallocate(kFd, mode, 0, 4096) == 0) return true;
  }
  return false;
}

bool CopyInto(const Target&) {
  const int source = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  int ends[2];
  if (::pipe(ends) != 0 || ::write(ends[1], &kByte, 1) != 1) return true;
  return ::sendfile(kFd, source, nullptr, 1) > 0 ||
         ::copy_file_range(source, nullptr, kFd, nullptr, 1, 0) > 0 ||
         ::splice(ends[0], nullptr, kFd, nullptr, 1, 0) > 0;
}

bool MapForWriting(const Target&) {
  bool through = false;
  for (const int kind : {MAP_SHARED, MAP_SHARED_VALIDATE}) {
    for (const int protection : {PROT_WRITE, PROT_READ | PROT_WRITE}) {
      void* mapping = ::mmap(nullptr, 4096, protection, kind, kFd, 0);
      if (mapping == MAP_FAILED) continue;
      *static_cast<char*>(mapping) = kByte;
      through = true;
    }
  }
  return through;
}

bool MakeMappingWritable(const Target& target) {
  if (::mprotect(target.mapping, 4096, PROT_READ | PROT_WRITE) == 0 ||
      ::syscall(SYS_pkey_mprotect, target.mapping, 4096, PROT_READ | PROT_WRITE, -1) == 0) {
    target.mapping[0] = kByte;
    return true;
  }
  return false;
}

// Legal, and the engine must not care: only the attacker's own copy changes.
bool WriteToAPrivateCopy(const Target& target) {
  void* copy = ::mmap(nullptr, target.size, PROT_READ | PROT_WRITE, MAP_PRIVATE, kFd, 0);
  if (copy != MAP_FAILED) *static_cast<char*>(copy) = kByte;
  return false;
}

bool AdviseAway(const Target& target) {
  return ::madvise(target.mapping, 4096, MADV_REMOVE) == 0 ||
         ::madvise(target.mapping, 4096, MADV_POPULATE_WRITE) == 0;
}

bool LetTheKernelWrite(const Target& target) {
  const int zeros = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  return ::read(zeros, target.mapping, 1) > 0;
}

// A page fault handler in user space could fill the holes that trimming left.
bool FillHolesByUserfaultfd(const Target& target) {
  const int fd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
  uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
  if (fd < 0 || ::ioctl(fd, UFFDIO_API, &api) != 0) return false;
  const auto last_page = reinterpret_cast<uint64_t>(target.mapping) + target.size - 4096;
  uffdio_register area{
      .range = {last_page, 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING, .ioctls = 0};
  if (::ioctl(fd, UFFDIO_REGISTER, &area) != 0) return false;
  alignas(4096) static char page[4096] = {kByte};
  uffdio_copy copy{
      .dst = last_page, .src = reinterpret_cast<uint64_t>(page), .len = 4096, .mode = 0, .copy = 0};
  return ::ioctl(fd, UFFDIO_COPY, &copy) == 0;
}

bool ReopenByProc(const Target& target) {
  char mapped[96];
  std::snprintf(mapped, sizeof(mapped), "/proc/self/map_files/%lx-%lx",
                reinterpret_cast<unsigned long>(target.mapping),
                reinterpret_cast<unsigned long>(target.mapping) + target.size);
  const std::string number = std::to_string(kFd);
  bool through = false;
  for (const std::string& path :
       {"/proc/self/fd/" + number, "/proc/thread-self/fd/" + number, "/dev/fd/" + number,
        "/proc/" + std::to_string(::getpid()) + "/fd/" + number, std::string(mapped)}) {
    through |= OpensForWriting(path);
  }
  return through;
}

bool ReopenByHandle(const Target&) {
  alignas(file_handle) char space[sizeof(file_handle) + MAX_HANDLE_SZ];
  auto* handle = reinterpret_cast<file_handle*>(space);
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  if (::name_to_handle_at(kFd, "", handle, &mount_id, AT_EMPTY_PATH) != 0) return false;
  return WritesThrough(::open_by_handle_at(kFd, handle, O_RDWR | O_CLOEXEC));
}

bool ChangeSeals(const Target&) {
  // A seal that isn't there yet would keep the engine from using the memory again.
  return ::fcntl(kFd, F_ADD_SEALS, F_SEAL_WRITE) == 0 ||
         ::fcntl(kFd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0 ||
         ::fcntl(kFd, F_ADD_SEALS, F_SEAL_SEAL) == 0;
}

bool Remount(const Target&) {
  const std::string path = "/proc/self/fd/" + std::to_string(kFd);
  bool through = ::mount(nullptr, path.c_str(), nullptr, MS_REMOUNT | MS_BIND, nullptr) == 0 ||
                 ::mount(nullptr, path.c_str(), nullptr, MS_REMOUNT, nullptr) == 0;
  mount_attr writable{};
  writable.attr_clr = MOUNT_ATTR_RDONLY;
  through |= ::mount_setattr(kFd, "", AT_EMPTY_PATH, &writable, sizeof(writable)) == 0;
  through |= ::fspick(kFd, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC) >= 0;
  return through || OpensForWriting(path);
}

// A copy of the read-only mount, which the attacker might then make writable.
bool CloneMount(const Target&) {
  const int clone = ::open_tree(kFd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
  if (clone < 0) return false;
  mount_attr writable{};
  writable.attr_clr = MOUNT_ATTR_RDONLY;
  ::mount_setattr(clone, "", AT_EMPTY_PATH, &writable, sizeof(writable));
  return OpensForWriting("/proc/self/fd/" + std::to_string(clone));
}

bool BindMount(const Target&) {
  if (::mount("attack", "/tmp", "tmpfs", 0, nullptr) != 0) return false;
  const int file = ::open("/tmp/target", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  const std::string path = "/proc/self/fd/" + std::to_string(kFd);
  if (file < 0 || ::mount(path.c_str(), "/tmp/target", nullptr, MS_BIND, nullptr) != 0)
    return false;
  ::mount(nullptr, "/tmp/target", nullptr, MS_REMOUNT | MS_BIND, nullptr);
  return OpensForWriting("/tmp/target");
}

// A sibling that reads the same segment, and lets itself be attacked.
bool UseASibling(const Target& target) {
  const TestProcess sibling([] {
    ::pause();
    return 0;
  });
  const pid_t pid = sibling.pid();
  const std::string proc = "/proc/" + std::to_string(pid);
  bool through = OpensForWriting(proc + "/fd/" + std::to_string(kFd));
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  const int stolen = static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, kFd, 0));
  through |= WritesThrough(stolen);
  iovec ours{const_cast<char*>(&kByte), 1};
  iovec theirs{target.mapping, 1};
  through |= ::process_vm_writev(pid, &ours, 1, &theirs, 1, 0) > 0;
  const auto mapped = static_cast<off_t>(reinterpret_cast<uintptr_t>(target.mapping));
  const int memory = ::open((proc + "/mem").c_str(), O_RDWR | O_CLOEXEC);
  through |= ::pwrite(memory, &kByte, 1, mapped) > 0;
  if (::ptrace(PTRACE_ATTACH, pid, nullptr, nullptr) == 0) {
    ::waitpid(pid, nullptr, 0);
    through |= ::ptrace(PTRACE_POKEDATA, pid, target.mapping, static_cast<long>(kByte)) == 0;
  }
  return through;
}

bool WriteToOwnMemoryByProc(const Target& target) {
  const int memory = ::open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  return ::pwrite(memory, &kByte, 1,
                  static_cast<off_t>(reinterpret_cast<uintptr_t>(target.mapping))) > 0;
}

// The engine could hand out a descriptor for writing, if it could be made to.
bool UseTheEngine(const Target& target) {
  const std::string proc = "/proc/" + std::to_string(target.engine);
  if (::access((proc + "/fd/0").c_str(), F_OK) == 0) return true;
  if (::open((proc + "/mem").c_str(), O_RDWR | O_CLOEXEC) >= 0) return true;
  if (::ptrace(PTRACE_ATTACH, target.engine, nullptr, nullptr) == 0) {
    ::ptrace(PTRACE_DETACH, target.engine, nullptr, nullptr);
    return true;
  }
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, target.engine, 0));
  return ::syscall(SYS_pidfd_getfd, pidfd, 0, 0) >= 0;
}

struct Attack {
  const char* name;
  bool (*let_through)(const Target&);
  bool needs_confinement = false;  // root of the machine may do it
};

constexpr Attack kAttacks[] = {
    {"write", Write},
    {"resize", Resize},
    {"fallocate", Fallocate},
    {"sendfile or splice", CopyInto},
    {"mmap", MapForWriting},
    {"mprotect", MakeMappingWritable},
    {"private mapping", WriteToAPrivateCopy},
    {"madvise", AdviseAway},
    {"read into the mapping", LetTheKernelWrite},
    {"userfaultfd", FillHolesByUserfaultfd},
    {"reopening by /proc", ReopenByProc},
    {"reopening by handle", ReopenByHandle},
    {"seals", ChangeSeals},
    {"/proc/self/mem", WriteToOwnMemoryByProc},
    {"sibling", UseASibling},
    {"engine", UseTheEngine, true},
    {"remount", Remount},
    {"cloning the mount", CloneMount},
    {"bind mount", BindMount},
};

bool WriteFile(const char* path, const std::string& text) {
  const base::UniqueFd fd(::open(path, O_WRONLY | O_CLOEXEC));
  return fd.valid() && base::WriteAll(fd.get(), text).ok();
}

bool Confine(Confinement confinement) {
  if (confinement == Confinement::kUserNamespace) {
    const std::string uid = std::to_string(::geteuid());
    const std::string gid = std::to_string(::getegid());
    if (::unshare(CLONE_NEWUSER) != 0) return false;
    WriteFile("/proc/self/setgroups", "deny");
    if (!WriteFile("/proc/self/uid_map", "0 " + uid + " 1")) return false;
    if (!WriteFile("/proc/self/gid_map", "0 " + gid + " 1")) return false;
  }
  // For the attacks with mounts; without rights they fail by themselves.
  if (::unshare(CLONE_NEWNS) == 0) ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  return true;
}

// Exit code 0: all was tried, and what came through is in the pipe.
int RunAttacks(int segment, int report, size_t size, Confinement confinement, pid_t engine) {
  // Nothing but the segment and the pipe, as in a worker.
  constexpr int kReport = 4;
  const int high_report = ::fcntl(report, F_DUPFD, 100);
  const int high_segment = ::fcntl(segment, F_DUPFD, 100);
  if (::dup2(high_segment, kFd) < 0 || ::dup2(high_report, kReport) < 0) return 1;
  if (::close_range(kReport + 1, ~0U, 0) != 0 || !Confine(confinement)) return 1;
  void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, kFd, 0);
  if (mapping == MAP_FAILED) return 1;
  const Target target{size, static_cast<char*>(mapping), engine};
  for (const Attack& attack : kAttacks) {
    if (attack.needs_confinement && confinement == Confinement::kNone) continue;
    if (!attack.let_through(target)) continue;
    if (!base::WriteAll(kReport, std::string(attack.name) + "; ").ok()) return 1;
  }
  return 0;
}

}  // namespace

arrow::Result<std::string> AttackSegment(int fd, int64_t size_bytes, Confinement confinement) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return base::ErrnoStatus(errno, "pipe2");
  const base::UniqueFd read(ends[0]);
  base::UniqueFd write(ends[1]);
  const pid_t engine = ::getpid();
  TestProcess attacker([&] {
    return RunAttacks(fd, write.get(), static_cast<size_t>(size_bytes), confinement, engine);
  });
  write.reset();
  ARROW_ASSIGN_OR_RAISE(const std::string through, base::ReadAll(read.get(), 1 << 16));
  const int code = attacker.Wait();
  if (code != 0) return arrow::Status::IOError("the attacker ended with ", code);
  return through;
}

}  // namespace zerrow::shm
