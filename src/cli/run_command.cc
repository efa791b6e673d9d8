// `zerrow run` and `zerrow show`.
#include <fmt/core.h>
#include <termios.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/render.h"
#include "cli/resident.h"
#include "cli/settings.h"
#include "cli/surroundings.h"
#include "cli/version.h"
#include "engine/last_run.h"
#include "resource/events.h"

namespace zerrow::cli {

namespace {

// With JSON all that isn't the document goes to stderr.
FILE* LinesOf(const Arguments& arguments) {
  return arguments.format == OutputFormat::kJson ? stderr : stdout;
}

// A debugger that is killed leaves the terminal as it had set it.
class TerminalKeeper {
 public:
  TerminalKeeper() : known_(::tcgetattr(STDIN_FILENO, &before_) == 0) {}
  ~TerminalKeeper() {
    if (known_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  }
  TerminalKeeper(const TerminalKeeper&) = delete;
  TerminalKeeper& operator=(const TerminalKeeper&) = delete;

 private:
  termios before_{};
  const bool known_;
};

Console::Options ConsoleOptions(const Arguments& arguments, FILE* lines,
                                const engine::CancelToken& token) {
  Console::Options options;
  options.lines = lines;
  options.style = StyleOf(::fileno(options.lines));
  if (IsLiveTerminal(STDERR_FILENO)) options.progress = stderr;
  options.progress_style = StyleOf(STDERR_FILENO);
  options.cancelled = [token] { return token.cancelled(); };
  if (arguments.run.inline_model) {  // the terminal is its function's
    options.progress = nullptr;
    options.beat = {};
  }
  return options;
}

// The engine's own failure as the report of a run that did nothing.
RunReport FailedReport(const arrow::Status& status) {
  RunReport report;
  if (status.IsCancelled()) {
    report.status = RunStatus::kCancelled;
  } else {
    report.errors.push_back({.message = status.message()});
  }
  return report;
}

void PrintText(const Arguments& arguments, const RunReport& report) {
  const Style style = StyleOf(STDOUT_FILENO);
  for (const Preview& preview : report.previews) {
    PrintTo(stdout, "\n" + RenderPreview(preview, style));
  }
  const Detail detail = arguments.verbose ? Detail::kAll : Detail::kUsual;
  if (!report.models.empty()) PrintTo(stdout, "\n" + RenderReport(report, detail, style));
  const std::string errors =
      RenderErrors(report, arguments.run.project_dir, StyleOf(STDERR_FILENO));
  if (!errors.empty()) PrintTo(stderr, "\n" + errors);
  if (!report.errors.empty() && report.models.empty()) PrintTo(stderr, "nothing was run\n");
}

// That the resident engine, which does this run, has its own of.
void WarnOfEngineOptions(const Arguments& arguments) {
  const std::pair<const char*, bool> options[] = {
      {"--cache-size", arguments.cache_bytes.has_value()},
      {"--eviction", arguments.eviction.has_value()},
      {"--spill-dir", arguments.spill_dir.has_value()},
      {"--spill-limit", arguments.spill_limit_bytes.has_value()}};
  for (const auto& [name, given] : options) {
    if (!given) continue;
    PrintTo(stderr, fmt::format("warning: the resident engine does this run, and has a {} of its "
                                "own\n",
                                name));
  }
}

// For --select state:failed. What is only looked at is no run.
void NoteRun(const Arguments& arguments, const RunReport& report) {
  if (arguments.command != Command::kRun) return;
  const arrow::Status noted = engine::NoteLastRun(arguments.run.project_dir, report);
  if (noted.ok() || report.status == RunStatus::kSuccess) return;
  PrintTo(stderr, "note: state:failed won't know of this run: " + noted.message() + "\n");
}

}  // namespace

int ExitCode(RunStatus status) {
  switch (status) {
    case RunStatus::kSuccess:
      return kExitSuccess;
    case RunStatus::kFailed:
      return kExitFailed;
    case RunStatus::kCancelled:
      return kExitInterrupted;
  }
  return kExitFailed;
}

arrow::Result<RunReport> RunEngine(const Arguments& arguments, FILE* lines) {
  ARROW_ASSIGN_OR_RAISE(const auto token, engine::CancelToken::Make());
  const InterruptHandler interrupt(token);
  std::optional<TerminalKeeper> terminal;
  if (arguments.run.inline_model) terminal.emplace();
  Console console(ConsoleOptions(arguments, lines, token));
  ARROW_ASSIGN_OR_RAISE(const auto resident,
                        BeginAtResident(arguments, /*plan_only=*/false, token));
  if (resident != nullptr) {
    WarnOfEngineOptions(arguments);
    ARROW_ASSIGN_OR_RAISE(auto result, resident->Wait(console, token));
    return std::move(result.report);
  }
  ARROW_ASSIGN_OR_RAISE(const Settings settings, ReadSettings(SettingsPath()));
  engine::EngineOptions options = EngineOptionsHere();
  options.cache_bytes = arguments.cache_bytes ? arguments.cache_bytes : settings.cache_bytes;
  // Nothing else is there: the run's limit holds for processes and memory of the engine, too.
  RunOptions run = arguments.run;
  options.memory = MemoryOptionsOf(arguments, settings, run.memory_limit_bytes);
  if (run.memory_limit_bytes) run.memory_limit_bytes = resource::Budget::kUnlimited;
  ARROW_ASSIGN_OR_RAISE(const auto engine, engine::Engine::Make(std::move(options)));
  ARROW_ASSIGN_OR_RAISE(auto result, engine->Run(run, console, token));
  return std::move(result.report);
}

int RunPipeline(const Arguments& arguments) {
  // Before anything that takes time, so that the user sees at once that it was understood.
  PrintTo(LinesOf(arguments),
          fmt::format("zerrow " ZERROW_VERSION ": reading {}\n", arguments.run.project_dir));
  const arrow::Result<RunReport> result = RunEngine(arguments, LinesOf(arguments));
  const RunReport report = result.ok() ? *result : FailedReport(result.status());
  if (arguments.format == OutputFormat::kJson) {
    PrintJson(report.ToJson());
  } else {
    PrintText(arguments, report);
  }
  NoteRun(arguments, report);
  if (result.status().IsInvalid()) return kExitUsage;
  return ExitCode(report.status);
}

}  // namespace zerrow::cli
