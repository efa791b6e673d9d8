#include "engine/worker_pool.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <utility>

namespace zerrow::engine {

using base::Channel;
using base::DescribeWaitStatus;
using base::Message;
using base::UniqueFd;
using nlohmann::json;
using std::chrono::milliseconds;

namespace {

constexpr size_t kWorkerMaxFds = 4;  // an answer carries two at most
constexpr Channel::Limits kZygoteLimits = {.body_bytes = 64 << 10, .fds = 4};
constexpr size_t kOutputTailBytes = 8 * 1024;
constexpr int kMaxImporting = 10'000;  // docs/formats/worker_protocol.md
constexpr milliseconds kZygotePatience = std::chrono::seconds(2);

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

// nullopt: nothing there now. Empty: end of file.
std::optional<std::string_view> ReadSome(int fd, std::array<char, 64 * 1024>& buffer) {
  const ssize_t got = ::read(fd, buffer.data(), buffer.size());
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return std::nullopt;
    return std::string_view();
  }
  return std::string_view(buffer.data(), static_cast<size_t>(got));
}

void SendKill(const UniqueFd& pidfd) {
  if (pidfd.valid()) ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
}

// The process's number in our own PID namespace; 0 if it can't be found out.
pid_t PidOf(int pidfd) {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(pidfd));
  std::string key;
  while (info >> key) {
    pid_t pid = 0;
    if (key == "Pid:" && info >> pid) return pid > 0 ? pid : 0;
  }
  return 0;
}

double NumberOr(const json& body, const char* key, double otherwise) {
  const auto value = body.find(key);
  return value != body.end() && value->is_number() ? value->get<double>() : otherwise;
}

int64_t IntegerOr(const json& body, const char* key, int64_t otherwise) {
  const auto value = body.find(key);
  if (value == body.end() || !value->is_number_integer()) return otherwise;
  if (value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX) return otherwise;
  return value->get<int64_t>();
}

bool Flag(const json& body, const char* key) {
  const auto value = body.find(key);
  return value != body.end() && value->is_boolean() && value->get<bool>();
}

std::string Text(const json& body, const char* key) {
  if (!body.is_object()) return "";
  const auto value = body.find(key);
  return value != body.end() && value->is_string() ? value->get<std::string>() : "";
}

}  // namespace

struct WorkerPool::Worker {
  struct Output {
    UniqueFd pipe;
    EventLoop::WatchId watch = 0;
    std::unique_ptr<LineSplitter> lines;
  };

  explicit Worker(Channel task_channel) : channel(std::move(task_channel)) {}

  Channel channel;
  EventLoop::WatchId channel_watch = 0;
  std::array<Output, 2> outputs;   // 1 and 2
  std::vector<UniqueFd> fork_fds;  // the worker's ends, until its fork was asked for
  UniqueFd pidfd;                  // once forked
  WorkerHandlers handlers;
  std::optional<Message> answer;
  std::optional<base::UnparsedMessage> large_answer;  // instead of it
  std::chrono::steady_clock::time_point answered;
  // Since when the zygote owes something: its fork, then nothing, then its end.
  std::optional<std::chrono::steady_clock::time_point> owed_since;
  bool killed = false;
  bool paused = false;
  bool lost = false;  // with the process that it was forked from
  std::optional<RunImport> import;
  std::string error;
  int importing = 0;
};

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
                                          UniqueFd broker, WorkerHandlers handlers,
                                          std::optional<RunImport> import) {
  if (lost()) return arrow::Status::IOError(lost_);
  ARROW_ASSIGN_OR_RAISE(auto channels, Channel::MakePair());
  ARROW_ASSIGN_OR_RAISE(Pipe out, MakePipe());
  ARROW_ASSIGN_OR_RAISE(Pipe err, MakePipe());
  const WorkerId id = next_id_++;
  Worker& worker =
      *workers_.emplace(id, std::make_unique<Worker>(std::move(channels.first))).first->second;
  worker.handlers = std::move(handlers);
  worker.import = import;
  worker.outputs[0].pipe = std::move(out.read);
  worker.outputs[1].pipe = std::move(err.read);
  ARROW_ASSIGN_OR_RAISE(auto task_socket, base::Duplicate(channels.second.fd()));
  worker.fork_fds.push_back(std::move(task_socket));
  worker.fork_fds.push_back(std::move(out.write));
  worker.fork_fds.push_back(std::move(err.write));
  if (broker.valid()) worker.fork_fds.push_back(std::move(broker));
  // A task lies in the socket until its worker is there: it fits, as bodies beyond 32 KiB travel
  // as a file.
  arrow::Status status = worker.channel.Send(task, task_fds);
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
    auto& output = worker.outputs[static_cast<size_t>(stream - 1)];
    output.lines = std::make_unique<LineSplitter>(
        [&worker, stream](std::string_view line) { worker.handlers.on_line(stream, line); });
    ARROW_ASSIGN_OR_RAISE(output.watch, loop_.Watch(output.pipe.get(), [this, &worker, stream] {
      ReadOutput(worker, stream);
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
  worker->second->killed = true;
  SendKill(worker->second->pidfd);
  if (worker->second->pidfd.valid()) worker->second->owed_since = std::chrono::steady_clock::now();
}

void WorkerPool::KillOverstaying(milliseconds limit) {
  std::vector<WorkerId> found;
  const auto now = std::chrono::steady_clock::now();
  for (const auto& [id, worker] : workers_) {
    const bool answered = worker->answer || worker->large_answer;
    if (answered && !worker->killed && now - worker->answered > limit) found.push_back(id);
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
  worker->second->handlers.on_forked(PidOf(worker->second->pidfd.get()));
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
  if (TakeMessage(worker) != Taken::kEnd) return;
  // The end of file is not yet the end: that is when the zygote has reaped it.
  loop_.Unwatch(std::exchange(worker.channel_watch, 0));
  if (!worker.error.empty()) Kill(id);
}

// The worker of discovery sends some "importing", and each worker one answer.
WorkerPool::Taken WorkerPool::TakeMessage(Worker& worker) {
  auto received = worker.channel.ReceiveUnparsed(
      milliseconds(0), {.body_bytes = worker.handlers.max_answer_bytes, .fds = kWorkerMaxFds});
  if (received.status().IsIOError()) return Taken::kNothing;
  if (received.ok() && !received->has_value()) return Taken::kEnd;
  if (received.status().IsCapacityError()) {
    worker.error = received.status().message();
  } else if (!received.ok()) {
    worker.error = "it sent a malformed message: " + received.status().message();
  } else if (worker.answer || worker.large_answer) {
    worker.error = "it sent more than one answer";
  } else if ((*received)->is_large()) {
    worker.large_answer = std::move(**received);
    worker.answered = std::chrono::steady_clock::now();
  } else if (auto parsed = base::Parse(std::move(**received)); parsed.ok()) {
    TakeParsed(worker, std::move(*parsed));
  } else {
    worker.error = "it sent a malformed message: " + parsed.status().message();
  }
  return worker.error.empty() ? Taken::kMessage : Taken::kEnd;
}

void WorkerPool::TakeParsed(Worker& worker, Message message) {
  if (!worker.handlers.on_importing || Text(message.body, "op") != "importing") {
    worker.answer = std::move(message);
    worker.answered = std::chrono::steady_clock::now();
  } else if (++worker.importing > kMaxImporting) {
    worker.error = "it said more than " + std::to_string(kMaxImporting) + " times what it imports";
  } else {
    worker.handlers.on_importing(Text(message.body, "file"));
  }
}

void WorkerPool::ReadOutput(Worker& worker, int stream) {
  auto& output = worker.outputs[static_cast<size_t>(stream - 1)];
  std::array<char, 64 * 1024> buffer;
  const auto bytes = ReadSome(output.pipe.get(), buffer);
  if (!bytes) return;
  if (!bytes->empty()) return output.lines->Add(*bytes);
  loop_.Unwatch(std::exchange(output.watch, 0));
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
  // What it sent and printed before its end may still lie in the kernel.
  Worker* const worker = found->second.get();
  while (worker->error.empty() && TakeMessage(*worker) == Taken::kMessage) {
  }
  for (int stream : {1, 2}) {
    auto& output = worker->outputs[static_cast<size_t>(stream - 1)];
    std::array<char, 64 * 1024> buffer;
    for (auto bytes = ReadSome(output.pipe.get(), buffer); bytes && !bytes->empty();
         bytes = ReadSome(output.pipe.get(), buffer)) {
      output.lines->Add(*bytes);
    }
    output.lines->Finish();
  }
  if (!worker->error.empty()) error = worker->error;
  const std::chrono::duration<double> exit = std::chrono::steady_clock::now() - worker->answered;
  const bool answered = worker->answer || worker->large_answer;
  WorkerEnd end;
  end.hung = answered && worker->killed && WIFSIGNALED(wait_status);
  end.message = std::move(worker->answer);
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
      [job] {
        auto parsed = base::Parse(std::move(job->answer));
        if (parsed.ok()) {
          job->end.message = std::move(*parsed);
        } else {
          job->end.error = "it sent a malformed message: " + parsed.status().message();
        }
      },
      [job] { job->handlers.on_ended(std::move(job->end)); });
}

}  // namespace zerrow::engine
