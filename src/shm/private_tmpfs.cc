#include "shm/private_tmpfs.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <utility>

#include "base/fd_passing.h"

namespace zerrow::shm {

namespace {

// Any directory that surely exists; it is covered in the helper's namespace only.
constexpr const char* kMountPoint = "/proc";
// What a worker writes to is its heap, where it may have code: mprotect(PROT_EXEC) asks the mount.
// What it reads of others' is data.
constexpr unsigned long kMountFlags = MS_NOSUID | MS_NODEV;
constexpr unsigned long kReaderFlags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOEXEC | kMountFlags;

// What the helper tells; `step` points to a literal, valid in both processes.
struct Outcome {
  const char* step = nullptr;  // that failed; null: none did
  int error = 0;
  bool huge = false;
  bool in_user_namespace = false;
};

struct IdMaps {
  std::array<char, 32> uid;
  std::array<char, 32> gid;
};

// From here on code of the helper: the process may have had other threads, so nothing but system
// calls, no allocation, no locks.

bool WriteFile(const char* path, const char* text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t length = static_cast<ssize_t>(std::strlen(text));
  const bool written = ::write(fd, text, static_cast<size_t>(length)) == length;
  ::close(fd);
  return written;
}

const char* EnterNamespaces(const IdMaps& maps, Outcome& outcome) {
  if (::unshare(CLONE_NEWNS) == 0) return nullptr;
  if (errno != EPERM || ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
    return "making a mount namespace";
  }
  outcome.in_user_namespace = true;
  WriteFile("/proc/self/setgroups", "deny");  // not there before Linux 3.19, nor needed
  if (!WriteFile("/proc/self/uid_map", maps.uid.data())) return "writing uid_map";
  if (!WriteFile("/proc/self/gid_map", maps.gid.data())) return "writing gid_map";
  return nullptr;
}

// What is mounted here doesn't show elsewhere. In a chroot / is no mount (EINVAL): then it is
// enough for the one that is mounted over.
bool KeepMountsHere() {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0) return true;
  return errno == EINVAL && ::mount(nullptr, kMountPoint, nullptr, MS_PRIVATE, nullptr) == 0;
}

const char* MountTwice(int (&dirs)[2], Outcome& outcome) {
  if (!KeepMountsHere()) return "making the mounts private";
  // The size limit is a backstop: beyond it a write is a SIGBUS in the worker, not the OOM killer.
  outcome.huge =
      ::mount("zerrow", kMountPoint, "tmpfs", kMountFlags, "mode=0700,size=100%,huge=advise") == 0;
  if (!outcome.huge &&
      ::mount("zerrow", kMountPoint, "tmpfs", kMountFlags, "mode=0700,size=100%") != 0) {
    return "mounting a tmpfs";
  }
  constexpr int kOpen = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  dirs[0] = ::open(kMountPoint, kOpen);
  if (dirs[0] < 0) return "opening the tmpfs";
  if (::mount(kMountPoint, kMountPoint, nullptr, MS_BIND, nullptr) != 0) {
    return "mounting the tmpfs a second time";
  }
  if (::mount(nullptr, kMountPoint, nullptr, kReaderFlags, nullptr) != 0) {
    return "making the second mount read-only";
  }
  dirs[1] = ::open(kMountPoint, kOpen);
  if (dirs[1] < 0) return "opening the read-only mount";
  return nullptr;
}

void SendOutcome(int socket, Outcome& outcome, const int (&dirs)[2]) {
  iovec part{&outcome, sizeof(outcome)};
  const auto fds = outcome.step == nullptr ? std::span<const int>(dirs) : std::span<const int>();
  base::SendPacket(socket, {&part, 1}, fds);
}

[[noreturn]] void RunHelper(int socket, const IdMaps& maps) {
  Outcome outcome;
  int dirs[2] = {-1, -1};
  outcome.step = EnterNamespaces(maps, outcome);
  if (outcome.step == nullptr) outcome.step = MountTwice(dirs, outcome);
  if (outcome.step != nullptr) outcome.error = errno;
  SendOutcome(socket, outcome, dirs);
  ::_exit(0);
}

// From here on the caller's process again.

arrow::Result<PrivateTmpfs> ReceiveOutcome(int socket) {
  Outcome outcome;
  auto packet = base::ReceivePacket(socket, {&outcome, sizeof(outcome)});
  if (packet.bytes != static_cast<ssize_t>(sizeof(outcome))) {
    return arrow::Status::IOError("the helper that mounts a tmpfs died");
  }
  if (outcome.step != nullptr) return base::ErrnoStatus(outcome.error, outcome.step);
  if (packet.fds.size() != 2) {
    return arrow::Status::IOError("no descriptor is left for a tmpfs");
  }
  return PrivateTmpfs{std::move(packet.fds[0]), std::move(packet.fds[1]), outcome.huge,
                      outcome.in_user_namespace};
}

}  // namespace

arrow::Result<PrivateTmpfs> MountPrivateTmpfs() {
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return base::ErrnoStatus(errno, "socketpair");
  }
  const base::UniqueFd ours(sockets[0]);
  base::UniqueFd theirs(sockets[1]);
  IdMaps maps;
  std::snprintf(maps.uid.data(), maps.uid.size(), "0 %u 1", ::geteuid());
  std::snprintf(maps.gid.data(), maps.gid.size(), "0 %u 1", ::getegid());
  const pid_t helper = ::fork();
  if (helper < 0) return base::ErrnoStatus(errno, "fork");
  if (helper == 0) RunHelper(theirs.get(), maps);
  theirs.reset();
  auto result = ReceiveOutcome(ours.get());
  // Only when the helper is reaped is its mount namespace surely gone.
  while (::waitpid(helper, nullptr, 0) < 0 && errno == EINTR) {
  }
  return result;
}

}  // namespace zerrow::shm
