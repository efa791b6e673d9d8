#include "base/fd_passing.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace zerrow::base {

namespace {

struct alignas(cmsghdr) Control {
  std::array<char, CMSG_SPACE(sizeof(int) * kMaxFdsInPacket)> bytes{};
};

}  // namespace

ssize_t SendPacket(int socket, std::span<iovec> parts, std::span<const int> fds, int flags) {
  if (fds.size() > kMaxFdsInPacket) {
    errno = EINVAL;
    return -1;
  }
  Control control;
  msghdr header{};
  header.msg_iov = parts.data();
  header.msg_iovlen = parts.size();
  if (!fds.empty()) {
    header.msg_control = control.bytes.data();
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  return ::sendmsg(socket, &header, MSG_NOSIGNAL | flags);
}

ReceivedPacket ReceivePacket(int socket, iovec part, int flags, size_t max_fds) {
  Control control;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  max_fds = std::min(max_fds, kMaxFdsInPacket);
  // Without the padding at its end, in which another descriptor would have room.
  header.msg_control = control.bytes.data();
  header.msg_controllen = CMSG_LEN(max_fds * sizeof(int));
  ReceivedPacket packet;
  packet.bytes = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC | flags);
  if (packet.bytes < 0) return packet;
  for (cmsghdr* rights = CMSG_FIRSTHDR(&header); rights != nullptr;
       rights = CMSG_NXTHDR(&header, rights)) {
    if (rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    std::vector<int> raw(count);
    std::memcpy(raw.data(), CMSG_DATA(rights), count * sizeof(int));
    packet.fds.reserve(count);
    for (int fd : raw) packet.fds.emplace_back(fd);
  }
  // The flag says both that there were more than have room and that the rest couldn't be opened.
  const bool lost = (header.msg_flags & MSG_CTRUNC) != 0;
  packet.exhausted = lost && packet.fds.size() < max_fds;
  packet.truncated = (header.msg_flags & MSG_TRUNC) != 0 || (lost && !packet.exhausted);
  return packet;
}

}  // namespace zerrow::base
