#include "shm/chunk_broker.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <span>
#include <utility>

#include "base/fd_passing.h"
#include "shm/broker_protocol.h"

namespace zerrow::shm {

namespace {

// In epoll's answers the worker's id stands for its socket; this one is the eventfd's.
constexpr uint64_t kStop = std::numeric_limits<uint64_t>::max();
// Sizes are whole huge pages.
constexpr int64_t kGranuleBytes = 2 << 20;

int64_t TotalMemoryBytes() {
  struct sysinfo info;
  if (::sysinfo(&info) != 0) return std::numeric_limits<int64_t>::max() / 2;
  return static_cast<int64_t>(info.totalram) * info.mem_unit;
}

bool WellFormed(const zerrow_broker_request& request) {
  if (request.reserved != 0) return false;
  if (request.op == ZERROW_BROKER_GRANT) return request.size_bytes > 0 && request.segment == 0;
  return request.op == ZERROW_BROKER_RELEASE && request.size_bytes == 0;
}

// False: the worker is gone, or doesn't read its replies.
bool SendReply(int socket, const zerrow_broker_reply& reply, int fd) {
  iovec part{const_cast<zerrow_broker_reply*>(&reply), sizeof(reply)};
  const auto fds = std::span(&fd, fd >= 0 ? 1 : 0);
  return base::SendPacket(socket, {&part, 1}, fds, MSG_DONTWAIT) ==
         static_cast<ssize_t>(sizeof(reply));
}

bool SendRefusal(int socket, int error) {
  zerrow_broker_reply reply{};
  reply.error = static_cast<uint32_t>(error);
  return SendReply(socket, reply, -1);
}

}  // namespace

// The socket is closed, and out of epoll, as soon as the conversation has ended; the chunks stay.
struct ChunkBroker::Worker {
  base::UniqueFd socket;
  std::map<SegmentId, Chunk> chunks;
  int64_t granted_bytes = 0;
};

ChunkBroker::ChunkBroker(std::shared_ptr<ChunkPool> pool, std::shared_ptr<SegmentIds> ids,
                         BrokerOptions options)
    : pool_(std::move(pool)),
      ids_(std::move(ids)),
      options_(options),
      largest_bytes_(TotalMemoryBytes()) {}

arrow::Result<std::unique_ptr<ChunkBroker>> ChunkBroker::Make(std::shared_ptr<ChunkPool> pool,
                                                              std::shared_ptr<SegmentIds> ids,
                                                              BrokerOptions options) {
  std::unique_ptr<ChunkBroker> broker(new ChunkBroker(std::move(pool), std::move(ids), options));
  broker->epoll_ = base::UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!broker->epoll_.valid()) return base::ErrnoStatus(errno, "epoll_create1");
  broker->stop_ = base::UniqueFd(::eventfd(0, EFD_CLOEXEC));
  if (!broker->stop_.valid()) return base::ErrnoStatus(errno, "eventfd");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kStop;
  if (::epoll_ctl(broker->epoll_.get(), EPOLL_CTL_ADD, broker->stop_.get(), &event) != 0) {
    return base::ErrnoStatus(errno, "epoll_ctl");
  }
  broker->thread_ = std::thread([raw = broker.get()] { raw->Serve(); });
  return broker;
}

ChunkBroker::~ChunkBroker() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    while (::write(stop_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
    }
    thread_.join();
  }
  for (auto& [id, worker] : workers_) {
    for (auto& [segment, chunk] : worker.chunks) pool_->Give(std::move(chunk));
  }
}

arrow::Result<base::UniqueFd> ChunkBroker::AddWorker(uint64_t worker_id) {
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return base::ErrnoStatus(errno, "socketpair");
  }
  base::UniqueFd ours(sockets[0]);
  base::UniqueFd theirs(sockets[1]);
  std::lock_guard lock(mutex_);
  if (worker_id == kStop || workers_.contains(worker_id)) {
    return arrow::Status::Invalid("worker ", worker_id, " is served already");
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = worker_id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, ours.get(), &event) != 0) {
    return base::ErrnoStatus(errno, "epoll_ctl");
  }
  workers_[worker_id].socket = std::move(ours);
  return theirs;
}

std::vector<GrantedChunk> ChunkBroker::TakeWorker(uint64_t worker_id) {
  std::vector<GrantedChunk> out;
  std::lock_guard lock(mutex_);
  const auto found = workers_.find(worker_id);
  if (found == workers_.end()) return out;
  Hangup(found->second);
  for (auto& [id, chunk] : found->second.chunks) out.push_back({id, std::move(chunk)});
  workers_.erase(found);
  return out;
}

int64_t ChunkBroker::BackedBytes(uint64_t worker_id) const {
  std::lock_guard lock(mutex_);
  const auto found = workers_.find(worker_id);
  if (found == workers_.end()) return 0;
  int64_t sum = 0;
  for (const auto& [id, chunk] : found->second.chunks) sum += shm::BackedBytes(chunk);
  return sum;
}

void ChunkBroker::Serve() {
  while (true) {
    epoll_event events[16];
    const int ready = ::epoll_wait(epoll_.get(), events, std::size(events), -1);
    if (ready < 0 && errno != EINTR) return;  // nobody is served any more; workers fall back
    for (int i = 0; i < ready; ++i) {
      if (events[i].data.u64 == kStop) return;
      ServeOne(events[i].data.u64);
    }
  }
}

void ChunkBroker::ServeOne(uint64_t worker_id) {
  std::lock_guard lock(mutex_);
  const auto found = workers_.find(worker_id);
  // Taken, or hung up, since epoll answered.
  if (found == workers_.end() || !found->second.socket.valid()) return;
  Worker& worker = found->second;
  zerrow_broker_request request;
  // Descriptors that a peer sends along are closed by the kernel, as there is no room for them.
  const ssize_t got =
      ::recv(worker.socket.get(), &request, sizeof(request), MSG_DONTWAIT | MSG_TRUNC);
  // Nothing there: epoll's answer was about an earlier worker of this id.
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  bool served = got == static_cast<ssize_t>(sizeof(request)) && WellFormed(request);
  if (served) {
    served = request.op == ZERROW_BROKER_GRANT ? Grant(worker, request.size_bytes)
                                               : Release(worker, request.segment);
  }
  if (!served) Hangup(worker);
}

bool ChunkBroker::Grant(Worker& worker, uint64_t asked_bytes) {
  const int socket = worker.socket.get();
  if (asked_bytes > static_cast<uint64_t>(largest_bytes_) ||
      static_cast<int64_t>(worker.chunks.size()) >= options_.worker_limit_chunks) {
    return SendRefusal(socket, ENOMEM);
  }
  const int64_t size_bytes =
      (static_cast<int64_t>(asked_bytes) + kGranuleBytes - 1) / kGranuleBytes * kGranuleBytes;
  if (options_.worker_limit_bytes > 0 &&
      worker.granted_bytes + size_bytes > options_.worker_limit_bytes) {
    return SendRefusal(socket, ENOMEM);
  }
  auto chunk = pool_->Take(size_bytes);
  if (!chunk.ok()) return SendRefusal(socket, ENOMEM);
  const auto fd = pool_->source().OpenForWriting(*chunk);
  if (!fd.ok()) {
    pool_->Give(std::move(*chunk));
    return SendRefusal(socket, ENOMEM);
  }
  zerrow_broker_reply reply{};
  reply.segment = ids_->Next();
  reply.size_bytes = static_cast<uint64_t>(chunk->size_bytes);
  reply.dirty = chunk->dirty ? 1 : 0;
  // Recorded first: whatever becomes of the reply, the descriptor may have left.
  worker.granted_bytes += chunk->size_bytes;
  worker.chunks.emplace(reply.segment, std::move(*chunk));
  return SendReply(socket, reply, fd->get());
}

bool ChunkBroker::Release(Worker& worker, SegmentId id) {
  const auto found = worker.chunks.find(id);
  if (found == worker.chunks.end()) return false;
  const int64_t size_bytes = found->second.size_bytes;
  // A worker that still holds it has lied, or a fork of it has: then it stays with the worker and
  // in its limit until both are gone.
  if (pool_->TryGive(found->second).ok()) {
    worker.granted_bytes -= size_bytes;
    worker.chunks.erase(found);
  }
  return true;
}

void ChunkBroker::Hangup(Worker& worker) {
  if (!worker.socket.valid()) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, worker.socket.get(), nullptr);
  ::shutdown(worker.socket.get(), SHUT_RDWR);
  worker.socket.reset();
}

}  // namespace zerrow::shm
