// The commands that run no pipeline.
#include <fmt/core.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/render.h"
#include "cli/resident.h"
#include "cli/settings.h"
#include "cli/surroundings.h"
#include "cli/version.h"
#include "engine/environment.h"
#include "sandbox/cgroup.h"
#include "shm/kernelzero.h"

namespace zerrow::cli {

namespace {

struct Explained {
  std::string text;
  nlohmann::json document;
  std::vector<RunError> errors;
};

arrow::Result<Explained> AskResident(server::Connection& resident,
                                     const engine::CancelToken& token) {
  RunObserver silent;
  ARROW_ASSIGN_OR_RAISE(auto result, resident.Wait(silent, token));
  return Explained{resident.explanation().text, resident.explanation().document,
                   std::move(result.report.errors)};
}

arrow::Result<Explained> AskOwn(const RunOptions& options, const engine::CancelToken& token) {
  ARROW_ASSIGN_OR_RAISE(const auto engine, engine::Engine::Make(EngineOptionsHere()));
  ARROW_ASSIGN_OR_RAISE(auto explanation, engine->Explain(options, token));
  return Explained{explanation.ToText(), explanation.ToJson(), std::move(explanation.errors)};
}

arrow::Result<Explained> ExplainProject(const Arguments& arguments) {
  ARROW_ASSIGN_OR_RAISE(const auto token, engine::CancelToken::Make());
  const InterruptHandler interrupt(token);
  ARROW_ASSIGN_OR_RAISE(const auto resident, BeginAtResident(arguments, /*plan_only=*/true, token));
  auto explained =
      resident != nullptr ? AskResident(*resident, token) : AskOwn(arguments.run, token);
  if (token.cancelled()) return arrow::Status::Cancelled("interrupted");
  return explained;
}

arrow::Result<MachineInfo> CollectInfo() {
  engine::EngineOptions options = EngineOptionsHere();
  ARROW_ASSIGN_OR_RAISE(const Settings settings, ReadSettings(SettingsPath()));
  options.memory = settings.memory;
  ARROW_ASSIGN_OR_RAISE(const auto engine, engine::Engine::Make(options));
  MachineInfo info;
  ARROW_ASSIGN_OR_RAISE(const engine::EngineStatus status, engine->Inspect());
  info.memory = status.memory;
  info.usable_memory_bytes = sandbox::UsableMemoryBytes();
  info.backends = engine->DescribeBackends();
  info.shim_path = options.shim_path;
  info.kernelzero = shm::KernelZeroCounters();
  info.cores = static_cast<int>(std::thread::hardware_concurrency());
  ARROW_ASSIGN_OR_RAISE(info.zygote, engine->Probe());
  return info;
}

}  // namespace

int Fail(const arrow::Status& status) {
  PrintTo(stderr, RenderError({.message = status.message()}, ".", StyleOf(STDERR_FILENO)));
  return status.IsInvalid() ? kExitUsage : kExitFailed;
}

namespace {}  // namespace

int Explain(const Arguments& arguments) {
  const auto explained = ExplainProject(arguments);
  if (explained.status().IsCancelled()) return kExitInterrupted;
  if (!explained.ok()) return Fail(explained.status());
  if (arguments.format == OutputFormat::kJson) {
    PrintJson(explained->document);
  } else if (explained->errors.empty()) {
    PrintTo(stdout, explained->text);
  }
  for (const RunError& error : explained->errors) {
    PrintTo(stderr, RenderError(error, arguments.run.project_dir, StyleOf(STDERR_FILENO)));
  }
  return explained->errors.empty() ? kExitSuccess : kExitFailed;
}

int Info(const Arguments& arguments) {
  const auto info = CollectInfo();
  if (!info.ok()) return Fail(info.status());
  if (arguments.format == OutputFormat::kJson) {
    PrintJson(InfoJson(*info));
  } else {
    PrintTo(stdout, RenderInfo(*info, StyleOf(STDOUT_FILENO)));
  }
  return kExitSuccess;
}

int Version(const Arguments& arguments) {
  if (arguments.format == OutputFormat::kJson) {
    PrintJson(VersionJson());
  } else {
    PrintTo(stdout, VersionLine() + "\n");
  }
  return kExitSuccess;
}

int InitProject(const Arguments& arguments) {
  return Fail(BecomePython("zerrow._new_project", {arguments.new_project_dir}));
}

int Environments(const Arguments& arguments) {
  return Fail(BecomePython("zerrow._environments.command",
                           {arguments.command == Command::kEnvClear ? "clear" : "ls",
                            engine::EnvironmentsFolder(std::nullopt),
                            arguments.format == OutputFormat::kJson ? "json" : "text"}));
}

}  // namespace zerrow::cli
