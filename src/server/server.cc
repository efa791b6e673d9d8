#include "server/server.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "base/exceptions.h"
#include "server/status.h"

namespace zerrow::server {

using arrow::Result;
using arrow::Status;
using base::UniqueFd;
using std::chrono::milliseconds;

namespace {

// More clients than there may be: they are told so, and may still ask for status or end.
constexpr size_t kRefusedClients = 100;
// For cancelled runs to end and their clients to hear of it.
constexpr std::chrono::seconds kStopPatience{8};
constexpr milliseconds kStopPause{10};
// A shortage of descriptors passes.
constexpr milliseconds kAcceptPause{100};

}  // namespace

Result<std::unique_ptr<Server>> Server::Make(const Address& address, std::string version,
                                             engine::EngineOptions options, size_t max_clients) {
  ARROW_ASSIGN_OR_RAISE(auto own_address, address.Again());
  ARROW_ASSIGN_OR_RAISE(UniqueFd lock, address.Lock());
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return base::ErrnoStatus(errno, "eventfd");
  ARROW_ASSIGN_OR_RAISE(auto engine, engine::Engine::Make(std::move(options)));
  ARROW_ASSIGN_OR_RAISE(UniqueFd socket, address.Listen());
  return std::unique_ptr<Server>(new Server(std::move(own_address), std::move(lock),
                                            std::move(socket), std::move(wake), std::move(engine),
                                            std::move(version), max_clients));
}

Server::Server(Address address, UniqueFd lock, UniqueFd socket, UniqueFd wake,
               std::unique_ptr<engine::Engine> engine, std::string version, size_t max_clients)
    : max_clients_(max_clients),
      address_(std::move(address)),
      lock_(std::move(lock)),
      socket_(std::move(socket)),
      wake_(std::move(wake)),
      engine_(std::move(engine)) {
  host_.version = std::move(version);
  host_.engine = engine_.get();
  host_.describe = [this] { return Describe(); };
  host_.stop = [this] { return Stop(); };
  host_.on_ended = [this] { Wake(); };
}

Server::~Server() { EndSessions(); }

Status Server::Serve(const engine::CancelToken& stop) {
  while (!host_.stopping && !stop.cancelled()) {
    std::array<pollfd, 3> watched = {
        {{socket_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}, {stop.fd(), POLLIN, 0}}};
    if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) {
      return base::ErrnoStatus(errno, "poll");
    }
    if ((watched[0].revents & (POLLERR | POLLNVAL)) != 0) {
      return Status::IOError("the engine's socket is broken");
    }
    if (watched[1].revents != 0) DestroyEnded();
    if (watched[0].revents != 0) Accept();
  }
  EndSessions();
  return Status::OK();
}

void Server::Accept() {
  UniqueFd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (socket.valid()) return Admit(std::move(socket));
  if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
    std::this_thread::sleep_for(kAcceptPause);
  }
}

// The folder is closed to others already; whoever gets a descriptor from its owner isn't served.
void Server::Admit(UniqueFd socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
      peer.uid != ::geteuid()) {
    return;
  }
  const std::lock_guard lock(mutex_);
  if (sessions_.size() >= max_clients_ + kRefusedClients) return;
  const bool refused = sessions_.size() >= max_clients_;
  const std::string refusal =
      refused ? "it has too many clients (" + std::to_string(max_clients_) + ")" : "";
  // No thread, no session: the client sees the connection end and runs its own engine.
  [[maybe_unused]] const Status status = base::CatchExceptions([&] {
    sessions_.push_back(std::make_unique<Session>(host_, std::move(socket), peer.pid, refusal));
    return Status::OK();
  });
}

void Server::Wake() const {
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof(one));
}

void Server::DestroyEnded() {
  uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(wake_.get(), &count, sizeof(count));
  std::list<std::unique_ptr<Session>> ended;
  const std::lock_guard lock(mutex_);
  for (auto session = sessions_.begin(); session != sessions_.end();) {
    const auto next = std::next(session);
    if ((*session)->ended()) ended.splice(ended.end(), sessions_, session);
    session = next;
  }
}

bool Server::AnyRun() const {
  const std::lock_guard lock(mutex_);
  for (const auto& session : sessions_) {
    if (session->has_run()) return true;
  }
  return false;
}

int64_t Server::Stop() {
  int64_t runs = 0;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& session : sessions_) runs += session->has_run() ? 1 : 0;
  }
  host_.stopping = true;
  Wake();
  return runs;
}

void Server::EndSessions() {
  if (engine_ == nullptr) return;
  host_.stopping = true;
  address_.RemoveSocket();
  socket_.reset();
  const auto deadline = std::chrono::steady_clock::now() + kStopPatience;
  while (AnyRun() && std::chrono::steady_clock::now() < deadline) {
    {
      const std::lock_guard lock(mutex_);
      for (const auto& session : sessions_) session->CancelRun();
    }
    std::this_thread::sleep_for(kStopPause);
  }
  std::list<std::unique_ptr<Session>> last;
  {
    const std::lock_guard lock(mutex_);
    last.swap(sessions_);
  }
  for (const auto& session : last) session->Close();
  for (const auto& session : last) session->Join();
  // Before the sessions' tables, which clients may go on reading: nobody is left who could be given
  // their pages. And as long as a client has them open, the kernel says so to whoever would.
  engine_.reset();
}

nlohmann::json Server::Describe() const {
  nlohmann::json runs = nlohmann::json::array();
  {
    const std::lock_guard lock(mutex_);
    for (const auto& session : sessions_) {
      if (auto run = session->Describe(); !run.is_null()) runs.push_back(std::move(run));
    }
  }
  auto document = StatusJson(*engine_);
  document["version"] = host_.version;
  document["runs"] = std::move(runs);
  return document;
}

}  // namespace zerrow::server
