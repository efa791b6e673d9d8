#include "shm/chunk_broker.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <span>
#include <utility>

#include "base/fd_passing.h"
#include "base/machine.h"
#include "shm/broker_protocol.h"

namespace zerrow::shm {

namespace {

// In epoll's answers the worker's id stands for its socket; this one is the eventfd's.
constexpr uint64_t kStop = std::numeric_limits<uint64_t>::max();
// Of a worker's chunks that one question about its memory looks at: a system call each.
constexpr int kLooksPerQuestion = 64;

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

// A worker can make its chunk longer, or put memory behind its end. To take that back costs the
// broker's thread more than others should wait for.
bool IsAsGranted(const Chunk& chunk) {
  return CheckSize(chunk.writable.get(), chunk.size_bytes).ok() &&
         BackedBytes(chunk) <= chunk.size_bytes;
}

bool SendRefusal(int socket, int error) {
  zerrow_broker_reply reply{};
  reply.error = static_cast<uint32_t>(error);
  return SendReply(socket, reply, -1);
}

}  // namespace

struct ChunkBroker::Worker {
  struct Held {
    Chunk chunk;
    int64_t backed_bytes = 0;  // when it was looked at last
  };

  // The conversation has ended and the socket is out of epoll. It is closed with the worker, as
  // the broker's thread may be using it.
  bool hung_up = false;
  // Whoever took the worker has its chunks; what the broker's thread has in hand goes back.
  bool taken = false;
  base::UniqueFd socket;
  std::map<SegmentId, Held> chunks;
  SegmentId looked_at = 0;    // where BackedBytes goes on
  int64_t backed_bytes = 0;   // sum of those
  int64_t granted_bytes = 0;  // of `chunks` and of those in the broker's hands
  int64_t granted_chunks = 0;

  void Add(SegmentId id, Chunk chunk) { chunks.emplace(id, Held{std::move(chunk), 0}); }
  Chunk Remove(std::map<SegmentId, Held>::iterator held) {
    backed_bytes -= held->second.backed_bytes;
    Chunk chunk = std::move(held->second.chunk);
    chunks.erase(held);
    return chunk;
  }
};

ChunkBroker::ChunkBroker(std::shared_ptr<ChunkPool> pool, std::shared_ptr<SegmentIds> ids,
                         base::TaskThread::Handle reaper, BrokerOptions options)
    : pool_(std::move(pool)),
      ids_(std::move(ids)),
      reaper_(std::move(reaper)),
      options_(options),
      largest_bytes_(base::MachineMemoryBytes()) {}

arrow::Result<std::unique_ptr<ChunkBroker>> ChunkBroker::Make(std::shared_ptr<ChunkPool> pool,
                                                              std::shared_ptr<SegmentIds> ids,
                                                              base::TaskThread::Handle reaper,
                                                              BrokerOptions options) {
  std::unique_ptr<ChunkBroker> broker(
      new ChunkBroker(std::move(pool), std::move(ids), std::move(reaper), options));
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
    for (auto& [segment, held] : worker->chunks) pool_->Give(std::move(held.chunk));
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
  auto worker = std::make_shared<Worker>();
  worker->socket = std::move(ours);
  workers_.emplace(worker_id, std::move(worker));
  return theirs;
}

std::vector<GrantedChunk> ChunkBroker::TakeWorker(uint64_t worker_id) {
  std::vector<GrantedChunk> out;
  std::shared_ptr<Worker> worker;
  {
    std::lock_guard lock(mutex_);
    const auto found = workers_.find(worker_id);
    if (found == workers_.end()) return out;
    worker = std::move(found->second);
    workers_.erase(found);
    Hangup(*worker);
    worker->taken = true;
    for (auto& [id, held] : worker->chunks) out.push_back({id, std::move(held.chunk)});
  }
  // Whatever files it has sent along with requests that nobody read end with its socket.
  reaper_.Post([worker = std::move(worker)]() mutable { worker.reset(); });
  return out;
}

int64_t ChunkBroker::BackedBytes(uint64_t worker_id) {
  std::lock_guard lock(mutex_);
  const auto found = workers_.find(worker_id);
  if (found == workers_.end()) return 0;
  Worker& worker = *found->second;
  const auto count = std::min<size_t>(kLooksPerQuestion, worker.chunks.size());
  auto next = worker.chunks.upper_bound(worker.looked_at);
  for (size_t i = 0; i < count; ++i) {
    if (next == worker.chunks.end()) next = worker.chunks.begin();
    auto& [id, held] = *next++;
    const int64_t backed_bytes = shm::BackedBytes(held.chunk);
    worker.backed_bytes += backed_bytes - std::exchange(held.backed_bytes, backed_bytes);
    worker.looked_at = id;
  }
  return worker.backed_bytes;
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
  std::shared_ptr<Worker> worker;
  {
    std::lock_guard lock(mutex_);
    const auto found = workers_.find(worker_id);
    // Taken, or hung up, since epoll answered.
    if (found == workers_.end() || found->second->hung_up) return;
    worker = found->second;
  }
  zerrow_broker_request request;
  // Descriptors that a peer sends along are closed by the kernel, as there is no room for them.
  const ssize_t got =
      ::recv(worker->socket.get(), &request, sizeof(request), MSG_DONTWAIT | MSG_TRUNC);
  // Nothing there: epoll's answer was about an earlier worker of this id.
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  bool served = got == static_cast<ssize_t>(sizeof(request)) && WellFormed(request);
  if (served) {
    served = request.op == ZERROW_BROKER_GRANT ? Grant(*worker, request.size_bytes)
                                               : Release(*worker, request.segment);
  }
  if (served) return;
  std::lock_guard lock(mutex_);
  Hangup(*worker);
}

bool ChunkBroker::Reserve(Worker& worker, uint64_t asked_bytes, int64_t* size_bytes) const {
  if (asked_bytes > static_cast<uint64_t>(largest_bytes_)) return false;
  *size_bytes = WholeHugePages(static_cast<int64_t>(asked_bytes));
  const auto within = [](int64_t limit, int64_t value) { return limit == 0 || value <= limit; };
  if (!within(options_.worker_limit_chunks, worker.granted_chunks + 1) ||
      !within(options_.worker_limit_bytes, worker.granted_bytes + *size_bytes)) {
    return false;
  }
  ++worker.granted_chunks;
  worker.granted_bytes += *size_bytes;
  return true;
}

bool ChunkBroker::Grant(Worker& worker, uint64_t asked_bytes) {
  int64_t size_bytes = 0;
  {
    std::lock_guard lock(mutex_);
    if (!Reserve(worker, asked_bytes, &size_bytes)) {
      return SendRefusal(worker.socket.get(), ENOMEM);
    }
  }
  auto chunk = pool_->Take(size_bytes);
  auto fd = chunk.ok() ? pool_->source().OpenForWriting(*chunk) : chunk.status();
  std::unique_lock lock(mutex_);
  if (!fd.ok() || worker.taken) {
    --worker.granted_chunks;
    worker.granted_bytes -= size_bytes;
    const bool goes_on = !worker.taken && SendRefusal(worker.socket.get(), ENOMEM);
    lock.unlock();
    if (fd.ok()) *fd = base::UniqueFd();
    if (chunk.ok()) pool_->Give(std::move(*chunk));
    return goes_on;
  }
  zerrow_broker_reply reply{};
  reply.segment = ids_->Next();
  reply.size_bytes = static_cast<uint64_t>(chunk->size_bytes);
  reply.dirty = chunk->dirty ? 1 : 0;
  // It may be more than was asked.
  worker.granted_bytes += chunk->size_bytes - size_bytes;
  // Recorded first: whatever becomes of the reply, the descriptor may have left. Sent and closed
  // here before anybody can take the chunk, who would find that somebody can still write to it.
  worker.Add(reply.segment, std::move(*chunk));
  const bool sent = SendReply(worker.socket.get(), reply, fd->get());
  *fd = base::UniqueFd();
  return sent;
}

bool ChunkBroker::Release(Worker& worker, SegmentId id) {
  std::unique_lock lock(mutex_);
  const auto found = worker.chunks.find(id);
  if (found == worker.chunks.end()) return false;
  Chunk chunk = worker.Remove(found);
  lock.unlock();
  const int64_t size_bytes = chunk.size_bytes;
  const bool given = IsAsGranted(chunk) && pool_->TryGive(chunk).ok();
  lock.lock();
  if (given) {
    --worker.granted_chunks;
    worker.granted_bytes -= size_bytes;
  } else if (!worker.taken) {
    // A worker that still holds it has lied, or a fork of it has: then it stays with the worker
    // and in its limit until both are gone.
    worker.Add(id, std::move(chunk));
  } else {
    lock.unlock();
    pool_->Give(std::move(chunk));
  }
  return true;
}

void ChunkBroker::Hangup(Worker& worker) {
  if (std::exchange(worker.hung_up, true)) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, worker.socket.get(), nullptr);
  ::shutdown(worker.socket.get(), SHUT_RDWR);
}

}  // namespace zerrow::shm
