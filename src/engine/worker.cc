#include "engine/worker.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <utility>

#include "engine/json_fields.h"

namespace zerrow::engine {

using std::chrono::milliseconds;

namespace {

constexpr size_t kWorkerMaxFds = 4;     // an answer carries two at most
constexpr size_t kDecodedMaxFds = 100;  // docs/formats/worker_protocol.md
constexpr int kMaxImporting = 10'000;   // docs/formats/worker_protocol.md

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

// Of a worker that waits.
WorkerHandlers NobodyListens() {
  WorkerHandlers handlers;
  handlers.on_forked = [](pid_t) {};
  handlers.on_line = [](int, std::string_view) {};
  handlers.on_ended = [](WorkerEnd) {};
  return handlers;
}

}  // namespace

std::optional<std::string_view> ReadSome(int fd, std::array<char, 64 * 1024>& buffer) {
  const ssize_t got = ::read(fd, buffer.data(), buffer.size());
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return std::nullopt;
    return std::string_view();
  }
  return std::string_view(buffer.data(), static_cast<size_t>(got));
}

void SendKill(const base::UniqueFd& pidfd) {
  if (pidfd.valid()) ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
}

Worker::Worker(base::Channel task_channel, std::optional<RunImport> project)
    : channel(std::move(task_channel)), import(project), handlers(NobodyListens()) {
  for (const int stream : {1, 2}) {
    output(stream).lines = std::make_unique<LineSplitter>(
        [this, stream](std::string_view line) { handlers.on_line(stream, line); });
  }
}

void Worker::OnForked() const { handlers.on_forked(PidOf(pidfd.get())); }

void Worker::Kill() {
  killed = true;
  SendKill(pidfd);
}

// The worker of discovery sends some "importing", that of a source some "decoded", and each worker
// one answer and then perhaps that it leaves.
Worker::Taken Worker::TakeMessage() {
  const size_t most_fds = handlers.on_decoded ? kDecodedMaxFds : kWorkerMaxFds;
  auto received = channel.ReceiveUnparsed(
      milliseconds(0), {.body_bytes = handlers.max_answer_bytes, .fds = most_fds});
  if (received.status().IsIOError()) return Taken::kNothing;
  if (received.ok() && !received->has_value()) return Taken::kEnd;
  if (received.status().IsCapacityError()) {
    error = received.status().message();
  } else if (!received.ok()) {
    error = "it sent a malformed message: " + received.status().message();
  } else if (waits) {
    error = "it spoke before it had a task";
  } else if (has_answered()) {
    TakeLeave(std::move(**received));
  } else if ((*received)->is_large()) {
    large_answer = std::move(**received);
    answered = std::chrono::steady_clock::now();
  } else if (auto parsed = base::Parse(std::move(**received)); parsed.ok()) {
    TakeParsed(std::move(*parsed));
  } else {
    error = "it sent a malformed message: " + parsed.status().message();
  }
  return error.empty() ? Taken::kMessage : Taken::kEnd;
}

void Worker::TakeParsed(base::Message message) {
  const std::string op = Text(message.body, "op");
  if (handlers.on_decoded && op == "decoded") return handlers.on_decoded(std::move(message));
  if (!handlers.on_importing || op != "importing") {
    answer = std::move(message);
    answered = std::chrono::steady_clock::now();
  } else if (++importing_ > kMaxImporting) {
    error = "it said more than " + std::to_string(kMaxImporting) + " times what it imports";
  } else {
    handlers.on_importing(Text(message.body, "file"));
  }
}

void Worker::TakeLeave(base::UnparsedMessage message) {
  const bool small = !message.is_large();
  const auto parsed = small ? base::Parse(std::move(message)) : arrow::Status::Invalid("");
  if (left || !parsed.ok() || Text(parsed->body, "op") != "left") {
    error = "it sent more than one answer";
    return;
  }
  left = true;
  if (answer && handlers.on_left) {
    handlers.on_left(std::exchange(*answer, {}));
  }
}

bool Worker::ReadOutput(int stream) {
  std::array<char, 64 * 1024> buffer;
  const auto bytes = ReadSome(output(stream).pipe.get(), buffer);
  if (!bytes) return true;
  if (bytes->empty()) return false;
  output(stream).lines->Add(*bytes);
  return true;
}

void Worker::TakeRest() {
  while (error.empty() && TakeMessage() == Taken::kMessage) {
  }
  for (const int stream : {1, 2}) {
    if (!output(stream).pipe.valid()) continue;
    std::array<char, 64 * 1024> buffer;
    for (auto bytes = ReadSome(output(stream).pipe.get(), buffer); bytes && !bytes->empty();
         bytes = ReadSome(output(stream).pipe.get(), buffer)) {
      output(stream).lines->Add(*bytes);
    }
    output(stream).lines->Finish();
  }
}

}  // namespace zerrow::engine
