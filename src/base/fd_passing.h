// Packets with file descriptors over Unix sockets (SCM_RIGHTS).
//
// Thread safety: none of its own. Nothing here allocates before the system call, so that SendPacket
// may be used between fork and exec.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <span>
#include <vector>

#include "base/fd.h"

namespace zerrow::base {

/// Of one packet; the kernel's SCM_MAX_FD is 253.
inline constexpr size_t kMaxFdsInPacket = 250;

/// sendmsg of `parts` and `fds`, which stay the caller's, with MSG_NOSIGNAL and `flags`: the bytes
/// sent, or -1 and errno (EINVAL: more than kMaxFdsInPacket). Not repeated after a signal.
ssize_t SendPacket(int socket, std::span<iovec> parts, std::span<const int> fds, int flags = 0);

struct ReceivedPacket {
  ssize_t bytes = -1;  // -1: see errno
  std::vector<UniqueFd> fds;
  bool truncated = false;  // bytes or descriptors were lost for want of room
  bool exhausted = false;  // descriptors were lost as this process may open no more files
};

/// recvmsg into `part` with `flags`; descriptors are close-on-exec, and the kernel closes those
/// beyond `max_fds` (at most kMaxFdsInPacket). Not repeated after a signal.
ReceivedPacket ReceivePacket(int socket, iovec part, int flags = 0,
                             size_t max_fds = kMaxFdsInPacket);

}  // namespace zerrow::base
