// RunLoop's second part: performs the scheduler's decisions and turns workers' ends into events.
#include <algorithm>
#include <utility>

#include "engine/run_loop.h"

namespace zerrow::engine {

using arrow::Status;

void RunLoop::StartPlan() {
  tables_.resize(plan_.nodes.size());
  for (const PlanNode& node : plan_.nodes) {
    ModelReport report;
    report.name = node.name;
    report.kind = node.kind;
    result_.report.models.push_back(std::move(report));
  }
  tasks_ = MakeTasks();
  std::vector<SchedulerNode> nodes;
  for (const Task& task : tasks_) nodes.push_back(NodeFor(task));
  scheduler_.emplace(std::move(nodes), settings_.options.jobs);
  observer_.OnPlanned(result_.report.models);
  Perform(scheduler_->Start(Now()));
}

SchedulerNode RunLoop::NodeFor(const Task& task) const {
  SchedulerNode node;
  node.has_table = false;
  if (task.kind == Task::Kind::kNode) {
    const PlanNode& planned = plan_.nodes[task.node];
    for (const auto& input : planned.inputs) node.inputs.push_back(input.node);
    node.timeout_s = planned.model.timeout_s;
    node.has_table = planned.has_table();
    return node;
  }
  node.inputs = {task.node};
  // A gate: nothing is written before each check has ended well.
  if (task.kind == Task::Kind::kExport && settings_.options.strict) {
    for (size_t i = 0; i < plan_.nodes.size(); ++i) {
      if (plan_.nodes[i].kind == ModelKind::kExpectation) node.after.push_back(i);
    }
  }
  return node;
}

// The plan's nodes first, so that a node's index is its task's, then what is done with tables.
std::vector<RunLoop::Task> RunLoop::MakeTasks() const {
  const RunOptions& options = settings_.options;
  std::vector<Task> tasks;
  for (size_t i = 0; i < plan_.nodes.size(); ++i) tasks.push_back({Task::Kind::kNode, i, ""});
  for (size_t i = 0; i < plan_.nodes.size(); ++i) {
    const PlanNode& node = plan_.nodes[i];
    const bool listed = std::ranges::find(options.preview, node.name) != options.preview.end();
    if (options.preview_rows > 0 && (options.preview.empty() ? node.final_model : listed)) {
      tasks.push_back({Task::Kind::kPreview, i, ""});
    }
    if (options.output_dir && node.final_model) {
      tasks.push_back({Task::Kind::kExport, i, *options.output_dir + "/" + node.name + ".parquet"});
    }
  }
  return tasks;
}

void RunLoop::Perform(const std::vector<Decision>& decisions) {
  for (const Decision& decision : decisions) {
    switch (decision.kind) {
      case Decision::Kind::kStart:
        StartTask(decision.node);
        break;
      case Decision::Kind::kStop:
        StopTask(decision.node);
        break;
      case Decision::Kind::kFinish:
        FinishTask(decision.node, decision.status);
        break;
      case Decision::Kind::kRelease:
        tables_[tasks_[decision.node].node].reset();
        break;
    }
  }
  if (scheduler_->done()) done_ = true;
}

void RunLoop::StartTask(size_t index) {
  Running& running = running_[index];
  running.started = Now();
  if (tasks_[index].kind == Task::Kind::kNode) {
    observer_.OnModelStarted(plan_.nodes[tasks_[index].node].name);
  }
  const Status launched = Launch(index, running);
  if (launched.ok()) return;
  Failure failure;
  failure.error.message = "its process can't be started: " + launched.message();
  // Later, from the loop: the scheduler is still giving its decisions.
  loop_->Post([] {}, [this, index, failure] { OnFailed(index, failure); });
}

TaskMessage RunLoop::MessageFor(const Task& task) const {
  const PlanNode& node = plan_.nodes[task.node];
  switch (task.kind) {
    case Task::Kind::kPreview:
      return messages_.Preview(node, *tables_[task.node], settings_.options.preview_rows);
    case Task::Kind::kExport:
      return messages_.Export(node, *tables_[task.node], task.path);
    case Task::Kind::kNode:
      break;
  }
  std::vector<const PublishedTable*> inputs;
  for (const auto& input : node.inputs) inputs.push_back(tables_[input.node].get());
  return messages_.Node(node, inputs);
}

Status RunLoop::Launch(size_t index, Running& running) {
  const Task& task = tasks_[index];
  TaskMessage message = MessageFor(task);
  base::UniqueFd broker;
  if (task.kind == Task::Kind::kNode && settings_.backend == BackendKind::kKernelZero) {
    running.segment = memory_->ids().Next();
    message.body["segment"] = running.segment;
  }
  if (task.kind == Task::Kind::kNode && settings_.backend == BackendKind::kMemfd) {
    running.broker_id = index + 1;
    ARROW_ASSIGN_OR_RAISE(broker, memory_->broker().AddWorker(running.broker_id));
  }
  WorkerHandlers handlers;
  handlers.on_forked = [this, index](pid_t pid) {
    running_[index].pid = pid;
    sampler_.AddProcess(pid);
  };
  const std::string& name = plan_.nodes[task.node].name;
  handlers.on_line = [this, name](int stream, std::string_view line) {
    observer_.OnOutputLine(name, stream, line);
  };
  handlers.on_ended = [this, index](WorkerEnd end) { OnTaskEnded(index, std::move(end)); };
  ARROW_ASSIGN_OR_RAISE(running.worker, workers_->Start(message.body, message.fds,
                                                        std::move(broker), std::move(handlers)));
  return Status::OK();
}

void RunLoop::StopTask(size_t index) {
  Running& running = running_[index];
  if (!running.worker) return;  // it is gone already, its output is being published
  running.killed_at = Now();
  workers_->Kill(*running.worker);
}

void RunLoop::OnTaskEnded(size_t index, WorkerEnd end) {
  Running& running = running_[index];
  running.worker.reset();
  if (tasks_[index].kind == Task::Kind::kNode) {
    ModelReport& report = result_.report.models[tasks_[index].node];
    report.cpu_s = end.cpu_s;
    report.peak_memory_bytes = running.pid > 0 ? sampler_.RemoveProcess(running.pid) : 0;
    // It may have lived too shortly to be sampled.
    if (report.peak_memory_bytes == 0) report.peak_memory_bytes = end.max_rss_bytes;
  } else if (running.pid > 0) {
    sampler_.RemoveProcess(running.pid);
  }
  end.stopped = running.killed_at.has_value();
  Answer answer = ReadAnswer(std::move(end));
  if (auto* output = std::get_if<OutputAnswer>(&answer)) {
    return OnOutput(index, std::move(*output));
  }
  GiveBack(TakeChunks(running));
  if (auto* failure = std::get_if<Failure>(&answer)) {
    if (failure->status == ModelStatus::kKilled && CountOomKills() > oom_kills_before_) {
      failure->error.message += "; meanwhile the kernel killed a process because memory ran out";
    }
    return OnFailed(index, std::move(*failure));
  }
  OnValue(index, std::get<ValueAnswer>(answer).value);
}

void RunLoop::OnOutput(size_t index, OutputAnswer output) {
  struct Job {
    OutputAnswer output;
    std::vector<TablePtr> inputs;
    std::vector<shm::GrantedChunk> chunks;
    arrow::Result<TablePtr> table = Status::UnknownError("not published");
  };
  const Task& task = tasks_[index];
  auto job = std::make_shared<Job>();
  job->chunks = TakeChunks(running_[index]);
  if (task.kind != Task::Kind::kNode || !plan_.nodes[task.node].has_table()) {
    GiveBack(std::move(job->chunks));
    Failure failure;
    failure.error.message = "its worker answered with a table where none was asked for";
    return OnFailed(index, std::move(failure));
  }
  job->output = std::move(output);
  for (const auto& input : plan_.nodes[task.node].inputs) {
    job->inputs.push_back(tables_[input.node]);
  }
  loop_->Post(
      [job, memory = memory_, segment = running_[index].segment] {
        job->table = PublishOutput(std::move(job->output), job->inputs, std::move(job->chunks),
                                   segment, memory.get());
        job->inputs.clear();
      },
      [this, index, job] { OnPublished(index, std::move(job->table)); });
}

void RunLoop::OnPublished(size_t index, arrow::Result<TablePtr> published) {
  if (!published.ok()) {
    Failure failure;
    failure.error.message = "its output can't be published: " + published.status().message();
    return OnFailed(index, std::move(failure));
  }
  const size_t node = tasks_[index].node;
  const PublishedTable& table = **published;
  ModelReport& report = result_.report.models[node];
  report.rows = table.rows;
  report.bytes = table.bytes;
  report.new_bytes = table.new_bytes;
  report.reshared_bytes = table.reshared_bytes;
  report.copied_bytes = table.copied_bytes;
  report.duplicate_bytes = table.duplicate_bytes;
  if (settings_.options.account) report.timings = table.timings;
  tables_[node] = *published;
  EndTask(index, ModelStatus::kSuccess);
}

void RunLoop::OnValue(size_t index, const nlohmann::json& value) {
  const Task& task = tasks_[index];
  Failure failure;
  if (task.kind == Task::Kind::kPreview) {
    const Status noted = NotePreview(task.node, value);
    if (noted.ok()) return EndTask(index, ModelStatus::kSuccess);
    failure.error.message = noted.message();
  } else if (task.kind == Task::Kind::kExport) {
    result_.report.outputs.push_back(task.path);
    return EndTask(index, ModelStatus::kSuccess);
  } else if (auto met = ReadExpectation(value); met && !plan_.nodes[task.node].has_table()) {
    result_.report.models[task.node].expectation = met->met;
    if (met->met || !settings_.options.strict) return EndTask(index, ModelStatus::kSuccess);
    failure.error = std::move(met->error);
  } else {
    failure.error.message = "its worker answered with something else than was asked for";
  }
  OnFailed(index, std::move(failure));
}

void RunLoop::OnFailed(size_t index, Failure failure) {
  const auto running = running_.find(index);
  const bool ours = running != running_.end() && running->second.killed_at.has_value();
  // Why it was killed is known better.
  if (!ours || failure.status != ModelStatus::kKilled) NoteError(index, std::move(failure.error));
  EndTask(index, failure.status);
}

void RunLoop::EndTask(size_t index, ModelStatus status) {
  const auto running = running_.find(index);
  if (running == running_.end()) return;
  GiveBack(TakeChunks(running->second));  // none are left unless it never started
  const Task& task = tasks_[index];
  int64_t bytes = 0;
  if (task.kind == Task::Kind::kNode) {
    result_.report.models[task.node].wall_s = Now() - running->second.started;
    bytes = result_.report.models[task.node].new_bytes;
  }
  running_.erase(running);
  Perform(scheduler_->OnEnded(index, status, bytes, Now()));
}

}  // namespace zerrow::engine
