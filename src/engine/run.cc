#include "engine/run.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace zerrow::engine {

using arrow::Status;
using nlohmann::json;
using resource::TaskSpec;
using resource::Time;

namespace {

// Reading the project comes first, then environments, then the plan's nodes in their order.
constexpr size_t kDiscover = 0;
constexpr size_t kFirstPlanned = 1;

std::optional<std::vector<std::string>> Texts(const json& list) {
  if (!list.is_array()) return std::nullopt;
  std::vector<std::string> texts;
  for (const json& item : list) {
    if (!item.is_string()) return std::nullopt;
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

// {"columns": [[name, type]], "rows": [[value]], "total_rows": n}
std::optional<Preview> ReadPreview(const std::string& model, const json& value) {
  if (!value.is_object() || !value.contains("columns") || !value.contains("rows") ||
      !value.contains("total_rows") || !value["columns"].is_array() || !value["rows"].is_array() ||
      !value["total_rows"].is_number_integer()) {
    return std::nullopt;
  }
  Preview preview;
  preview.model = model;
  preview.total_rows = value["total_rows"].get<int64_t>();
  if (preview.total_rows < 0) return std::nullopt;
  for (const json& column : value["columns"]) {
    auto texts = Texts(column);
    if (!texts || texts->size() != 2) return std::nullopt;
    preview.columns.emplace_back(std::move((*texts)[0]), std::move((*texts)[1]));
  }
  for (const json& row : value["rows"]) {
    if (!row.is_array() || row.size() != preview.columns.size()) return std::nullopt;
    preview.rows.emplace_back(row.begin(), row.end());
  }
  return preview;
}

RunError ErrorOf(std::string message) {
  RunError error;
  error.message = std::move(message);
  return error;
}

Failure FailureOf(std::string message) {
  Failure failure;
  failure.error = ErrorOf(std::move(message));
  return failure;
}

}  // namespace

Run::Run(std::string name, RunRequest request, Time began)
    : request_(std::move(request)), began_(began) {
  report_.run_id = std::move(name);
  report_.backend = request_.backend;
}

const std::string& Run::NameOf(size_t task) const {
  static const std::string none;
  const RunTask& what = tasks_[task];
  if (what.kind == RunTask::Kind::kDiscover || what.kind == RunTask::Kind::kEnvironment)
    return none;
  return plan_.nodes[what.node].name;
}

const PreparedEnvironment* Run::EnvironmentOf(size_t task) const {
  if (tasks_[task].kind != RunTask::Kind::kNode) return nullptr;
  const auto& environment = plan_.nodes[tasks_[task].node].environment;
  return environment && environments_[*environment] ? &*environments_[*environment] : nullptr;
}

std::vector<TaskSpec> Run::FirstTasks() {
  tasks_ = {RunTask{}};
  started_ = {0};
  failures_.resize(1);
  return {SpecOf(tasks_[kDiscover])};
}

std::vector<TaskSpec> Run::OnPlanned(PlanResult planned) {
  plan_ = std::move(planned.plan);
  report_.errors = std::move(planned.errors);
  failed_ = std::move(planned.refused);
  if (!failed_.ok() || !report_.errors.empty() || request_.plan_only) return {};
  for (const PlanNode& node : plan_.nodes) {
    ModelReport model;
    model.name = node.name;
    model.kind = node.kind;
    report_.models.push_back(std::move(model));
  }
  if (request_.options.account) report_.import_again = plan_.import_again;
  tables_.resize(plan_.nodes.size());
  AddTasks();
  started_.resize(tasks_.size());
  failures_.resize(tasks_.size());
  std::vector<TaskSpec> specs;
  for (size_t i = kFirstPlanned; i < tasks_.size(); ++i) specs.push_back(SpecOf(tasks_[i]));
  return specs;
}

void Run::AddTasks() {
  using enum RunTask::Kind;
  const RunOptions& options = request_.options;
  for (size_t i = 0; i < plan_.environments.size(); ++i) {
    const auto first = std::ranges::find(plan_.nodes, std::optional(i), &PlanNode::environment);
    tasks_.push_back({kEnvironment, static_cast<size_t>(first - plan_.nodes.begin()), "", i});
  }
  environments_.resize(plan_.environments.size());
  first_node_ = tasks_.size();
  for (size_t i = 0; i < plan_.nodes.size(); ++i) tasks_.push_back({kNode, i, ""});
  const bool checked = std::ranges::any_of(
      plan_.nodes, [](const PlanNode& node) { return node.kind == ModelKind::kExpectation; });
  if (options.strict && options.output_dir && checked) {
    checks_ = tasks_.size();
    tasks_.push_back({kChecks, 0, ""});
  }
  for (size_t i = 0; i < plan_.nodes.size(); ++i) {
    const PlanNode& node = plan_.nodes[i];
    if (!node.final_model) continue;
    if (options.preview_rows > 0) tasks_.push_back({kPreview, i, ""});
    if (options.output_dir) {
      tasks_.push_back({kExport, i, *options.output_dir + "/" + node.name + ".parquet"});
    }
    if (options.query && !options.query->output.empty()) {
      tasks_.push_back({kExport, i, options.query->output});
    }
  }
}

TaskSpec Run::SpecOf(const RunTask& task) const {
  TaskSpec spec;
  spec.has_table = false;
  if (task.kind == RunTask::Kind::kDiscover) {
    spec.timeout_s = request_.import_timeout_s;
  } else if (task.kind == RunTask::Kind::kNode) {
    const PlanNode& node = plan_.nodes[task.node];
    for (const PlanInput& input : node.inputs) spec.inputs.push_back(TaskOf(input.node));
    // Nothing runs before all environments are there.
    for (size_t i = kFirstPlanned; i < first_node_; ++i) spec.after.push_back(i);
    if (request_.options.inline_model != node.name) spec.timeout_s = node.model.timeout_s;
    spec.deterministic = node.model.deterministic;
    spec.expected.private_bytes = node.model.memory_bytes.value_or(0);
    spec.has_table = node.has_table();
    spec.kept = spec.has_table && IsKept(node);
  } else if (task.kind == RunTask::Kind::kChecks) {
    spec.gate = true;
    for (size_t i = 0; i < plan_.nodes.size(); ++i) {
      if (plan_.nodes[i].kind == ModelKind::kExpectation) spec.after.push_back(TaskOf(i));
    }
  } else if (task.kind != RunTask::Kind::kEnvironment) {
    spec.inputs = {TaskOf(task.node)};
    // Nothing is written before each check has ended well.
    if (task.kind == RunTask::Kind::kExport && checks_) spec.after = {*checks_};
  }
  return spec;
}

bool Run::IsKept(const PlanNode& node) const {
  return std::ranges::any_of(request_.options.keep, [&](const std::string& name) {
    return name == node.name || (name == "*" && !node.of_source());
  });
}

bool Run::IsHashed(const RunTask& task) const {
  if (!request_.hash_outputs || task.kind != RunTask::Kind::kNode) return false;
  const PlanNode& node = plan_.nodes[task.node];
  return node.has_table() && node.model.deterministic;
}

ModelReport* Run::ReportOf(size_t task) {
  const RunTask& what = tasks_[task];
  return what.kind == RunTask::Kind::kNode ? &report_.models[what.node] : nullptr;
}

void Run::OnStarted(size_t task, Time now) {
  started_[task] = now;
  failures_[task].reset();  // of an attempt before
  outdated_.erase(task);
  if (task != kDiscover) return;
  failed_ = Status::OK();
  importing_.clear();
}

void Run::OnLeft(size_t task, const Outcome& outcome, Time now) {
  ModelReport* model = ReportOf(task);
  if (model == nullptr) return;
  model->wall_s = now - started_[task];
  model->cpu_s = outcome.cpu_s;
  model->peak_memory_bytes = outcome.peak_memory_bytes;
  if (!model->timings) return;
  model->timings->exit_s = outcome.exit_s;
  model->timings->exit_cpu_s = outcome.exit_cpu_s;
}

ModelStatus Run::OnEnded(size_t task, Outcome outcome, Time now) {
  const ModelStatus status = Take(task, outcome);
  OnLeft(task, outcome, now);
  return status;
}

ModelStatus Run::Take(size_t task, Outcome& outcome) {
  // From here on each imports it, whichever process it was.
  if (outcome.lost && !outcome.for_memory && EnvironmentOf(task) == nullptr &&
      report_.import_again && report_.import_again->empty()) {
    report_.import_again = "the process that had imported it was lost during the run";
  }
  if (auto* failure = std::get_if<Failure>(&outcome.what)) return Fail(task, std::move(*failure));
  if (const auto* status = std::get_if<Status>(&outcome.what)) {
    if (task == kDiscover) failed_ = *status;
    return Fail(task, FailureOf(status->message()));
  }
  if (std::holds_alternative<PlanResult>(outcome.what)) return ModelStatus::kSuccess;
  if (const auto* table = std::get_if<TablePtr>(&outcome.what)) return OnTable(task, *table);
  return OnValue(task, std::get<json>(outcome.what));
}

ModelStatus Run::OnTable(size_t task, const TablePtr& table) {
  ModelReport* model = ReportOf(task);
  if (model == nullptr || model->kind == ModelKind::kExpectation) {
    return Fail(task, FailureOf("its worker answered with a table where none was asked for"));
  }
  NoteTable(task, table);
  return ModelStatus::kSuccess;
}

void Run::NoteTable(size_t task, const TablePtr& table) {
  ModelReport& model = *ReportOf(task);
  model.rows = table->rows;
  model.bytes = table->bytes;
  model.cache = table->cache;
  if (request_.options.account) model.timings = table->timings;
  const size_t node = tasks_[task].node;
  tables_[node] = table;
  // What was dropped and made again is kept as it was first made.
  if (!kept_.contains(model.name)) Keep(task, table);
}

void Run::Keep(size_t task, const TablePtr& table) {
  if (!IsKept(plan_.nodes[tasks_[task].node])) return;
  // Of a source all of it, which is then its first read.
  kept_tables_[task] = table->reads.empty() ? table : table->reads.front();
}

ModelStatus Run::OnValue(size_t task, const json& value) {
  const RunTask& what = tasks_[task];
  if (what.kind == RunTask::Kind::kPreview) {
    const Status noted = NotePreview(what.node, value);
    if (noted.ok()) return ModelStatus::kSuccess;
    return Fail(task, FailureOf(noted.message()));
  }
  if (what.kind == RunTask::Kind::kEnvironment) return OnEnvironment(task, value);
  if (what.kind == RunTask::Kind::kExport) {
    outdated_files_.erase(what.path);
    report_.outputs.push_back(what.path);
    return ModelStatus::kSuccess;
  }
  ModelReport* model = ReportOf(task);
  if (model != nullptr && model->kind == ModelKind::kExpectation) {
    return OnExpectation(*model, task, value);
  }
  return Fail(task, FailureOf("its worker answered with something else than was asked for"));
}

ModelStatus Run::OnEnvironment(size_t task, const json& value) {
  auto prepared = ReadPrepared(value);
  if (!prepared.ok()) return Fail(task, FailureOf(prepared.status().message()));
  environments_[tasks_[task].environment] = *std::move(prepared);
  return ModelStatus::kSuccess;
}

// {"met": bool} and, where it isn't met, why and where, and some of the rows that aren't as
// expected.
ModelStatus Run::OnExpectation(ModelReport& model, size_t task, const json& value) {
  Failure failure = ReadFailure(value, "the expectation isn't met");
  const auto met = value.is_object() ? value.find("met") : value.end();
  if (met == value.end() || !met->is_boolean()) {
    return Fail(task, FailureOf("its worker answered with something else than was asked for"));
  }
  model.expectation = met->get<bool>();
  model.offending.reset();
  if (*model.expectation) return ModelStatus::kSuccess;
  if (const auto rows = value.find("offending"); rows != value.end() && !rows->is_null()) {
    model.offending = ReadPreview(model.name, *rows);
  }
  const ModelStatus status = Fail(task, std::move(failure));
  return request_.options.strict ? status : ModelStatus::kSuccess;
}

ModelStatus Run::Fail(size_t task, Failure failure) {
  failure.error = Located(task, std::move(failure.error));
  failures_[task] = std::move(failure);
  return failures_[task]->status;
}

RunError Run::Located(size_t task, RunError error) const {
  if (task == kDiscover) {
    if (!error.file.empty()) return error;
    error.file = importing_;
    error.message = "while the project was read, " + error.message;
    return error;
  }
  const PlanNode& node = plan_.nodes[tasks_[task].node];
  error.model = node.name;
  if (error.file.empty()) {
    error.file = node.file();
    if (error.line <= 0) error.line = node.line();
  }
  if (tasks_[task].kind == RunTask::Kind::kExport) {
    error.message = "writing it to a file failed: " + error.message;
  } else if (tasks_[task].kind == RunTask::Kind::kPreview) {
    error.message = "its preview failed: " + error.message;
  }
  return error;
}

Status Run::NotePreview(size_t node, const json& value) {
  auto preview = ReadPreview(plan_.nodes[node].name, value);
  if (!preview) return Status::SerializationError("its preview is malformed");
  report_.previews.push_back(*std::move(preview));
  return Status::OK();
}

const ModelReport* Run::OnFinished(size_t task, ModelStatus status, const std::string& why) {
  const std::optional<Failure> failure = std::exchange(failures_[task], std::nullopt);
  std::optional<RunError> error;
  if (failure) error = failure->error;
  // One that hung at its end has said so itself.
  if (status == ModelStatus::kTimeout && !(failure && failure->status == status)) {
    failed_ = Status::OK();
    error = TimeoutOf(task);
  }
  if (!why.empty()) error = ErrorOfCore(task, why);
  if (status == ModelStatus::kCancelled || status == ModelStatus::kSkipped) error.reset();
  ModelReport* model = ReportOf(task);
  if (model == nullptr) {
    // Where the model itself succeeded the error is the run's.
    if (error) report_.errors.push_back(*std::move(error));
    return nullptr;
  }
  model->status = status;
  (status == ModelStatus::kSuccess ? model->warning : model->error) = std::move(error);
  const size_t node = tasks_[task].node;
  if (status != ModelStatus::kSuccess) {
    // It may have answered with a table before it was stopped.
    tables_[node].reset();
    kept_tables_.erase(task);
    model->rows.reset();
    model->bytes = {};
    model->cache.reset();
    model->timings.reset();
  } else if (kept_tables_.contains(task)) {
    kept_[model->name] = task;
  }
  return model;
}

RunError Run::TimeoutOf(size_t task) const {
  if (task != kDiscover) {
    return Located(task, ErrorOf(fmt::format("it took longer than its timeout of {} s",
                                             SpecOf(tasks_[task]).timeout_s.value_or(0))));
  }
  RunError error =
      ErrorOf(fmt::format("reading the project took longer than {} s", request_.import_timeout_s));
  if (importing_.empty()) return error;
  error.file = importing_;
  error.message = "importing this file hangs: " + error.message;
  return error;
}

// An input may have failed when it was to be made again, which its own report doesn't tell.
RunError Run::ErrorOfCore(size_t task, const std::string& why) const {
  std::string message = why;
  for (const size_t input : SpecOf(tasks_[task]).inputs) {
    if (!failures_[input] || failures_[input]->error.message.empty()) continue;
    message += fmt::format(" ('{}': {})", NameOf(input), failures_[input]->error.message);
  }
  return Located(task, ErrorOf(std::move(message)));
}

void Run::OnReleased(size_t task) { tables_[tasks_[task].node].reset(); }

void Run::OnVaried(size_t task) {
  varied_.try_emplace(task);
  Keep(task, tables_[tasks_[task].node]);
}

bool Run::OnRestarted(size_t task, size_t cause) {
  if (const auto varied = varied_.find(cause); varied != varied_.end()) {
    varied->second.insert(task);
  }
  outdated_.insert(task);
  ModelReport* model = ReportOf(task);
  if (model == nullptr) return Withdraw(tasks_[task]), false;
  const bool succeeded = model->status == ModelStatus::kSuccess;
  ModelReport none;
  none.name = model->name;
  none.kind = model->kind;
  *model = std::move(none);
  kept_.erase(model->name);
  kept_tables_.erase(task);
  return succeeded;
}

void Run::Withdraw(const RunTask& task) {
  if (task.kind == RunTask::Kind::kExport) {
    std::erase(report_.outputs, task.path);
    outdated_files_.emplace(task.path, task.node);
  } else if (task.kind == RunTask::Kind::kPreview) {
    const std::string& name = plan_.nodes[task.node].name;
    std::erase_if(report_.previews, [&](const Preview& shown) { return shown.model == name; });
  }
}

void Run::ReportVaried() {
  for (const auto& [task, restarted] : varied_) {
    const auto is_model = [this](size_t index) { return ReportOf(index) != nullptr; };
    report_.varying.push_back({NameOf(task), std::ranges::count_if(restarted, is_model)});
  }
  // A file of a run that failed before it was written again.
  for (const auto& [path, node] : outdated_files_) {
    RunError error = ErrorOf(path + " holds what was made of an earlier version of a table that " +
                             "came out differently later in this run");
    error.model = plan_.nodes[node].name;
    error.file = plan_.nodes[node].file();
    error.line = plan_.nodes[node].line();
    report_.errors.push_back(std::move(error));
  }
}

void Run::NoteMemory(const std::map<size_t, MemoryWait>& waits, int64_t limit_bytes) {
  if (limit_bytes != resource::Budget::kUnlimited) report_.memory_limit_bytes = limit_bytes;
  for (const auto& [task, wait] : waits) {
    if (ModelReport* model = ReportOf(task)) model->memory_wait = wait;
  }
}

Status Run::Finish(Time now, RunUse use) {
  report_.wall_s = now - began_;
  report_.peak_memory_bytes = use.peak_memory_bytes;
  report_.kernelzero = std::move(use.kernelzero);
  ReportVaried();
  const bool planned = tasks_.size() > kFirstPlanned || request_.plan_only;
  const bool succeeded = planned && report_.errors.empty() &&
                         std::ranges::all_of(report_.models, [](const auto& model) {
                           return model.status == ModelStatus::kSuccess;
                         });
  report_.status = cancelled_  ? RunStatus::kCancelled
                   : succeeded ? RunStatus::kSuccess
                               : RunStatus::kFailed;
  if (cancelled_) return Status::OK();
  return failed_;
}

}  // namespace zerrow::engine
