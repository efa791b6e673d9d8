// `zerrow simulate`: what a memory limit would mean for a trace or a project.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/fd.h"
#include "base/machine.h"
#include "cli/commands.h"
#include "cli/estimate.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/render.h"
#include "cli/render_forecast.h"
#include "cli/surroundings.h"
#include "cli/trace.h"
#include "engine/history.h"
#include "engine/options.h"

namespace zerrow::cli {

using arrow::Result;
using arrow::Status;

namespace {

constexpr int64_t kMaxFileBytes = int64_t{4} << 30;
constexpr std::string_view kOfUnknown =
    "Of the others, a table is supposed to be as large as its inputs, and to need as much besides, "
    "at 200 MB/s; ";

/// What is to be simulated, or why the project has no plan.
struct Workload {
  std::vector<resource::ScenarioRun> runs;
  std::string note;
  std::vector<RunError> errors;
};

Result<std::string> ReadFile(const std::string& path) {
  const base::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  auto text = file.valid() ? base::ReadAll(file.get(), kMaxFileBytes)
                           : Result<std::string>(base::ErrnoStatus(errno, "it can't be read"));
  if (!text.ok()) return Status::Invalid(path, ": ", text.status().message());
  return text;
}

Result<Workload> FromTrace(const SimulateOptions& options) {
  ARROW_ASSIGN_OR_RAISE(const std::string text, ReadFile(options.workload));
  Workload workload;
  ARROW_ASSIGN_OR_RAISE(workload.runs, ParseTrace(text, options.workload, options.table_share));
  workload.note = fmt::format(
      "An operator's table is its output_gb where the trace has that column, else {:g} of its "
      "memory.",
      options.table_share);
  return workload;
}

/// As a run with these options would expect it.
std::vector<engine::NodeEstimate> Estimate(const engine::Plan& plan, const RunOptions& options,
                                           const engine::Engine& engine) {
  const bool any = options.backend == BackendKind::kAuto;
  const BackendKind backend = any ? engine.DescribeBackends().front().kind : options.backend;
  std::optional<engine::History> history;
  if (engine::History::IsWanted()) {
    history.emplace(engine::History::DefaultPath());
    history->Flush();
  }
  return engine::EstimateNodes(plan, options.project_dir, backend, history ? &*history : nullptr);
}

Result<Workload> FromProject(const Arguments& arguments) {
  Workload workload;
  std::map<std::string, ToldNeeds> told;
  if (const auto& needs = arguments.simulate.needs_file; !needs.empty()) {
    ARROW_ASSIGN_OR_RAISE(const std::string text, ReadFile(needs));
    ARROW_ASSIGN_OR_RAISE(told, ParseNeeds(text, needs));
  }
  ARROW_ASSIGN_OR_RAISE(const auto token, engine::CancelToken::Make());
  const InterruptHandler interrupt(token);
  ARROW_ASSIGN_OR_RAISE(const auto engine, engine::Engine::Make(EngineOptionsHere()));
  RunOptions options = arguments.run;
  options.project_dir = arguments.simulate.workload;
  ARROW_ASSIGN_OR_RAISE(options, engine::CompleteOptions(std::move(options)));
  ARROW_ASSIGN_OR_RAISE(auto explanation, engine->Explain(options, token));
  if (token.cancelled()) return Status::Cancelled("interrupted");
  workload.errors = std::move(explanation.errors);
  if (!workload.errors.empty()) return workload;
  const auto estimates = Estimate(explanation.plan, options, *engine);
  ARROW_ASSIGN_OR_RAISE(auto run, EstimateRun(explanation.plan, estimates, told));
  workload.runs.push_back(std::move(run));
  const auto known = std::ranges::count_if(estimates, &engine::NodeEstimate::known);
  workload.note =
      fmt::format("Earlier runs tell what {} of {} nodes take. {}--expect says better.", known,
                  estimates.size(), known == std::ssize(estimates) ? "" : kOfUnknown);
  return workload;
}

resource::ForecastOptions ForecastOptionsOf(const SimulateOptions& options) {
  resource::ForecastOptions forecast;
  forecast.core.slots = options.slots > 0 ? options.slots : base::UsableCores();
  forecast.core.policy = options.policy;
  if (options.memory_limit_bytes) forecast.core.budget.limit_bytes = *options.memory_limit_bytes;
  forecast.disk_write_bytes_per_s = static_cast<double>(options.disk_write_bytes_per_s);
  forecast.disk_read_bytes_per_s = static_cast<double>(options.disk_read_bytes_per_s);
  return forecast;
}

}  // namespace

int Simulate(const Arguments& arguments) {
  std::error_code error;
  const bool project = std::filesystem::is_directory(arguments.simulate.workload, error);
  const auto workload = project ? FromProject(arguments) : FromTrace(arguments.simulate);
  if (workload.status().IsCancelled()) return kExitInterrupted;
  if (!workload.ok()) return Fail(workload.status());
  for (const RunError& wrong : workload->errors) {
    PrintTo(stderr, RenderError(wrong, arguments.simulate.workload, StyleOf(STDERR_FILENO)));
  }
  if (!workload->errors.empty()) return kExitFailed;
  const auto options = ForecastOptionsOf(arguments.simulate);
  const auto forecast = resource::Simulate(workload->runs, options);
  if (arguments.format == OutputFormat::kJson) {
    PrintJson(ForecastJson(forecast, options, workload->note));
  } else {
    PrintTo(stdout, RenderForecast(forecast, options, workload->note));
  }
  return forecast.failed == 0 ? kExitSuccess : kExitFailed;
}

}  // namespace zerrow::cli
