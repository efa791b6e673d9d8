// The commands that run no pipeline.
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/render.h"
#include "cli/surroundings.h"
#include "cli/version.h"

namespace zerrow::cli {

namespace {

int Fail(const arrow::Status& status) {
  PrintTo(stderr, RenderError({.message = status.message()}, ".", StyleOf(STDERR_FILENO)));
  return status.IsInvalid() ? kExitUsage : kExitFailed;
}

arrow::Result<engine::Explanation> ExplainProject(const Arguments& arguments) {
  ARROW_ASSIGN_OR_RAISE(const auto token, engine::CancelToken::Make());
  const InterruptHandler interrupt(token);
  ARROW_ASSIGN_OR_RAISE(const auto engine, engine::Engine::Make(EngineOptionsHere()));
  auto explanation = engine->Explain(arguments.run, token);
  if (token.cancelled()) return arrow::Status::Cancelled("interrupted");
  return explanation;
}

arrow::Result<MachineInfo> CollectInfo() {
  const engine::EngineOptions options = EngineOptionsHere();
  ARROW_ASSIGN_OR_RAISE(const auto engine, engine::Engine::Make(options));
  MachineInfo info;
  info.backends = engine->DescribeBackends();
  info.shim_path = options.shim_path;
  info.cores = static_cast<int>(std::thread::hardware_concurrency());
  ARROW_ASSIGN_OR_RAISE(info.zygote, engine->Probe());
  return info;
}

}  // namespace

int Explain(const Arguments& arguments) {
  const auto explanation = ExplainProject(arguments);
  if (explanation.status().IsCancelled()) return kExitInterrupted;
  if (!explanation.ok()) return Fail(explanation.status());
  if (arguments.format == OutputFormat::kJson) {
    PrintJson(explanation->ToJson());
  } else if (explanation->errors.empty()) {
    PrintTo(stdout, explanation->ToText());
  }
  for (const RunError& error : explanation->errors) {
    PrintTo(stderr, RenderError(error, arguments.run.project_dir, StyleOf(STDERR_FILENO)));
  }
  return explanation->errors.empty() ? kExitSuccess : kExitFailed;
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

int RunInline(const Arguments& arguments) {
  std::vector<std::string> words = {PythonInterpreter(), "-P",        "-m",
                                    "zerrow._inline",    "--project", arguments.run.project_dir};
  for (const auto& [name, value] : arguments.run.parameters) {
    words.insert(words.end(), {"--param", name + "=" + value});
  }
  words.push_back(*arguments.inline_model);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  return Fail(arrow::Status::IOError(
      fmt::format("can't start {}: {}", words.front(), std::strerror(errno))));
}

}  // namespace zerrow::cli
