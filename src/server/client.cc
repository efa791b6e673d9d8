#include "server/client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>
#include <utility>

#include "base/child_process.h"
#include "shm/segment.h"

namespace zerrow::server {

using arrow::Result;
using engine::RunQueue;
using std::chrono::milliseconds;

namespace {

// For a message that has begun.
constexpr milliseconds kRestPatience{10'000};
// Runs are cancelled, processes end.
constexpr milliseconds kStopPatience{60'000};

arrow::Status Gone() {
  return arrow::Status::IOError("the resident engine ended before the run did");
}

arrow::Status Closed() {
  return arrow::Status::IOError(
      "the resident engine has closed the connection: it is stopping, or can't take another "
      "client");
}

arrow::Status OutOfTurn() {
  return arrow::Status::IOError("the resident engine says something out of turn");
}

// While it lives, cancels the run when the token says so: whoever waits for the run may be held up
// by its terminal.
class CancelWatcher {
 public:
  CancelWatcher(Connection& connection, const engine::CancelToken& token)
      : end_(::eventfd(0, EFD_CLOEXEC)), thread_([this, &connection, token] {
          std::array<pollfd, 2> watched = {{{token.fd(), POLLIN, 0}, {end_.get(), POLLIN, 0}}};
          while (::poll(watched.data(), watched.size(), -1) < 0) {
          }
          if (watched[0].revents != 0) connection.Cancel();
        }) {}
  ~CancelWatcher() {
    const uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(end_.get(), &one, sizeof(one));
    thread_.join();
  }
  CancelWatcher(const CancelWatcher&) = delete;
  CancelWatcher& operator=(const CancelWatcher&) = delete;

 private:
  base::UniqueFd end_;
  std::thread thread_;
};

Result<base::UniqueFd> OpenFolder(const std::string& path) {
  base::UniqueFd fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return base::ErrnoStatus(errno, path);
  return fd;
}

}  // namespace

Result<std::shared_ptr<Connection>> Connection::Open(const Address& address,
                                                     const std::string& version,
                                                     const Patience& patience) {
  ARROW_ASSIGN_OR_RAISE(auto socket, address.Connect(patience));
  std::shared_ptr<Connection> connection(new Connection(std::move(socket)));
  ARROW_RETURN_NOT_OK(connection->Send(Hello{version}));
  ARROW_ASSIGN_OR_RAISE(Reply reply, connection->Answer(patience));
  if (!std::holds_alternative<Welcome>(reply)) return OutOfTurn();
  connection->welcome_ = std::get<Welcome>(std::move(reply));
  return connection;
}

Result<std::shared_ptr<Connection>> Connection::ToEngine(const std::string& version,
                                                         const Patience& patience) {
  auto address = Address::Open(RuntimeFolder());
  auto connection = address.ok() ? Open(*address, version, patience) : address.status();
  if (connection.status().IsKeyError()) {
    return arrow::Status::KeyError("no resident engine is running; start it: zerrow engine start");
  }
  if (!connection.ok() || (*connection)->welcome_.refusal.empty()) return connection;
  return arrow::Status::IOError((*connection)->welcome_.refusal);
}

// Also for descriptors that a process has which was forked from this one.
Connection::~Connection() {
  if (::getpid() == owner_) ::shutdown(channel_.fd(), SHUT_RDWR);
}

arrow::Status Connection::Send(const Request& request, std::span<const int> fds) {
  const std::lock_guard lock(sending_);
  const arrow::Status sent = channel_.Send(ToJson(request), fds);
  return sent.IsIOError() ? Closed() : sent;
}

// Nullopt: the engine has gone.
Result<std::optional<Connection::Received>> Connection::Receive() {
  ARROW_ASSIGN_OR_RAISE(auto message, channel_.Receive(kRestPatience));
  if (!message) return std::nullopt;
  ARROW_ASSIGN_OR_RAISE(Reply reply, ParseReply(message->body));
  return Received{std::move(reply), std::move(message->fds)};
}

// To a question; its failure is the engine's answer, too.
Result<Reply> Connection::Answer(const Patience& patience) {
  ARROW_RETURN_NOT_OK(patience.Await(channel_.fd()));
  ARROW_ASSIGN_OR_RAISE(auto received, Receive());
  if (!received) return Closed();
  if (auto* failed = std::get_if<Failed>(&received->reply)) return failed->status;
  return std::move(received->reply);
}

arrow::Status Connection::Submit(const Wanted& wanted, const Patience& patience) {
  ARROW_ASSIGN_OR_RAISE(const auto project, OpenFolder(wanted.options.project_dir));
  std::vector<int> fds = {project.get()};
  base::UniqueFd output;
  if (wanted.options.output_dir) {
    ARROW_ASSIGN_OR_RAISE(output, OpenFolder(*wanted.options.output_dir));
    fds.push_back(output.get());
  }
  result_ = {};
  tables_.clear();
  ARROW_RETURN_NOT_OK(Send(wanted, fds));
  ARROW_ASSIGN_OR_RAISE(const Reply reply, Answer(patience));
  return std::holds_alternative<Accepted>(reply) ? arrow::Status::OK() : OutOfTurn();
}

void Connection::Cancel() {
  // An engine that is gone has nothing to cancel.
  [[maybe_unused]] const arrow::Status status = Send(server::Cancel{});
}

std::optional<RunQueue::Item> Connection::Take(milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd waited{channel_.fd(), POLLIN, 0};
    const int ready = ::poll(&waited, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready == 0 || (ready < 0 && errno == EINTR)) return std::nullopt;
    auto received = Receive();
    if (!received.ok()) {
      // Nobody else has a hand in it: the engine broke off in the middle of a message.
      return RunQueue::Item(RunQueue::Done(received.status()));
    }
    if (!*received) return RunQueue::Item(RunQueue::Done(Gone()));
    if (auto item = Sort(**std::move(received))) return item;
  }
}

// Nullopt: a part of what the run has left.
std::optional<RunQueue::Item> Connection::Sort(Received received) {
  Reply& reply = received.reply;
  if (auto* event = std::get_if<engine::RunEvent>(&reply)) return RunQueue::Item(std::move(*event));
  if (auto* failed = std::get_if<Failed>(&reply)) {
    return RunQueue::Item(RunQueue::Done(failed->status));
  }
  if (auto* finished = std::get_if<Finished>(&reply)) {
    auto parts = std::exchange(result_, {});
    RunReport report = std::move(finished->report);
    report.models = std::move(parts.report.models);
    report.errors = std::move(parts.report.errors);
    report.previews = std::move(parts.report.previews);
    parts.report = std::move(report);
    parts.tables = TakeTables();
    return RunQueue::Item(RunQueue::Done(std::move(parts)));
  }
  if (auto* model = std::get_if<ResultModel>(&reply)) {
    result_.report.models.push_back(std::move(model->report));
  } else if (auto* error = std::get_if<ResultError>(&reply)) {
    result_.report.errors.push_back(std::move(error->error));
  } else if (auto* preview = std::get_if<Preview>(&reply)) {
    result_.report.previews.push_back(std::move(*preview));
  } else if (auto* explanation = std::get_if<ResultExplanation>(&reply)) {
    explanation_ = std::move(*explanation);
  } else if (auto* part = std::get_if<ResultTablePart>(&reply)) {
    const arrow::Status added = AddTable(std::move(*part), std::move(received.fds));
    if (!added.ok()) return RunQueue::Item(RunQueue::Done(added));
  } else {
    return RunQueue::Item(RunQueue::Done(OutOfTurn()));
  }
  return std::nullopt;
}

arrow::Status Connection::AddTable(ResultTablePart part, std::vector<base::UniqueFd> fds) {
  const auto ids = part.table->AllSegments();
  if (ids.size() != fds.size()) {
    return arrow::Status::SerializationError("a table with a wrong number of segments");
  }
  engine::ResultTable::Segments segments;
  for (size_t i = 0; i < fds.size(); ++i) {
    ARROW_ASSIGN_OR_RAISE(auto segment, shm::Segment::FromElsewhere(ids[i].id, std::move(fds[i])));
    segments.emplace(ids[i].id, engine::ResultTable::Held{std::move(segment), nullptr});
  }
  tables_[part.model] = {std::move(part.table), std::move(segments)};
  return arrow::Status::OK();
}

std::map<std::string, std::shared_ptr<const engine::ResultTable>> Connection::TakeTables() {
  std::map<std::string, std::shared_ptr<const engine::ResultTable>> tables;
  // The engine keeps the tables' bytes until this connection goes.
  const auto on_drop = [connection = shared_from_this()] {};
  for (auto& [model, part] : std::exchange(tables_, {})) {
    tables.emplace(model, std::make_shared<const engine::ResultTable>(
                              std::move(part.table), std::move(part.segments), on_drop));
  }
  return tables;
}

RunQueue::Done Connection::Wait(RunObserver& observer, const engine::CancelToken& cancel) {
  const CancelWatcher watcher(*this, cancel);
  while (true) {
    auto item = Take(std::chrono::hours(1));
    if (!item) continue;
    if (auto* done = std::get_if<RunQueue::Done>(&*item)) return std::move(*done);
    engine::Tell(observer, std::get<engine::RunEvent>(*item));
  }
}

Result<nlohmann::json> Connection::Status(const Patience& patience) {
  ARROW_RETURN_NOT_OK(Send(StatusWanted{}));
  ARROW_ASSIGN_OR_RAISE(Reply reply, Answer(patience));
  auto* status = std::get_if<StatusReport>(&reply);
  if (status == nullptr) return OutOfTurn();
  return std::move(status->document);
}

Result<nlohmann::json> Connection::Cache(bool clear, const Patience& patience) {
  ARROW_RETURN_NOT_OK(Send(CacheWanted{clear}));
  ARROW_ASSIGN_OR_RAISE(Reply reply, Answer(patience));
  auto* cache = std::get_if<CacheReport>(&reply);
  if (cache == nullptr) return OutOfTurn();
  return std::move(cache->document);
}

Result<int64_t> Connection::Stop() {
  // Invalid: it has gone already, or isn't visible from here.
  const auto engine = base::OpenPidfd(static_cast<pid_t>(welcome_.pid));
  ARROW_RETURN_NOT_OK(Send(StopWanted{}));
  ARROW_RETURN_NOT_OK(Patience().Await(channel_.fd()));
  ARROW_ASSIGN_OR_RAISE(const auto received, Receive());
  const auto* stopping = received ? std::get_if<Stopping>(&received->reply) : nullptr;
  const int64_t runs = stopping != nullptr ? stopping->runs : 0;
  pollfd ended{engine.ok() ? engine->get() : -1, POLLIN, 0};
  if (engine.ok() && ::poll(&ended, 1, static_cast<int>(kStopPatience.count())) != 1) {
    return arrow::Status::IOError("the resident engine, process ", welcome_.pid, ", doesn't stop");
  }
  return runs;
}

}  // namespace zerrow::server
