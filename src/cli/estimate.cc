#include "cli/estimate.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/byte_size.h"
#include "base/json.h"
#include "engine/near_names.h"

namespace zerrow::cli {

using arrow::Result;
using arrow::Status;
using nlohmann::json;
using resource::ScenarioTask;

namespace {

constexpr double kStartS = 0.05;
constexpr double kBytesPerSecond = 200e6;
constexpr double kMaxSeconds = 1e12;
constexpr double kMaxBytes = 1e15;

// Of code that was never seen: one that reads much makes as much, one that only looks makes
// nothing.
ScenarioTask GuessTask(const engine::PlanNode& node, int64_t input_bytes) {
  ScenarioTask task;
  task.table_bytes = node.has_table() ? input_bytes : 0;
  const bool copies = node.kind != ModelKind::kSource && node.kind != ModelKind::kFilter;
  task.memory_bytes = task.table_bytes + (copies ? input_bytes : 0);
  task.run_s = kStartS + static_cast<double>(input_bytes) / kBytesPerSecond;
  return task;
}

ScenarioTask TaskAsBefore(const engine::Observation& took) {
  ScenarioTask task;
  task.table_bytes = took.new_bytes;  // what it shares of its inputs' is theirs
  task.memory_bytes = took.peak_bytes;
  task.run_s = took.run_s;
  return task;
}

Result<int64_t> BytesOf(const json& value, const std::string& where) {
  if (value.is_string()) {
    const auto bytes = base::ParseBytes(value.get<std::string>());
    if (bytes.ok()) return bytes;
    return Status::Invalid(where, ": ", bytes.status().message());
  }
  if (value.is_number() && value.get<double>() >= 0 && value.get<double>() <= kMaxBytes) {
    return std::llround(value.get<double>());
  }
  return Status::Invalid(where, " must be a number of bytes, or a text such as \"1GB\"");
}

Result<ToldNeeds> NeedsOf(const json& document, const std::string& where) {
  if (!document.is_object()) return Status::Invalid(where, " must be an object");
  ToldNeeds needs;
  for (const auto& [key, value] : document.items()) {
    const std::string field = where + "." + key;
    if (key == "table") {
      ARROW_ASSIGN_OR_RAISE(needs.table_bytes, BytesOf(value, field));
    } else if (key == "memory") {
      ARROW_ASSIGN_OR_RAISE(needs.memory_bytes, BytesOf(value, field));
    } else if (key == "run_s") {
      if (!value.is_number() || value.get<double>() < 0 || value.get<double>() > kMaxSeconds) {
        return Status::Invalid(field, " must be a number of seconds");
      }
      needs.run_s = value.get<double>();
    } else {
      return Status::Invalid(field, " isn't known; there is table, memory and run_s");
    }
  }
  return needs;
}

}  // namespace

Result<std::map<std::string, ToldNeeds>> ParseNeeds(const std::string& text,
                                                    const std::string& name) {
  const auto document = base::ParseJson(text);
  if (!document.ok()) return Status::Invalid(name, ": ", document.status().message());
  if (!document->is_object()) return Status::Invalid(name, ": it must be an object of models");
  std::map<std::string, ToldNeeds> told;
  for (const auto& [model, needs] : document->items()) {
    ARROW_ASSIGN_OR_RAISE(told[model], NeedsOf(needs, name + ": " + model));
  }
  return told;
}

Result<resource::ScenarioRun> EstimateRun(const engine::Plan& plan,
                                          const std::vector<engine::NodeEstimate>& estimates,
                                          const std::map<std::string, ToldNeeds>& told) {
  std::vector<std::string> names;
  for (const engine::PlanNode& node : plan.nodes) names.push_back(node.name);
  for (const auto& [model, needs] : told) {
    if (std::ranges::find(names, model) != names.end()) continue;
    return Status::Invalid("there is no model '", model, "'", engine::DidYouMean(model, names));
  }
  resource::ScenarioRun run;
  std::vector<double> read_bytes(plan.nodes.size());  // by whoever reads the node's table
  for (size_t i = 0; i < plan.nodes.size(); ++i) {
    const engine::PlanNode& node = plan.nodes[i];
    const engine::Observation& took = estimates[i].takes;
    std::set<size_t> inputs;
    for (const engine::PlanInput& input : node.inputs) inputs.insert(input.node);
    double input_bytes =
        node.kind == ModelKind::kSource ? static_cast<double>(took.input_bytes) : 0;
    for (const size_t input : inputs) input_bytes += read_bytes[input];
    ScenarioTask task = estimates[i].known
                            ? TaskAsBefore(took)
                            : GuessTask(node, std::llround(std::min(input_bytes, kMaxBytes / 4)));
    read_bytes[i] = static_cast<double>(estimates[i].known ? took.table_bytes : task.table_bytes);
    if (const auto needs = told.find(node.name); needs != told.end()) {
      task.table_bytes = needs->second.table_bytes.value_or(task.table_bytes);
      read_bytes[i] = static_cast<double>(needs->second.table_bytes.value_or(read_bytes[i]));
      task.memory_bytes = needs->second.memory_bytes.value_or(task.memory_bytes);
      task.run_s = needs->second.run_s.value_or(task.run_s);
    }
    task.name = node.name;
    task.memory_bytes = std::max(task.memory_bytes, task.table_bytes);
    task.spec.inputs.assign(inputs.begin(), inputs.end());
    task.spec.has_table = node.has_table();
    task.spec.expected = {task.table_bytes, task.memory_bytes - task.table_bytes, task.run_s};
    run.tasks.push_back(std::move(task));
  }
  return run;
}

}  // namespace zerrow::cli
