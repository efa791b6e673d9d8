#include "shm/shim/broker_client.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "shm/broker_protocol.h"

namespace zerrow::shim {

namespace {

bool Send(int socket, const zerrow_broker_request& request) {
  ssize_t sent = -1;
  do {
    sent = ::syscall(SYS_sendto, socket, &request, sizeof(request), MSG_NOSIGNAL, nullptr, 0);
  } while (sent < 0 && errno == EINTR);
  return sent == sizeof(request);
}

}  // namespace

bool BrokerClient::Open(int fd) {
  struct stat status = {};
  if (::fstat(fd, &status) != 0) return false;
  if (!S_ISSOCK(status.st_mode)) {
    ::syscall(SYS_close, fd);
    return false;
  }
  socket_.Keep(fd);
  return true;
}

bool BrokerClient::Request(size_t size_bytes, Grant* grant) {
  const int socket = socket_.get();
  if (socket < 0) return false;
  if (Send(socket, {ZERROW_BROKER_GRANT, 0, size_bytes, 0}) && Receive(socket, grant)) {
    if (grant->fd >= 0) return true;
  } else {
    socket_.Close();
  }
  return false;
}

void BrokerClient::Release(uint64_t segment) {
  const int socket = socket_.get();
  if (socket >= 0 && !Send(socket, {ZERROW_BROKER_RELEASE, 0, 0, segment})) socket_.Close();
}

// False if the conversation is over. A refusal is an answer: true with fd -1.
bool BrokerClient::Receive(int socket, Grant* grant) {
  zerrow_broker_reply reply = {};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part = {&reply, sizeof(reply)};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const DescriptorAllowance allowance;
  ssize_t received = -1;
  do {
    received = ::syscall(SYS_recvmsg, socket, &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);

  grant->fd = -1;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    std::memcpy(&grant->fd, CMSG_DATA(header), sizeof(int));
  }
  if (received != sizeof(reply)) return false;
  grant->segment = reply.segment;
  grant->size_bytes = reply.size_bytes;
  grant->dirty = reply.dirty != 0;
  return true;
}

}  // namespace zerrow::shim
