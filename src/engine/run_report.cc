// RunLoop's last part: what the report says.
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <sstream>
#include <utility>

#include "engine/run_loop.h"

namespace zerrow::engine {

using arrow::Status;
using nlohmann::json;

namespace {

// Sorts by time; the random part tells runs of the same second apart.
std::string MakeRunId() {
  std::array<unsigned char, 4> random{};
  [[maybe_unused]] const auto got = ::getrandom(random.data(), random.size(), 0);
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 32> text{};
  const size_t length = std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ-", &utc);
  std::string id(text.data(), length);
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (const unsigned char byte : random) {
    id += kDigits[byte >> 4];
    id += kDigits[byte & 15];
  }
  return id;
}

std::optional<std::vector<std::string>> Texts(const json& list) {
  if (!list.is_array()) return std::nullopt;
  std::vector<std::string> texts;
  for (const json& item : list) {
    if (!item.is_string()) return std::nullopt;
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

}  // namespace

void RunLoop::InitReport() {
  result_.report.run_id = MakeRunId();
  result_.report.backend = settings_.backend;
}

void RunLoop::NoteError(size_t index, RunError error) {
  const Task& task = tasks_[index];
  const PlanNode& node = plan_.nodes[task.node];
  error.model = node.name;
  if (error.file.empty()) {
    const bool source = node.kind == ModelKind::kSource;
    error.file = source ? node.source.file : node.model.file;
    error.line = source ? node.source.line : node.model.line;
  }
  if (task.kind == Task::Kind::kNode) {
    result_.report.models[task.node].error = std::move(error);
    return;
  }
  // The model itself succeeded: the error is the run's.
  const char* what = task.kind == Task::Kind::kExport ? "writing it to a file" : "its preview";
  error.message = std::string(what) + " failed: " + error.message;
  if (!cancelled_) result_.report.errors.push_back(std::move(error));
}

Status RunLoop::NotePreview(size_t node, const json& value) {
  const auto malformed = [] { return Status::SerializationError("its preview is malformed"); };
  if (!value.is_object() || !value.contains("columns") || !value.contains("rows") ||
      !value.contains("total_rows") || !value["columns"].is_array() || !value["rows"].is_array() ||
      !value["total_rows"].is_number_integer()) {
    return malformed();
  }
  Preview preview;
  preview.model = plan_.nodes[node].name;
  preview.total_rows = value["total_rows"].get<int64_t>();
  for (const json& column : value["columns"]) {
    auto texts = Texts(column);
    if (!texts || texts->size() != 2) return malformed();
    preview.columns.emplace_back(std::move((*texts)[0]), std::move((*texts)[1]));
  }
  for (const json& row : value["rows"]) {
    auto texts = Texts(row);
    if (!texts || texts->size() != preview.columns.size()) return malformed();
    preview.rows.push_back(std::move(*texts));
  }
  result_.report.previews.push_back(std::move(preview));
  return Status::OK();
}

bool RunLoop::IsKept(const PlanNode& node) const {
  return std::ranges::any_of(settings_.options.keep, [&](const std::string& name) {
    return name == node.name || (name == "*" && node.kind != ModelKind::kSource);
  });
}

// The scheduler has the last word on a status: a node that was stopped stays stopped.
void RunLoop::FinishTask(size_t index, ModelStatus status) {
  const Task& task = tasks_[index];
  if (task.kind != Task::Kind::kNode) return;
  const PlanNode& node = plan_.nodes[task.node];
  ModelReport& report = result_.report.models[task.node];
  report.status = status;
  if (status == ModelStatus::kTimeout && !report.error) {
    std::ostringstream text;
    text << "it took longer than its timeout of " << node.model.timeout_s.value_or(0) << " s";
    RunError error;
    error.message = text.str();
    NoteError(index, std::move(error));
  } else if (status == ModelStatus::kCancelled) {
    report.error.reset();
  }
  if (status == ModelStatus::kSuccess && node.has_table() && IsKept(node)) {
    result_.tables[node.name] = tables_[task.node];
  }
  if (status != ModelStatus::kSuccess) tables_[task.node].reset();
  observer_.OnModelFinished(report);
}

RunResult RunLoop::Finish() {
  RunReport& report = result_.report;
  report.wall_s = Now();
  report.peak_memory_bytes = sampler_.peak_bytes();
  const bool succeeded = scheduler_ && report.errors.empty() &&
                         std::ranges::all_of(report.models, [](const ModelReport& model) {
                           return model.status == ModelStatus::kSuccess;
                         });
  if (cancelled_) {
    report.status = RunStatus::kCancelled;
  } else {
    report.status = succeeded ? RunStatus::kSuccess : RunStatus::kFailed;
  }
  return std::move(result_);
}

}  // namespace zerrow::engine
