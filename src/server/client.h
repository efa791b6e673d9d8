// The other end of the resident engine's socket: has runs done there instead of in this process.
//
// One connection does one run at a time. What the engine says is checked, but it is the user's own
// and trusted with the tables' bytes. Cancel may be called from any thread, the rest by one at a
// time. When the connection's last owner goes, its run is cancelled; each table that was taken is
// an owner.
#pragma once

#include <arrow/result.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/channel.h"
#include "engine/cancel_token.h"
#include "engine/run_queue.h"
#include "server/address.h"
#include "server/protocol.h"

namespace zerrow::server {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  /// KeyError: no engine listens there. Invalid: the folder isn't safe. IOError: it doesn't answer.
  /// Cancelled: by `patience`, here and below.
  static arrow::Result<std::shared_ptr<Connection>> Open(const Address& address,
                                                         const std::string& version,
                                                         const Patience& patience = Patience());
  /// The engine of this user's runtime folder, if it does this process's runs. KeyError: there is
  /// none; else as Open, and IOError: why not.
  static arrow::Result<std::shared_ptr<Connection>> ToEngine(const std::string& version,
                                                             const Patience& patience = Patience());
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Says also whether this process's runs are done there.
  const Welcome& welcome() const { return welcome_; }

  /// Begins a run, with absolute paths and the interpreter's: its news follow by Take. IOError,
  /// Invalid: nothing of it was begun.
  arrow::Status Submit(const Wanted& wanted, const Patience& patience = Patience());
  /// As RunQueue::Take. If the engine dies the run is done with an IOError that says so.
  std::optional<engine::RunQueue::Item> Take(std::chrono::milliseconds patience);
  void Cancel();
  /// Takes all and tells `observer`, on this thread; passes on a cancellation meanwhile, also while
  /// the observer is held up.
  engine::RunQueue::Done Wait(RunObserver& observer, const engine::CancelToken& cancel);
  /// Of a run that was only planned, once it is done.
  const ResultExplanation& explanation() const { return explanation_; }

  arrow::Result<nlohmann::json> Status(const Patience& patience = Patience());
  /// What the engine's cache of columns keeps; with `clear` it is emptied then.
  arrow::Result<nlohmann::json> Cache(bool clear, const Patience& patience = Patience());
  /// Has the engine stop and waits until it is gone; how many runs were cancelled.
  arrow::Result<int64_t> Stop();

 private:
  explicit Connection(base::UniqueFd socket) : channel_(std::move(socket)) {}
  struct TableParts {
    engine::TablePtr table;
    engine::ResultTable::Segments segments;
  };
  struct Received {
    Reply reply;
    std::vector<base::UniqueFd> fds;
  };
  arrow::Status Send(const Request& request, std::span<const int> fds = {});
  arrow::Result<std::optional<Received>> Receive();
  arrow::Result<Reply> Answer(const Patience& patience);
  std::optional<engine::RunQueue::Item> Sort(Received received);
  arrow::Status AddTable(ResultTablePart part, std::vector<base::UniqueFd> fds);
  std::map<std::string, std::shared_ptr<const engine::ResultTable>> TakeTables();

  base::Channel channel_;
  std::mutex sending_;
  Welcome welcome_;
  engine::RunResult result_;  // the parts that have come
  std::map<std::string, TableParts> tables_;
  ResultExplanation explanation_;
  const pid_t owner_ = ::getpid();
};

}  // namespace zerrow::server
