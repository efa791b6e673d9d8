#include "cli/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

namespace zerrow::cli {

using arrow::Result;
using arrow::Status;
using resource::ScenarioRun;
using resource::ScenarioTask;

namespace {

constexpr double kGigabyte = 1e9;
constexpr double kMaxGigabytes = 1e6;
constexpr double kMaxSeconds = 1e12;

// eudoxia's disk.
constexpr double kScanGigabytesPerSecond = 20;

constexpr std::array<std::string_view, 9> kColumns = {
    "pipeline_id",          "arrival_seconds", "priority",  "operator_id",    "parents",
    "baseline_cpu_seconds", "cpu_scaling",     "memory_gb", "storage_read_gb"};

struct Row {
  size_t line = 0;  // where it begins
  std::vector<std::string> cells;
};

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  const size_t from = text.find_first_not_of(kBlanks);
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(kBlanks) + 1 - from);
}

/// CSV as RFC 4180 has it; blank lines are skipped.
class Rows {
 public:
  Rows(std::string_view text, const std::string& name) : rest_(text), name_(name) {}

  /// nullopt: that was the last.
  Result<std::optional<Row>> Next() {
    while (!rest_.empty() && TakeLineEnd()) continue;
    if (rest_.empty()) return std::nullopt;
    Row row{line_, {}};
    while (true) {
      ARROW_ASSIGN_OR_RAISE(auto cell, TakeCell(row.line));
      row.cells.push_back(std::move(cell));
      if (rest_.empty() || TakeLineEnd()) return row;
      rest_.remove_prefix(1);  // the comma
    }
  }

 private:
  bool TakeLineEnd() {
    const size_t length = rest_.starts_with("\r\n")                        ? 2
                          : rest_.front() == '\n' || rest_.front() == '\r' ? 1
                                                                           : 0;
    rest_.remove_prefix(length);
    if (length > 0) ++line_;
    return length > 0;
  }

  Result<std::string> TakeCell(size_t line) {
    if (!rest_.starts_with('"')) {
      const size_t end = std::min(rest_.find_first_of(",\r\n"), rest_.size());
      const std::string cell(rest_.substr(0, end));
      rest_.remove_prefix(end);
      return cell;
    }
    std::string cell;
    for (rest_.remove_prefix(1); !rest_.empty(); rest_.remove_prefix(1)) {
      if (rest_.front() == '\n') ++line_;
      if (rest_.front() != '"') {
        cell += rest_.front();
        continue;
      }
      rest_.remove_prefix(1);
      if (rest_.starts_with('"')) {
        cell += '"';
      } else if (rest_.empty() || std::string_view(",\r\n").find(rest_.front()) != rest_.npos) {
        return cell;
      } else {
        return Status::Invalid(name_, ":", line_, ": text follows on a closing quote");
      }
    }
    return Status::Invalid(name_, ":", line, ": a quote isn't closed");
  }

  std::string_view rest_;
  const std::string& name_;
  size_t line_ = 1;
};

class TraceReader {
 public:
  TraceReader(std::string_view text, const std::string& name, double table_share)
      : rows_(text, name), name_(name), table_share_(table_share) {}

  Result<std::vector<ScenarioRun>> Read() {
    ARROW_RETURN_NOT_OK(ReadHeading());
    while (true) {
      ARROW_ASSIGN_OR_RAISE(auto row, rows_.Next());
      if (!row) break;
      row_ = *std::move(row);
      if (row_.cells.size() != width_) {
        return Wrong(fmt::format("it has {} cells, and the heading {}", row_.cells.size(), width_));
      }
      ARROW_RETURN_NOT_OK(ReadRow());
    }
    if (runs_.empty()) return Status::Invalid(name_, ":1: there is no operator in it");
    return std::move(runs_);
  }

 private:
  Status Wrong(const std::string& what) const {
    return Status::Invalid(name_, ":", row_.line, ": ", what);
  }

  Status ReadHeading() {
    ARROW_ASSIGN_OR_RAISE(const auto heading, rows_.Next());
    if (!heading) return Status::Invalid(name_, ":1: it is empty");
    row_ = *heading;
    width_ = row_.cells.size();
    for (size_t i = 0; i < width_; ++i) columns_.emplace(row_.cells[i], i);
    for (const std::string_view column : kColumns) {
      if (columns_.contains(std::string(column))) continue;
      return Wrong(fmt::format("the column {} is missing; a trace has {}", column,
                               fmt::join(kColumns, ",")));
    }
    return Status::OK();
  }

  std::string_view Cell(const char* column) const { return row_.cells[columns_.at(column)]; }

  /// nullopt: the cell is blank.
  Result<std::optional<double>> Number(const char* column, double most) const {
    const std::string_view cell = Trimmed(Cell(column));
    if (cell.empty()) return std::nullopt;
    double number = 0;
    const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), number);
    const bool whole = error == std::errc() && end == cell.data() + cell.size();
    if (whole && number >= 0 && number <= most) return number;
    return Wrong(fmt::format("{} must be a number from 0 to {:g}, not '{}'", column, most, cell));
  }

  Result<double> Needed(const char* column, double most) const {
    ARROW_ASSIGN_OR_RAISE(const auto number, Number(column, most));
    if (!number) return Wrong(fmt::format("{} is missing", column));
    return *number;
  }

  Status ReadRow() {
    const std::string pipeline(Cell("pipeline_id"));
    ARROW_ASSIGN_OR_RAISE(const auto arrival, Number("arrival_seconds", kMaxSeconds));
    const std::string_view priority = Trimmed(Cell("priority"));
    if (runs_.empty() || pipeline != pipeline_) {
      ARROW_RETURN_NOT_OK(BeginPipeline(pipeline, arrival, priority));
    } else if (arrival || !priority.empty()) {
      return Wrong(fmt::format("only the first row of pipeline {} has arrival_seconds and priority",
                               pipeline));
    }
    return ReadOperator();
  }

  Status BeginPipeline(const std::string& pipeline, std::optional<double> arrival,
                       std::string_view priority) {
    static const std::map<std::string_view, int> priorities = {
        {"BATCH_PIPELINE", 0}, {"INTERACTIVE", 1}, {"QUERY", 2}};
    if (!arrival) {
      return Wrong(fmt::format("the first row of pipeline {} needs arrival_seconds", pipeline));
    }
    const auto known = priorities.find(priority);
    if (known == priorities.end()) {
      return Wrong(
          fmt::format("priority must be QUERY, INTERACTIVE or BATCH_PIPELINE, not '{}'", priority));
    }
    pipeline_ = pipeline;
    operators_.clear();
    runs_.push_back({pipeline, *arrival, known->second, {}});
    return Status::OK();
  }

  Status ReadOperator() {
    ScenarioTask task;
    task.name = Cell("operator_id");
    auto& tasks = runs_.back().tasks;
    if (!operators_.emplace(task.name, tasks.size()).second) {
      return Wrong(fmt::format("pipeline {} has two operators {}", pipeline_, task.name));
    }
    ARROW_RETURN_NOT_OK(ReadParents(task));
    ARROW_ASSIGN_OR_RAISE(const double cpu_s, Needed("baseline_cpu_seconds", kMaxSeconds));
    ARROW_ASSIGN_OR_RAISE(const double speed, SpeedOnOneCpu());
    ARROW_ASSIGN_OR_RAISE(const double read_gb, Needed("storage_read_gb", kMaxGigabytes));
    ARROW_ASSIGN_OR_RAISE(const auto memory_gb, Number("memory_gb", kMaxGigabytes));
    double table_gb = table_share_ * memory_gb.value_or(read_gb);
    if (columns_.contains("output_gb")) {
      ARROW_ASSIGN_OR_RAISE(const auto output_gb, Number("output_gb", kMaxGigabytes));
      table_gb = output_gb.value_or(table_gb);
    }
    task.run_s = cpu_s / speed + read_gb / kScanGigabytesPerSecond;
    task.table_bytes = std::llround(table_gb * kGigabyte);
    const int64_t memory_bytes = std::llround(memory_gb.value_or(read_gb) * kGigabyte);
    task.memory_bytes = std::max(memory_bytes, task.table_bytes);
    task.grows = !memory_gb;
    task.spec.expected = {task.table_bytes, task.memory_bytes - task.table_bytes, task.run_s};
    tasks.push_back(std::move(task));
    return Status::OK();
  }

  Status ReadParents(ScenarioTask& task) const {
    std::string_view rest = Cell("parents");
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(';'), rest.size());
      const std::string parent(Trimmed(rest.substr(0, end)));
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (parent.empty()) continue;
      const auto known = operators_.find(parent);
      if (known == operators_.end() || known->second == runs_.back().tasks.size()) {
        return Wrong(fmt::format("no row of pipeline {} before this one is its parent '{}'",
                                 pipeline_, parent));
      }
      auto& inputs = task.spec.inputs;
      if (std::ranges::find(inputs, known->second) == inputs.end()) inputs.push_back(known->second);
    }
    return Status::OK();
  }

  /// By how much it is faster on the one CPU of a slot than its baseline.
  Result<double> SpeedOnOneCpu() const {
    const std::string_view scaling = Cell("cpu_scaling");
    for (const char* linear : {"const", "log", "sqrt", "linear3", "linear7", "squared"}) {
      if (scaling == linear) return 1;
    }
    if (scaling == "exp") return 2;
    return Wrong(fmt::format(
        "cpu_scaling must be const, log, sqrt, linear3, linear7, squared or exp, not '{}'",
        scaling));
  }

  Rows rows_;
  const std::string& name_;
  const double table_share_;
  size_t width_ = 0;
  std::map<std::string, size_t> columns_;
  Row row_;
  std::string pipeline_;
  std::map<std::string, size_t> operators_;  // of the pipeline
  std::vector<ScenarioRun> runs_;
};

}  // namespace

Result<std::vector<ScenarioRun>> ParseTrace(std::string_view text, const std::string& name,
                                            double table_share) {
  return TraceReader(text, name, table_share).Read();
}

}  // namespace zerrow::cli
