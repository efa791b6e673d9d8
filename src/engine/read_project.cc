// RunLoop's first part: a worker reads the project, and its description becomes the plan.
#include <utility>

#include "engine/run_loop.h"

namespace zerrow::engine {

void RunLoop::StartDiscovery() {
  WorkerHandlers handlers;
  handlers.on_forked = [this](pid_t pid) { sampler_.AddProcess(pid); };
  handlers.on_line = [this](int stream, std::string_view line) {
    observer_.OnOutputLine("", stream, line);
  };
  handlers.on_importing = [this](std::string file) { importing_ = std::move(file); };
  handlers.on_ended = [this](WorkerEnd end) { OnDiscovered(std::move(end)); };
  const TaskMessage task = messages_.Discover();
  auto started = workers_->Start(task.body, task.fds, {}, std::move(handlers));
  if (!started.ok()) return StopAll(started.status());
  discovery_ = *started;
}

void RunLoop::CheckDiscoveryTime() {
  const auto seconds = [](auto duration) {
    return std::chrono::duration<double>(duration).count();
  };
  if (!ready_at_ && Now() > seconds(settings_.start_timeout)) {
    return workers_->Abandon("it wasn't ready after " +
                             std::to_string(settings_.start_timeout.count() / 1000) +
                             " s; $ZERROW_START_TIMEOUT_S gives it more");
  }
  if (ready_at_ && !import_timed_out_ && Now() - *ready_at_ > seconds(settings_.import_timeout)) {
    import_timed_out_ = true;
    workers_->Kill(*discovery_);
  }
}

void RunLoop::OnDiscovered(WorkerEnd end) {
  discovery_.reset();
  if (done_) return;
  // Without a zygote nothing can go on; OnZygoteLost follows.
  if (workers_->lost()) return;
  if (import_timed_out_) {
    RunError error;
    error.file = importing_;
    error.message = "reading the project took longer than " +
                    std::to_string(settings_.import_timeout.count() / 1000) + " s";
    if (!importing_.empty()) error.message = "importing this file hangs: " + error.message;
    return FailDiscovery(std::move(error));
  }
  end.stopped = discovery_overstayed_;
  Answer answer = ReadAnswer(std::move(end));
  if (const auto* value = std::get_if<ValueAnswer>(&answer)) return OnDescription(value->value);
  RunError error;
  if (auto* failure = std::get_if<Failure>(&answer)) error = std::move(failure->error);
  if (error.message.empty()) error.message = "the project's description is missing";
  if (error.file.empty()) {
    error.file = importing_;
    error.message = "while the project was read, " + error.message;
  }
  FailDiscovery(std::move(error));
}

void RunLoop::OnDescription(const nlohmann::json& value) {
  const auto description = ParseDescription(value);
  if (!description.ok()) {
    RunError error;
    error.message = description.status().message();
    return FailDiscovery(std::move(error));
  }
  PlanResult planned = MakePlan(*description, settings_.options);
  plan_ = std::move(planned.plan);
  result_.report.errors = std::move(planned.errors);
  if (!result_.report.errors.empty() || settings_.plan_only) {
    done_ = true;
    return;
  }
  StartPlan();
}

void RunLoop::FailDiscovery(RunError error) {
  result_.report.errors.push_back(std::move(error));
  done_ = true;
}

}  // namespace zerrow::engine
