#include "engine/worker_pool.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "engine/json_fields.h"

namespace zerrow::engine {

using base::Channel;
using base::DescribeWaitStatus;
using base::Message;
using base::UniqueFd;
using nlohmann::json;
using std::chrono::milliseconds;

namespace {

constexpr Channel::Limits kZygoteLimits = {.body_bytes = 64 << 10, .fds = 4};
constexpr size_t kOutputTailBytes = 8 * 1024;
constexpr milliseconds kZygotePatience = std::chrono::seconds(2);
// Between the ends of two descriptors of a process that dies.
constexpr milliseconds kClosingPatience(50);

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

arrow::Result<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return base::ErrnoStatus(errno, "pipe");
  Pipe pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
  if (::fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0) return base::ErrnoStatus(errno, "fcntl");
  return pipe;
}

}  // namespace

arrow::Result<std::unique_ptr<WorkerPool>> WorkerPool::Make(EventLoop& loop,
                                                            const ZygoteOptions& options) {
  ARROW_ASSIGN_OR_RAISE(Zygote zygote, StartZygote(options));
  std::unique_ptr<WorkerPool> pool(new WorkerPool(loop, std::move(zygote)));
  ARROW_RETURN_NOT_OK(pool->Watch());
  return pool;
}

WorkerPool::WorkerPool(EventLoop& loop, Zygote zygote) : loop_(loop), zygote_(std::move(zygote)) {}

WorkerPool::~WorkerPool() {
  for (const auto watch : watches_) loop_.Unwatch(watch);
  while (!workers_.empty()) Forget(workers_.begin()->first);
  // End of file is the zygote's order to end everything and leave; also where a process that was
  // forked from this one holds the descriptor too.
  ::shutdown(zygote_.channel.fd(), SHUT_RDWR);
  // One that still imports has no workers, and wouldn't notice.
  zygote_.process.Wait(info_ ? kZygotePatience : milliseconds(0));
  AwaitZygotesProcesses();
}

// Where the zygote was killed its other processes die a little later. The last one of them closes
// the pipe for what they print.
void WorkerPool::AwaitZygotesProcesses() const {
  const auto deadline = std::chrono::steady_clock::now() + kZygotePatience;
  pollfd poller{zygote_.output.get(), POLLIN, 0};
  while (std::chrono::steady_clock::now() < deadline) {
    std::array<char, 64 * 1024> buffer;
    const auto bytes = ReadSome(zygote_.output.get(), buffer);
    if (bytes && bytes->empty()) return;
    if (!bytes) ::poll(&poller, 1, static_cast<int>(kZygotePatience.count()));
  }
}

arrow::Status WorkerPool::Watch() {
  ARROW_ASSIGN_OR_RAISE(auto messages,
                        loop_.Watch(zygote_.channel.fd(), [this] { OnZygoteMessage(); }));
  watches_.push_back(messages);
  ARROW_ASSIGN_OR_RAISE(auto output,
                        loop_.Watch(zygote_.output.get(), [this] { ReadZygoteOutput(); }));
  watches_.push_back(output);
  return arrow::Status::OK();
}

arrow::Result<WorkerId> WorkerPool::Start(const json& task, std::span<const int> task_fds,
                                          WorkerHandlers handlers, std::optional<RunImport> import,
                                          const std::optional<Terminal>& terminal) {
  if (lost()) return arrow::Status::IOError(lost_);
  while (true) {
    const auto waiting = std::ranges::find_if(
        workers_, [&](const auto& entry) { return !terminal && entry.second->waits_for(import); });
    const bool forks = waiting == workers_.end();
    ARROW_ASSIGN_OR_RAISE(const WorkerId id,
                          forks ? Fork(import, terminal) : arrow::Result<WorkerId>(waiting->first));
    Worker& worker = *workers_.at(id);
    // A task lies in the socket until its worker is there: it fits, as bodies beyond 32 KiB travel
    // as a file.
    const arrow::Status sent = worker.channel.Send(task, task_fds);
    // The end of a zygote that died with the request ends this worker as lost, too.
    if (sent.ok() || (forks && IsZygoteGone())) {
      Give(id, worker, std::move(handlers));
      return id;
    }
    Forget(id);
    if (forks) return sent;  // or else one that waited and is gone by now
  }
}

// What it held closes in any order.
bool WorkerPool::IsZygoteGone() const {
  pollfd poller{zygote_.channel.fd(), 0, 0};
  return ::poll(&poller, 1, static_cast<int>(kClosingPatience.count())) == 1;
}

void WorkerPool::Give(WorkerId id, Worker& worker, WorkerHandlers handlers) {
  worker.waits = false;
  worker.handlers = std::move(handlers);
  if (!worker.pidfd.valid()) return;
  // Not from inside of Start.
  loop_.Call([this, id] {
    const auto found = workers_.find(id);
    if (found != workers_.end()) found->second->OnForked();
  });
}

void WorkerPool::ForkAhead(size_t count, std::optional<resource::RunId> run) {
  const auto import = run ? std::optional(RunImport{*run}) : std::nullopt;
  for (size_t waiting = CountWaiting(run); waiting < count && Fork(import).ok(); ++waiting) {
  }
}

size_t WorkerPool::CountWaiting(std::optional<resource::RunId> run) const {
  const auto import = run ? std::optional(RunImport{*run}) : std::nullopt;
  return static_cast<size_t>(std::ranges::count_if(
      workers_, [&](const auto& entry) { return entry.second->waits_for(import); }));
}

// The end of its channel ends it, also where a process that was forked from this one has it too.
template <typename Wanted>
void WorkerPool::ForgetWaiting(Wanted wanted) {
  std::vector<WorkerId> ids;
  for (const auto& [id, worker] : workers_) {
    if (worker->waits && wanted(*worker)) ids.push_back(id);
  }
  for (const WorkerId id : ids) {
    ::shutdown(workers_.at(id)->channel.fd(), SHUT_RDWR);
    Forget(id);
  }
}

void WorkerPool::EndWaiting() {
  ForgetWaiting([](const Worker&) { return true; });
}

bool WorkerPool::is_needed() const {
  return !runs_.empty() ||
         std::ranges::any_of(workers_, [](const auto& entry) { return !entry.second->waits; });
}

// The descriptors that it gets besides its channel, and what of them is read here.
arrow::Status WorkerPool::Connect(Worker& worker, const std::optional<Terminal>& terminal) {
  if (terminal) {
    for (const int fd : {terminal->in, terminal->out, terminal->err}) {
      ARROW_ASSIGN_OR_RAISE(auto own, base::Duplicate(fd));
      worker.fork_fds.push_back(std::move(own));
    }
    return arrow::Status::OK();
  }
  UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null.valid()) return base::ErrnoStatus(errno, "opening /dev/null");
  worker.fork_fds.push_back(std::move(null));
  for (auto& output : worker.outputs) {
    ARROW_ASSIGN_OR_RAISE(Pipe pipe, MakePipe());
    output.pipe = std::move(pipe.read);
    worker.fork_fds.push_back(std::move(pipe.write));
  }
  return arrow::Status::OK();
}

arrow::Result<WorkerId> WorkerPool::Fork(std::optional<RunImport> import,
                                         const std::optional<Terminal>& terminal) {
  if (lost()) return arrow::Status::IOError(lost_);
  ARROW_ASSIGN_OR_RAISE(auto channels, Channel::MakePair());
  const WorkerId id = next_id_++;
  const auto added =
      workers_.emplace(id, std::make_unique<Worker>(std::move(channels.first), import));
  Worker& worker = *added.first->second;
  arrow::Status status =
      base::Duplicate(channels.second.fd()).Value(&worker.fork_fds.emplace_back());
  if (status.ok()) status = Connect(worker, terminal);
  if (status.ok()) status = WatchWorker(id, worker);
  if (!status.ok()) {
    Forget(id);
    return status;
  }
  worker.owed_since = std::chrono::steady_clock::now();
  if (import && import->first) runs_.insert(import->run);
  unsent_forks_.push_back(id);
  SendRequests();
  return id;
}

// As many as its socket takes now: it may still be importing. If it is gone, its end of file is
// under way and ends the workers too.
void WorkerPool::SendRequests() {
  while (!unsent_forks_.empty()) {
    const WorkerId id = unsent_forks_.front();
    const auto worker = workers_.find(id);
    if (worker != workers_.end()) {
      std::vector<int> fds;
      for (const UniqueFd& fd : worker->second->fork_fds) fds.push_back(fd.get());
      json request = {{"op", "fork"}, {"worker", id}};
      if (const auto& import = worker->second->import) {
        request["run"] = import->run;
        if (import->first) request["imports"] = true;
      }
      if (!zygote_.channel.Send(request, fds, milliseconds(0)).ok()) return;
      worker->second->fork_fds.clear();
    }
    unsent_forks_.pop_front();
  }
  while (!unsent_ends_.empty()) {
    const json request = {{"op", "end_run"}, {"run", *unsent_ends_.begin()}};
    if (!zygote_.channel.Send(request, {}, milliseconds(0)).ok()) return;
    unsent_ends_.erase(unsent_ends_.begin());
  }
}

void WorkerPool::EndRun(resource::RunId run) {
  if (runs_.erase(run) == 0 || lost()) return;
  ForgetWaiting([run](const Worker& worker) { return worker.import && worker.import->run == run; });
  unsent_ends_.insert(run);
  SendRequests();
}

std::chrono::steady_clock::duration WorkerPool::LongestWait() const {
  std::chrono::steady_clock::duration longest{};
  if (!info_) return longest;
  for (const auto& [id, worker] : workers_) {
    if (!worker->owed_since) continue;
    const auto since = std::max(*worker->owed_since, ready_at_);
    longest = std::max(longest, std::chrono::steady_clock::now() - since);
  }
  return longest;
}

void WorkerPool::Pause(WorkerId id, bool paused) {
  const auto found = workers_.find(id);
  if (found == workers_.end() || found->second->paused == paused) return;
  found->second->paused = paused;
  for (auto& output : found->second->outputs) {
    if (output.watch != 0) loop_.SetPaused(output.watch, paused);
  }
}

arrow::Status WorkerPool::WatchWorker(WorkerId id, Worker& worker) {
  ARROW_ASSIGN_OR_RAISE(worker.channel_watch,
                        loop_.Watch(worker.channel.fd(), [this, id] { OnWorkerMessage(id); }));
  for (const int stream : {1, 2}) {
    if (!worker.output(stream).pipe.valid()) continue;  // somebody else reads it
    ARROW_ASSIGN_OR_RAISE(worker.output(stream).watch,
                          loop_.Watch(worker.output(stream).pipe.get(), [this, &worker, stream] {
                            if (worker.ReadOutput(stream)) return;
                            loop_.Unwatch(std::exchange(worker.output(stream).watch, 0));
                          }));
  }
  return arrow::Status::OK();
}

void WorkerPool::Forget(WorkerId id) {
  const auto worker = workers_.find(id);
  if (worker == workers_.end()) return;
  loop_.Unwatch(worker->second->channel_watch);
  for (auto& output : worker->second->outputs) loop_.Unwatch(output.watch);
  workers_.erase(worker);
}

void WorkerPool::Kill(WorkerId id) {
  const auto worker = workers_.find(id);
  if (worker == workers_.end()) return;
  // Its end makes the zygote kill the rest of its tree. One that isn't forked yet dies when it is.
  worker->second->Kill();
  if (worker->second->pidfd.valid()) worker->second->owed_since = std::chrono::steady_clock::now();
}

void WorkerPool::KillOverstaying(milliseconds limit) {
  std::vector<WorkerId> found;
  const auto now = std::chrono::steady_clock::now();
  for (const auto& [id, worker] : workers_) {
    if (worker->has_answered() && !worker->killed && now - worker->answered > limit)
      found.push_back(id);
  }
  for (const WorkerId id : found) Kill(id);
}

void WorkerPool::OnZygoteMessage() {
  auto received = zygote_.channel.Receive(milliseconds(0), kZygoteLimits);
  if (!received.ok()) return LoseZygote(received.status().message());
  if (!received->has_value()) {
    return LoseZygote("it " + DescribeWaitStatus(zygote_.process.Wait(kZygotePatience)));
  }
  Message message = std::move(**received);
  SendRequests();
  const std::string op = Text(message.body, "op");
  if (op == "ready") return OnReady(message.body);
  const WorkerId id = message.body.is_object() ? IntegerOr(message.body, "worker", -1) : -1;
  if (op == "forked") return OnForked(id, std::move(message.fds));
  if (op == "exited") return OnExited(id, message.body);
  LoseZygote("it sent something that isn't in the protocol");
}

void WorkerPool::OnReady(const json& body) {
  ZygoteInfo& info = info_.emplace();
  ready_at_ = std::chrono::steady_clock::now();
  info.python_version = Text(body, "python");
  info.shim = Flag(body, "shim");
  const auto isolation = body.find("isolation");
  if (isolation != body.end() && isolation->is_object()) {
    info.user_namespace = Flag(*isolation, "user_namespace");
    info.pid_namespace = Flag(*isolation, "pid_namespace");
    info.mount_namespace = Flag(*isolation, "mount_namespace");
  }
}

void WorkerPool::OnForked(WorkerId id, std::vector<UniqueFd> fds) {
  const auto worker = workers_.find(id);
  if (worker == workers_.end() || fds.empty()) return;
  worker->second->pidfd = std::move(fds.front());
  worker->second->owed_since.reset();
  if (worker->second->killed) return Kill(id);
  worker->second->OnForked();
}

void WorkerPool::OnExited(WorkerId id, const json& body) {
  std::string error = Text(body, "error");
  const auto worker = workers_.find(id);
  if (std::string lost = Text(body, "lost"); worker != workers_.end() && !lost.empty()) {
    worker->second->lost = true;
    error = std::move(lost);
  }
  End(id, static_cast<int>(IntegerOr(body, "wait_status", 0)), NumberOr(body, "cpu_s", 0),
      IntegerOr(body, "max_rss_bytes", 0), std::move(error));
}

void WorkerPool::OnWorkerMessage(WorkerId id) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return;
  Worker& worker = *found->second;
  if (worker.TakeMessage() != Worker::Taken::kEnd) return;
  // The end of file is not yet the end: that is when the zygote has reaped it.
  loop_.Unwatch(std::exchange(worker.channel_watch, 0));
  if (!worker.error.empty()) Kill(id);
}

void WorkerPool::ReadZygoteOutput() {
  std::array<char, 64 * 1024> buffer;
  const auto bytes = ReadSome(zygote_.output.get(), buffer);
  if (!bytes) return;
  if (bytes->empty()) return loop_.Unwatch(watches_[1]);
  zygote_output_ += *bytes;
  if (zygote_output_.size() > kOutputTailBytes) {
    zygote_output_.erase(0, zygote_output_.size() - kOutputTailBytes);
  }
}

void WorkerPool::LoseZygote(const std::string& why) {
  if (lost()) return;
  lost_ = "the zygote, which starts the workers, is lost: " + why;
  loop_.Unwatch(watches_[0]);
  zygote_.process.Kill();
  zygote_.process.Wait(milliseconds(0));
  KillWorkersAndWait();
  ReadZygoteOutput();
  if (!zygote_output_.empty()) lost_ += "\nIt printed:\n" + zygote_output_;
  while (!workers_.empty()) End(workers_.begin()->first, 0, 0, 0, lost_);
}

// The zygote's death takes its namespaces along; without namespaces workers are ordinary processes.
void WorkerPool::KillWorkersAndWait() {
  for (auto& [id, worker] : workers_) SendKill(worker->pidfd);
  for (auto& [id, worker] : workers_) {
    pollfd poller{worker->pidfd.get(), POLLIN, 0};
    if (worker->pidfd.valid()) ::poll(&poller, 1, static_cast<int>(kZygotePatience.count()));
  }
}

void WorkerPool::End(WorkerId id, int wait_status, double cpu_s, int64_t max_rss_bytes,
                     std::string error) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return;
  Worker* const worker = found->second.get();
  worker->TakeRest();
  if (!worker->error.empty()) error = worker->error;
  const std::chrono::duration<double> exit = std::chrono::steady_clock::now() - worker->answered;
  WorkerEnd end;
  end.hung = worker->has_answered() && worker->killed && WIFSIGNALED(wait_status);
  end.left = worker->left && worker->answer && worker->handlers.on_left;
  if (!end.left) end.message = std::move(worker->answer);
  end.wait_status = wait_status;
  end.cpu_s = cpu_s;
  end.max_rss_bytes = max_rss_bytes;
  end.exit_s = exit.count();
  end.error = std::move(error);
  end.lost = lost() || worker->lost;
  end.was_ready = info_.has_value();
  WorkerHandlers handlers = std::move(worker->handlers);
  auto large_answer = std::move(worker->large_answer);
  Forget(id);
  TellEnd(std::move(handlers), std::move(end), std::move(large_answer));
}

void WorkerPool::TellEnd(WorkerHandlers handlers, WorkerEnd end,
                         std::optional<base::UnparsedMessage> answer) {
  // The answer of one that is lost doesn't count.
  if (!answer || !end.error.empty()) return handlers.on_ended(std::move(end));
  struct Job {
    base::UnparsedMessage answer;
    WorkerHandlers handlers;
    WorkerEnd end;
  };
  auto job = std::make_shared<Job>(Job{std::move(*answer), std::move(handlers), std::move(end)});
  loop_.Post(
      EventLoop::Lane::kText,
      [job] {
        auto parsed = base::Parse(std::move(job->answer), job->handlers.answer_limits);
        if (parsed.ok()) {
          job->end.message = std::move(*parsed);
        } else {
          job->end.error = "it sent a malformed message: " + parsed.status().message();
        }
      },
      [job] { job->handlers.on_ended(std::move(job->end)); });
}

}  // namespace zerrow::engine
