// The resident engine: one Engine behind a Unix socket, for all commands of one user.
//
// Serve runs on the caller's thread; each client has a thread of its own. All that clients' runs
// made is gone when Serve returns. If the process is killed the kernel takes everything with it but
// the socket's name, which the next engine removes.
#pragma once

#include <arrow/result.h>

#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "base/fd.h"
#include "engine/cancel_token.h"
#include "engine/engine.h"
#include "server/address.h"
#include "server/session.h"

namespace zerrow::server {

class Server {
 public:
  static constexpr size_t kMaxClients = 1000;

  /// Listens from then on. AlreadyExists: there is such an engine. Invalid, IOError.
  static arrow::Result<std::unique_ptr<Server>> Make(const Address& address, std::string version,
                                                     engine::EngineOptions options,
                                                     size_t max_clients = kMaxClients);
  ~Server();

  /// Serves clients until `stop` is cancelled or one of them asks for the end; then cancels all
  /// runs, tells their clients and returns. IOError: it can't listen any more.
  arrow::Status Serve(const engine::CancelToken& stop);

 private:
  Server(Address address, base::UniqueFd lock, base::UniqueFd socket, base::UniqueFd wake,
         std::unique_ptr<engine::Engine> engine, std::string version, size_t max_clients);
  void Accept();
  void Admit(base::UniqueFd socket);
  void EndSessions();
  void Wake() const;
  void DestroyEnded();
  bool AnyRun() const;
  int64_t Stop();
  nlohmann::json Describe() const;

  const size_t max_clients_;
  const Address address_;
  const base::UniqueFd lock_;
  base::UniqueFd socket_;
  const base::UniqueFd wake_;  // an eventfd: a session has ended, or asks for the end
  std::unique_ptr<engine::Engine> engine_;
  SessionHost host_;
  mutable std::mutex mutex_;  // of what follows
  std::list<std::unique_ptr<Session>> sessions_;
};

}  // namespace zerrow::server
