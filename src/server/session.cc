#include "server/session.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "base/child_process.h"
#include "base/exceptions.h"
#include "sandbox/process_view.h"
#include "server/status.h"

namespace zerrow::server {

using arrow::Result;
using engine::RunQueue;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds kGreetingPatience{10'000};
constexpr milliseconds kForever{-1};
// A client may be stopped for as long as it likes, and is told the rest when it goes on.
constexpr milliseconds kStoppedPatience = std::chrono::hours(24 * 7);
// While the engine stops, one that reads nothing for that long isn't told any more.
constexpr milliseconds kReaderPatience{1'000};

base::UniqueFd PidfdOf(pid_t pid) {
  auto pidfd = base::OpenPidfd(pid);
  return pidfd.ok() ? *std::move(pidfd) : base::UniqueFd();
}

// What of a run is too large to be told.
struct TooLarge {
  std::string operator()(const ResultTablePart& part) const {
    return "the table of '" + part.model + "'";
  }
  std::string operator()(const ResultModel& model) const {
    return "the report of '" + model.report.name + "'";
  }
  std::string operator()(const ResultExplanation& /*explanation*/) const {
    return "the explanation";
  }
  template <typename Other>
  std::string operator()(const Other& /*reply*/) const {
    return "the answer";
  }
};

// Whether a path means here what it means to the client, who has opened it.
arrow::Status CheckSameFolder(const std::string& path, int fd) {
  struct stat theirs {};
  struct stat ours {};
  if (::fstat(fd, &theirs) == 0 && ::stat(path.c_str(), &ours) == 0 &&
      theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino) {
    return arrow::Status::OK();
  }
  return arrow::Status::IOError(path, " isn't the same folder for it");
}

}  // namespace

Session::Session(const SessionHost& host, base::UniqueFd socket, pid_t client, std::string refusal)
    : host_(host),
      channel_(std::move(socket)),
      client_(client),
      client_end_(PidfdOf(client)),
      refusal_(std::move(refusal)),
      thread_([this] {
        // Nothing that a client causes may end the process.
        [[maybe_unused]] const arrow::Status status = base::CatchExceptions([this] {
          Serve();
          return arrow::Status::OK();
        });
        Close();
        ended_ = true;
        host_.on_ended();
      }) {}

void Session::Join() {
  if (thread_.joinable()) thread_.join();
}

void Session::CancelRun() const {
  if (const auto run = run_.load()) host_.engine->Cancel(run);
}

void Session::Close() const { ::shutdown(channel_.fd(), SHUT_RDWR); }

Result<std::optional<base::Message>> Session::Receive(milliseconds patience) {
  return channel_.Receive(patience, {.body_bytes = kMaxRequestBytes, .fds = kMaxRequestFds});
}

// Nobody reads from a socket any more that only a process forked from the client still holds.
bool Session::AwaitReader() const {
  std::array<pollfd, 2> watched = {{{channel_.fd(), POLLOUT, 0}, {client_end_.get(), POLLIN, 0}}};
  while (true) {
    const int ready =
        ::poll(watched.data(), watched.size(), static_cast<int>(kReaderPatience.count()));
    if (ready > 0) return watched[1].revents == 0;
    if (ready == 0 && host_.stopping) return false;
  }
}

bool Session::Send(const Reply& reply, std::span<const int> fds) {
  if (!AwaitReader()) return false;
  const arrow::Status sent = channel_.Send(ToJson(reply), fds, kStoppedPatience);
  if (!sent.IsCapacityError()) return sent.ok();
  Fail(arrow::Status::IOError(std::visit(TooLarge(), reply),
                              " is too large for the resident engine to send (", sent.message(),
                              "); use --engine own, or zerrow.run"));
  return false;
}

void Session::Serve() {
  if (!Greet()) return;
  while (true) {
    auto message = Receive(kForever);
    if (!message.ok()) {
      Fail(message.status());
      return;
    }
    if (!*message) return;
    auto request = ParseRequest((*message)->body);
    if (!request.ok()) {
      Fail(request.status());
      return;
    }
    if (!Answer(*request, std::move((*message)->fds))) return;
  }
}

bool Session::Greet() {
  auto message = Receive(kGreetingPatience);
  if (!message.ok() || !*message) return false;
  const auto request = ParseRequest((*message)->body);
  if (!request.ok() || !std::holds_alternative<Hello>(*request)) return false;
  Welcome welcome{host_.version, kProtocol, ::getpid(), ""};
  const auto& hello = std::get<Hello>(*request);
  if (hello.version != host_.version || hello.protocol != kProtocol) {
    welcome.refusal = "it is of another version, " + host_.version + " (protocol " +
                      std::to_string(kProtocol) + ")";
  } else if (!refusal_.empty()) {
    welcome.refusal = refusal_;
  } else {
    const auto client = sandbox::ProcessView::Of(client_);
    const auto own = sandbox::ProcessView::Of(::getpid());
    welcome.refusal =
        client.ok() && own.ok()
            ? sandbox::WhyElsewhere(*client, *own)
            : "it can't see this process (" + (client.ok() ? own : client).status().message() + ")";
  }
  return Send(welcome);
}

// False: nothing more is to be heard from this client.
bool Session::Answer(const Request& request, std::vector<base::UniqueFd> fds) {
  if (const auto* wanted = std::get_if<Wanted>(&request)) {
    // Before it looks whether the engine stops, which looks for runs once it does.
    running_ = true;
    const bool there = Run(*wanted, fds);
    running_ = false;
    return there;
  }
  if (std::holds_alternative<StatusWanted>(request)) return Send(StatusReport{host_.describe()});
  if (const auto* wanted = std::get_if<CacheWanted>(&request)) {
    auto report = CacheJson(*host_.engine, wanted->clear);
    return report.ok() ? Send(CacheReport{*std::move(report)}) : Fail(report.status());
  }
  if (std::holds_alternative<StopWanted>(request)) return Send(Stopping{host_.stop()});
  // A cancel that crossed with the run's end.
  if (std::holds_alternative<Cancel>(request)) return true;
  Fail(arrow::Status::Invalid("it has said hello already"));
  return false;
}

Result<engine::RunSpec> Session::SpecOf(const Wanted& wanted,
                                        const std::vector<base::UniqueFd>& fds) const {
  const size_t folders = wanted.options.output_dir ? 2 : 1;
  if (fds.size() != folders) return arrow::Status::Invalid("a run without its folders");
  ARROW_RETURN_NOT_OK(CheckSameFolder(wanted.options.project_dir, fds[0].get()));
  if (folders == 2) {
    ARROW_RETURN_NOT_OK(CheckSameFolder(*wanted.options.output_dir, fds[1].get()));
  }
  ARROW_ASSIGN_OR_RAISE(auto client, sandbox::ProcessView::Of(client_));
  ARROW_ASSIGN_OR_RAISE(const auto own, sandbox::ProcessView::Of(::getpid()));
  const std::string why = refusal_.empty() ? sandbox::WhyElsewhere(client, own) : refusal_;
  if (!why.empty()) {
    return arrow::Status::IOError(why);
  }
  engine::RunSpec spec;
  spec.options = wanted.options;
  spec.plan_only = wanted.plan_only;
  auto& surroundings = spec.surroundings.emplace();
  surroundings.python = wanted.python;
  surroundings.python_path = wanted.python_path;
  surroundings.environment = wanted.environment;
  surroundings.descriptors = client.limits.extract(RLIMIT_NOFILE).mapped().first;
  surroundings.attributes = {client.umask, client.niceness, std::move(client.cpus),
                             std::move(client.limits)};
  return spec;
}

bool Session::Run(const Wanted& wanted, const std::vector<base::UniqueFd>& fds) {
  if (host_.stopping) return Fail(arrow::Status::IOError("it is stopping"));
  auto spec = SpecOf(wanted, fds);
  if (!spec.ok()) return Fail(spec.status());
  auto queue = RunQueue::Make();
  if (!queue.ok()) return Fail(queue.status());
  // First: a client that doesn't hear it may have the run done elsewhere.
  if (!Send(Accepted{})) return false;
  {
    const std::lock_guard lock(mutex_);
    progress_.emplace().project_dir = wanted.options.project_dir;
  }
  run_ = host_.engine->Submit(*std::move(spec), RunQueue::Sink(*queue));
  (*queue)->OnRoom([this, run = run_.load()] { host_.engine->Resume(run); });
  const bool there = Follow(**queue, wanted.plan_only);
  run_ = 0;
  const std::lock_guard lock(mutex_);
  progress_.reset();
  return there;
}

// Until the run's end, also if the client has gone. Whether it is still there.
bool Session::Follow(RunQueue& queue, bool plan_only) {
  bool there = true;
  while (true) {
    // Without a client nobody speaks there any more.
    std::array<pollfd, 3> watched = {{{queue.fd(), POLLIN, 0},
                                      {there ? channel_.fd() : -1, POLLIN, 0},
                                      {there ? client_end_.get() : -1, POLLIN, 0}}};
    if (::poll(watched.data(), watched.size(), -1) < 0) continue;
    const bool was_there = there;
    if (watched[1].revents != 0) there = HearMeanwhile();
    if (watched[2].revents != 0) there = false;
    if (watched[0].revents != 0) {
      auto item = queue.Take(milliseconds(0));
      if (auto* event = item ? std::get_if<engine::RunEvent>(&*item) : nullptr) {
        there = there && Tell(std::move(*event));
      } else if (item) {
        return there && TellEnd(std::move(std::get<RunQueue::Done>(*item)), plan_only);
      }
    }
    if (was_there && !there) CancelRun();
  }
}

// While a run goes a client can only cancel it, or go.
bool Session::HearMeanwhile() {
  const auto message = Receive(milliseconds(0));
  if (!message.ok() || !*message) return false;
  const auto request = ParseRequest((*message)->body);
  if (!request.ok() || !std::holds_alternative<Cancel>(*request)) return false;
  CancelRun();
  return true;
}

bool Session::Tell(engine::RunEvent event) {
  Note(event);
  return Send(std::move(event));
}

void Session::Note(const engine::RunEvent& event) {
  const std::lock_guard lock(mutex_);
  if (const auto* planned = std::get_if<engine::Planned>(&event)) {
    progress_->total = planned->models.size();
  } else if (const auto* started = std::get_if<engine::ModelStarted>(&event)) {
    progress_->finished.erase(started->model);
    progress_->running.insert(started->model);
  } else if (const auto* finished = std::get_if<engine::ModelFinished>(&event)) {
    progress_->running.erase(finished->report.name);
    progress_->finished.insert(finished->report.name);
  }
}

bool Session::TellEnd(RunQueue::Done done, bool plan_only) {
  if (!done.ok()) return Fail(done.status());
  RunReport& report = done->report;
  for (auto& model : std::exchange(report.models, {})) {
    if (!Send(ResultModel{std::move(model)})) return false;
  }
  for (auto& error : std::exchange(report.errors, {})) {
    if (!Send(ResultError{std::move(error)})) return false;
  }
  for (auto& preview : std::exchange(report.previews, {})) {
    if (!Send(std::move(preview))) return false;
  }
  for (const auto& [model, table] : done->tables) {
    if (!TellTable(model, *table)) return false;
    tables_.push_back(table);
  }
  const engine::Explanation& explanation = done->explanation;
  if (plan_only && !Send(ResultExplanation{explanation.ToText(), explanation.ToJson()})) {
    return false;
  }
  return Send(Finished{std::move(report)});
}

bool Session::TellTable(const std::string& model, const engine::ResultTable& table) {
  std::vector<base::UniqueFd> opened;
  std::vector<int> fds;
  for (const auto& held : table.table().AllSegments()) {
    const auto segment = table.Find(held.id);
    auto fd = segment.ok() ? (*segment)->Open() : segment.status();
    if (!fd.ok()) {
      Fail(fd.status());
      return false;
    }
    fds.push_back(fd->get());
    opened.push_back(*std::move(fd));
  }
  return Send(ResultTablePart{model, std::make_shared<const engine::PublishedTable>(table.table())},
              fds);
}

nlohmann::json Session::Describe() const {
  const std::lock_guard lock(mutex_);
  if (!progress_) return nullptr;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - progress_->began;
  return {{"project", progress_->project_dir},
          {"client_pid", client_},
          {"models", {{"finished", progress_->finished.size()}, {"total", progress_->total}}},
          {"running", progress_->running},
          {"elapsed_s", elapsed.count()}};
}

}  // namespace zerrow::server
