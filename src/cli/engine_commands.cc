// `zerrow engine start`, `stop` and `status`.
#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "base/fd.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/render.h"
#include "cli/resident.h"
#include "cli/settings.h"
#include "cli/surroundings.h"
#include "server/client.h"
#include "server/server.h"

namespace zerrow::cli {

using arrow::Status;
using nlohmann::json;

namespace {

constexpr int64_t kMaxReadyBytes = 64 << 10;

// What a background engine writes to the command that has started it, once it listens.
constexpr std::string_view kReady = "ready";

constexpr std::chrono::seconds kGlance{2};

arrow::Result<std::unique_ptr<server::Server>> MakeServer(const Arguments& arguments,
                                                          const server::Address& address) {
  ARROW_ASSIGN_OR_RAISE(const Settings settings, ReadSettings(SettingsPath()));
  engine::EngineOptions options = EngineOptionsHere();
  options.rest_after = settings.rest_after;
  options.zygote_idle = settings.zygotes_end_after;
  options.cache_bytes = arguments.cache_bytes ? arguments.cache_bytes : settings.cache_bytes;
  options.memory = MemoryOptionsOf(arguments, settings, arguments.memory_limit_bytes);
  auto made = server::Server::Make(address, ZERROW_VERSION, std::move(options));
  if (!made.status().IsAlreadyExists()) return made;
  const auto running = ConnectToEngine(server::Patience(kGlance));
  return Status::AlreadyExists(
      "the resident engine runs already",
      running.ok() ? fmt::format(", as process {}", (*running)->welcome().pid) : "");
}

void PrintStarted(const Arguments& arguments, pid_t pid, const server::Address& address) {
  if (arguments.format == OutputFormat::kJson) {
    PrintJson({{"pid", pid}, {"socket", address.socket_path()}});
  } else {
    PrintTo(stdout, fmt::format("engine started: process {}\n", pid));
  }
}

// Until it is stopped. `ready` is called when clients are served.
Status ServeHere(const Arguments& arguments, const server::Address& address,
                 const std::function<void()>& ready) {
  ARROW_ASSIGN_OR_RAISE(const auto token, engine::CancelToken::Make());
  const InterruptHandler interrupt(token, "the engine");
  ::signal(SIGPIPE, SIG_IGN);
  ARROW_ASSIGN_OR_RAISE(const auto server, MakeServer(arguments, address));
  ready();
  return server->Serve(token);
}

// The engine's process, out of everything's way: in no terminal's session, holding no folder.
Status BecomeBackground(const server::Address& address) {
  ::setsid();
  ARROW_ASSIGN_OR_RAISE(const base::UniqueFd log, address.OpenLog());
  const base::UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null.valid() || ::chdir("/") != 0) return base::ErrnoStatus(errno, "/dev/null or /");
  ::dup2(null.get(), STDIN_FILENO);
  ::dup2(log.get(), STDOUT_FILENO);
  ::dup2(log.get(), STDERR_FILENO);
  return Status::OK();
}

// Keeps nothing open that the command had from whoever called it: a pipe would not end.
void CloseInherited(int but) {
  if (but > 3) ::close_range(3, static_cast<unsigned>(but) - 1, 0);
  ::close_range(static_cast<unsigned>(but) + 1, ~0U, 0);
}

[[noreturn]] void ServeInBackground(const Arguments& arguments, int told) {
  CloseInherited(told);
  const auto address = server::Address::Make(server::RuntimeFolder());
  Status status = address.ok() ? BecomeBackground(*address) : address.status();
  bool ready = false;
  const auto tell = [&] {
    ready = true;
    // What one before has written; only now is it sure that it is gone.
    [[maybe_unused]] const int emptied = ::ftruncate(STDOUT_FILENO, 0);
    [[maybe_unused]] const Status written = base::WriteAll(told, kReady);
    ::close(told);
  };
  if (status.ok()) status = ServeHere(arguments, *address, tell);
  if (!status.ok() && !ready) {
    [[maybe_unused]] const Status written = base::WriteAll(told, status.message());
  }
  ::_exit(status.ok() ? kExitSuccess : kExitFailed);
}

// Forks while this process has no other thread.
arrow::Result<pid_t> StartInBackground(const Arguments& arguments) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return base::ErrnoStatus(errno, "pipe");
  const base::UniqueFd reader(ends[0]);
  base::UniqueFd writer(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return base::ErrnoStatus(errno, "fork");
  if (pid == 0) ServeInBackground(arguments, writer.get());
  writer.reset();
  ARROW_ASSIGN_OR_RAISE(const std::string told, base::ReadAll(reader.get(), kMaxReadyBytes));
  if (told == kReady) return pid;
  return Status::IOError(told.empty() ? "the engine ended at once" : told);
}

}  // namespace

int StartEngine(const Arguments& arguments) {
  const auto address = server::Address::Make(server::RuntimeFolder());
  if (!address.ok()) return Fail(address.status());
  if (arguments.foreground) {
    const Status served =
        ServeHere(arguments, *address, [&] { PrintStarted(arguments, ::getpid(), *address); });
    return served.ok() ? kExitSuccess : Fail(served);
  }
  const auto pid = StartInBackground(arguments);
  if (!pid.ok()) return Fail(pid.status());
  PrintStarted(arguments, *pid, *address);
  return kExitSuccess;
}

int StopEngine(const Arguments& arguments) {
  const auto connection = ConnectToEngine();
  const bool none = connection.status().IsKeyError();
  if (!connection.ok() && !none) return Fail(connection.status());
  const arrow::Result<int64_t> runs = none ? 0 : (*connection)->Stop();
  if (!runs.ok()) return Fail(runs.status());
  if (arguments.format == OutputFormat::kJson) {
    PrintJson({{"stopped", !none}, {"cancelled_runs", *runs}});
  } else if (none) {
    PrintTo(stdout, "no engine is running\n");
  } else {
    PrintTo(stdout, *runs == 0 ? "engine stopped\n"
                               : fmt::format("engine stopped; runs cancelled: {}\n", *runs));
  }
  return kExitSuccess;
}

int EngineStatus(const Arguments& arguments) {
  const auto connection = ConnectToEngine();
  if (!connection.ok() && !connection.status().IsKeyError()) return Fail(connection.status());
  const bool running = connection.ok();
  json document = {{"running", running}};
  if (running) {
    const auto status = (*connection)->Status();
    if (!status.ok()) return Fail(status.status());
    document.update(*status);
  }
  if (arguments.format == OutputFormat::kJson) {
    PrintJson(document);
  } else {
    PrintTo(stdout,
            running ? RenderStatus(document, StyleOf(STDOUT_FILENO)) : "no engine is running\n");
  }
  return running ? kExitSuccess : kExitFailed;
}

}  // namespace zerrow::cli
