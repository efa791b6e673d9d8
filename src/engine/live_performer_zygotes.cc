// In which zygote a task's worker is forked: the run's own, or that of its model's environment.
#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "engine/environment.h"
#include "engine/live_performer.h"
#include "shm/kernelzero.h"

namespace zerrow::engine {

using nlohmann::json;
using resource::RunId;
using resource::TaskId;

namespace {

// Waiting workers beyond a few wouldn't be there sooner, as one process forks them.
constexpr size_t kMostAhead = 4;

bool NeedsProject(const RunTask& task, const Run& run) {
  return task.kind == RunTask::Kind::kNode && run.plan().nodes[task.node].imports();
}

bool IsElsewhere(const RunTask& task, const Run& run) {
  return task.kind == RunTask::Kind::kNode && run.plan().nodes[task.node].environment.has_value();
}

}  // namespace

LivePerformer::ActiveRun& LivePerformer::Activate(RunId id, const Run& run) {
  const auto [active, is_new] = runs_.try_emplace(id);
  if (!is_new) return active->second;
  const RunRequest& request = run.request();
  ZygoteOptions& zygote = active->second.zygote;
  zygote.python = request.surroundings.python;
  zygote.python_path = request.surroundings.python_path;
  zygote.environment = request.surroundings.environment;
  zygote.descriptors = request.surroundings.descriptors;
  zygote.attributes = request.surroundings.attributes;
  zygote.start_timeout = request.start_timeout;
  zygote.exit_timeout = request.exit_timeout;
  zygote.preload = request.libraries;
  active->second.run = &run;
  active->second.backend = options_.backend(request.backend);
  if (!request.plan_only) active->second.backend->Configure(zygote);
  if (request.options.account && active->second.backend->kind() == BackendKind::kKernelZero) {
    active->second.kernelzero = shm::KernelZeroCounters();
  }
  return active->second;
}

ZygoteOptions LivePerformer::ZygoteFor(TaskId task, const ActiveRun& active) {
  const PreparedEnvironment* environment = active.run->EnvironmentOf(task.index);
  return environment == nullptr ? active.zygote : In(*environment, active.zygote);
}

// The importer is the default environment's: elsewhere each worker imports its model's file.
std::optional<RunImport> LivePerformer::ImportFor(TaskId id, const Run& run) {
  const RunTask& task = run.task(id.index);
  const bool first = task.kind == RunTask::Kind::kDiscover;
  const bool from_importer = NeedsProject(task, run) && !IsElsewhere(task, run);
  return first || from_importer ? std::optional(RunImport{id.run, first}) : std::nullopt;
}

// As many as may start next.
void LivePerformer::ForkAhead(TaskId started, const Attempt& attempt, ActiveRun& active) {
  const Run& run = *active.run;
  // While memory is short a fork fails.
  if (attempt.kind == RunTask::Kind::kDiscover || sampler_.is_full()) return;
  // Null: nobody is forked ahead for it.
  const auto unstarted = [&](size_t index) -> size_t* {
    const RunTask& task = run.task(index);
    if (task.kind == RunTask::Kind::kChecks || task.kind == RunTask::Kind::kEnvironment ||
        IsElsewhere(task, run)) {
      return nullptr;
    }
    return &active.unstarted[NeedsProject(task, run) ? 1 : 0];
  };
  if (!std::exchange(active.planned, true)) {
    for (size_t i = 1; i < run.task_count(); ++i) {
      if (size_t* count = unstarted(i)) ++*count;
    }
  }
  size_t* const own = unstarted(started.index);
  if (own == nullptr) return;
  if (attempt.number == 1) --*own;
  const size_t most = std::min(kMostAhead, static_cast<size_t>(run.request().options.jobs));
  const auto [others, importing] = active.unstarted;
  attempt.pool->ForkAhead(std::min(most, importing), started.run);
  attempt.pool->ForkAhead(std::min(most, others), std::nullopt);
}

decltype(Outcome::what) LivePerformer::HoldEnvironment(RunId run, json value) {
  const auto hold = [&]() -> arrow::Status {
    ARROW_ASSIGN_OR_RAISE(const auto prepared, ReadPrepared(value));
    ARROW_ASSIGN_OR_RAISE(auto held, Hold(prepared));
    runs_.at(run).environments.push_back(std::move(held));
    return arrow::Status::OK();
  };
  const arrow::Status held = hold();
  if (held.ok()) return value;
  Failure failure;
  failure.error.message = held.message();
  return failure;
}

// Empty: there is no place for one.
std::string LivePerformer::ScratchFor(TaskId task, int attempt, const Run& run) {
  const std::string folder = EnvironmentsFolder(run.request().surroundings.environment);
  if (folder.empty()) return "";
  // Of an attempt before it may just be being removed.
  return folder + "/.new-" + run.name() + "-" + std::to_string(task.index) + "-" +
         std::to_string(attempt);
}

// Beside the loop, as it may hold many files.
void LivePerformer::RemoveScratch(const std::string& folder) {
  if (folder.empty()) return;
  loop_.Post(
      EventLoop::Lane::kText,
      [folder] {
        std::error_code problem;  // then it is removed with the next environment that is made
        std::filesystem::remove_all(folder, problem);
      },
      [] {});
}

}  // namespace zerrow::engine
