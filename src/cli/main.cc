// The `zerrow` command.
#include <fcntl.h>
#include <unistd.h>

#include <variant>

#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "engine/options.h"

namespace {

using namespace zerrow::cli;  // NOLINT(google-build-using-namespace): the whole file is about it

// What is opened later may not take a closed stream's number: the engine's socket would be printed
// to. Using the stream fails as before.
void OccupyClosedStreams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) >= 0) continue;
    [[maybe_unused]] const int lowest =
        ::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

int Execute(const Arguments& arguments) {
  switch (arguments.command) {
    case Command::kInit:
      return InitProject(arguments);
    case Command::kRun:
    case Command::kShow:
      return RunPipeline(arguments);
    case Command::kQuery:
      return Query(arguments);
    case Command::kExplain:
      return Explain(arguments);
    case Command::kSimulate:
      return Simulate(arguments);
    case Command::kInfo:
      return Info(arguments);
    case Command::kVersion:
      return Version(arguments);
    case Command::kEngineStart:
      return StartEngine(arguments);
    case Command::kEngineStop:
      return StopEngine(arguments);
    case Command::kEngineStatus:
      return EngineStatus(arguments);
    case Command::kCacheList:
      return ListCache(arguments);
    case Command::kCacheClear:
      return ClearCache(arguments);
    case Command::kEnvList:
    case Command::kEnvClear:
      return Environments(arguments);
  }
  return kExitUsage;
}

int Main(int argc, char** argv) {
  const auto parsed = ParseArguments(argc, argv);
  if (const auto* message = std::get_if<Message>(&parsed)) {
    PrintTo(message->exit_code == kExitSuccess ? stdout : stderr, message->text);
    return message->exit_code;
  }
  auto arguments = std::get<Arguments>(parsed);
  if (arguments.run.project_dir.empty()) arguments.run.project_dir = zerrow::engine::FindProject();
  return Execute(arguments);
}

}  // namespace

int main(int argc, char** argv) {
  OccupyClosedStreams();
  const int code = Main(argc, argv);
  if (OutputFailed() && code == kExitSuccess) {
    PrintTo(stderr, "error: the output couldn't be written completely\n");
    return kExitFailed;
  }
  return code;
}
