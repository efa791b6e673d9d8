#include "shm/shim/test_broker.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "shm/broker_protocol.h"

namespace zerrow::shim {

TestBroker::TestBroker() {
  chunks_.reserve(1024);
  int ends[2] = {};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
  worker_end_ = ends[0];
  broker_end_ = ends[1];
  thread_ = std::thread([this] { Serve(); });
}

TestBroker::~TestBroker() {
  ::shutdown(broker_end_, SHUT_RDWR);
  thread_.join();
  ::close(broker_end_);
  if (worker_end_ >= 0) ::close(worker_end_);
  for (const Chunk& chunk : chunks_) ::close(chunk.fd);
}

int TestBroker::TakeSocket() { return std::exchange(worker_end_, -1); }

void TestBroker::set_refusing(bool refusing) {
  const std::lock_guard lock(mutex_);
  refusing_ = refusing;
}

size_t TestBroker::granted() const {
  const std::lock_guard lock(mutex_);
  size_t count = 0;
  for (const Chunk& chunk : chunks_) count += chunk.free ? 0 : 1;
  return count;
}

size_t TestBroker::released() const {
  const std::lock_guard lock(mutex_);
  return released_;
}

size_t TestBroker::backed_bytes() const {
  const std::lock_guard lock(mutex_);
  size_t bytes = 0;
  for (const Chunk& chunk : chunks_) {
    struct stat status = {};
    if (!chunk.free && ::fstat(chunk.fd, &status) == 0) {
      bytes += static_cast<size_t>(status.st_blocks) * 512;
    }
  }
  return bytes;
}

bool TestBroker::Read(uint64_t segment, uint64_t offset, void* out, size_t size) const {
  const std::lock_guard lock(mutex_);
  if (segment == 0 || segment > chunks_.size()) return false;
  return ::pread(chunks_[segment - 1].fd, out, size, static_cast<off_t>(offset)) ==
         static_cast<ssize_t>(size);
}

void TestBroker::Serve() {
  for (;;) {
    zerrow_broker_request request = {};
    const ssize_t received = ::recv(broker_end_, &request, sizeof(request), 0);
    if (received < 0 && errno == EINTR) continue;
    if (received != sizeof(request)) return;
    const std::lock_guard lock(mutex_);
    if (request.op == ZERROW_BROKER_GRANT) {
      Grant(request.size_bytes);
    } else {
      Release(request.segment);
    }
  }
}

void TestBroker::set_limit_bytes(size_t limit_bytes) {
  const std::lock_guard lock(mutex_);
  limit_bytes_ = limit_bytes;
}

void TestBroker::MakeFree(size_t size_bytes) {
  const std::lock_guard lock(mutex_);
  Make(size_bytes);
}

TestBroker::Chunk* TestBroker::FindOrMake(size_t size_bytes) {
  for (Chunk& chunk : chunks_) {
    if (chunk.free && chunk.size_bytes >= size_bytes) return &chunk;
  }
  return Make(size_bytes);
}

TestBroker::Chunk* TestBroker::Make(size_t size_bytes) {
  const int fd = ::memfd_create("test-chunk", MFD_CLOEXEC);
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(size_bytes)) != 0) std::abort();
  chunks_.push_back({chunks_.size() + 1, size_bytes, fd, true, false});
  return &chunks_.back();
}

void TestBroker::Grant(size_t size_bytes) {
  zerrow_broker_reply reply = {};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part = {&reply, sizeof(reply)};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (refusing_ || size_bytes > limit_bytes_) {
    reply.error = ENOMEM;
  } else {
    Chunk* chunk = FindOrMake(size_bytes);
    reply = {chunk->segment, chunk->size_bytes, 0, chunk->dirty ? 1U : 0U};
    chunk->free = false;
    chunk->dirty = true;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &chunk->fd, sizeof(int));
  }
  ::sendmsg(broker_end_, &message, MSG_NOSIGNAL);
}

void TestBroker::Release(uint64_t segment) {
  if (segment == 0 || segment > chunks_.size()) std::abort();
  Chunk& chunk = chunks_[segment - 1];
  unsigned char stale[4096];
  std::memset(stale, kStaleByte, sizeof(stale));
  for (size_t at = 0; at < chunk.size_bytes; at += 16 * sizeof(stale)) {
    if (::pwrite(chunk.fd, stale, sizeof(stale), static_cast<off_t>(at)) < 0) std::abort();
  }
  chunk.free = true;
  ++released_;
}

}  // namespace zerrow::shim
