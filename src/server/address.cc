#include "server/address.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>

namespace zerrow::server {

using arrow::Result;
using arrow::Status;
using base::UniqueFd;

namespace {

constexpr const char* kSocket = "engine.sock";
constexpr const char* kLock = "engine.lock";
constexpr const char* kLog = "engine.log";
constexpr int kBacklog = 128;
constexpr std::chrono::milliseconds kConnectPause{10};

// Through the folder's descriptor: of any length, and surely the folder that was looked at.
sockaddr_un SocketIn(int folder) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(folder) + "/" + kSocket;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Result<UniqueFd> MakeSocket(int flags = 0) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0));
  if (!socket.valid()) return base::ErrnoStatus(errno, "socket");
  return socket;
}

Status CheckFolder(const std::string& path, int fd) {
  struct stat found {};
  if (::fstat(fd, &found) != 0) return base::ErrnoStatus(errno, path);
  if (found.st_uid != ::geteuid()) {
    return Status::Invalid(path,
                           " belongs to another user; set XDG_RUNTIME_DIR to a folder of yours");
  }
  if ((found.st_mode & 0077) != 0) {
    return Status::Invalid(path, " is open to other users; chmod 700 it");
  }
  return Status::OK();
}

}  // namespace

std::string RuntimeFolder() {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && runtime[0] == '/') return std::string(runtime) + "/zerrow";
  return "/tmp/zerrow-" + std::to_string(::geteuid());
}

Result<Address> Address::Open(const std::string& folder) {
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) {
    if (errno == ENOENT) return Status::KeyError("there is no ", folder);
    if (errno == ENOTDIR || errno == ELOOP) {
      return Status::Invalid(folder, " isn't a folder; remove it");
    }
    return base::ErrnoStatus(errno, folder);
  }
  ARROW_RETURN_NOT_OK(CheckFolder(folder, fd.get()));
  return Address(folder, std::move(fd));
}

Result<Address> Address::Make(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return base::ErrnoStatus(errno, "making " + folder);
  }
  return Open(folder);
}

Result<Address> Address::Again() const {
  ARROW_ASSIGN_OR_RAISE(UniqueFd fd, base::Duplicate(fd_.get()));
  return Address(folder_, std::move(fd));
}

Result<UniqueFd> Address::Connect(const Patience& patience) const {
  ARROW_ASSIGN_OR_RAISE(UniqueFd socket, MakeSocket(SOCK_NONBLOCK));
  const sockaddr_un address = SocketIn(fd_.get());
  while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
         0) {
    if (errno == ENOENT || errno == ECONNREFUSED) return Status::KeyError("nobody listens");
    if (errno != EAGAIN) return base::ErrnoStatus(errno, "connecting to " + socket_path());
    // Its backlog is full, as that of a stopped engine is at some time.
    ARROW_RETURN_NOT_OK(patience.Check());
    std::this_thread::sleep_for(kConnectPause);
  }
  return socket;
}

Result<UniqueFd> Address::Lock() const {
  UniqueFd lock(::openat(fd_.get(), kLock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!lock.valid()) return base::ErrnoStatus(errno, folder_ + "/" + kLock);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return Status::AlreadyExists("an engine is there already");
    return base::ErrnoStatus(errno, folder_ + "/" + kLock);
  }
  return lock;
}

Result<UniqueFd> Address::Listen() const {
  ARROW_ASSIGN_OR_RAISE(UniqueFd socket, MakeSocket());
  RemoveSocket();
  const sockaddr_un address = SocketIn(fd_.get());
  // The folder is closed to others, so that nobody connects before the mode is set.
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::fchmodat(fd_.get(), kSocket, 0600, 0) != 0 || ::listen(socket.get(), kBacklog) != 0) {
    return base::ErrnoStatus(errno, "listening on " + socket_path());
  }
  return socket;
}

void Address::RemoveSocket() const { ::unlinkat(fd_.get(), kSocket, 0); }

Result<UniqueFd> Address::OpenLog() const {
  UniqueFd log(
      ::openat(fd_.get(), kLog, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!log.valid()) return base::ErrnoStatus(errno, log_path());
  return log;
}

}  // namespace zerrow::server
