// `zerrow simulate`: what a memory limit would mean for a trace or a project.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

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

namespace zerrow::cli {

using arrow::Result;
using arrow::Status;

namespace {

constexpr int64_t kMaxFileBytes = int64_t{4} << 30;

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
  ARROW_ASSIGN_OR_RAISE(auto explanation, engine->Explain(options, token));
  if (token.cancelled()) return Status::Cancelled("interrupted");
  workload.errors = std::move(explanation.errors);
  if (!workload.errors.empty()) return workload;
  ARROW_ASSIGN_OR_RAISE(auto run, EstimateRun(explanation.plan, told));
  workload.runs.push_back(std::move(run));
  workload.note =
      "Estimates from the sizes of the sources' files (4 times those of Parquet): a model's table "
      "is as large as its inputs, and it needs as much besides, at 200 MB/s; --expect says better.";
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
