// The plan of a run: a project's models and the reads of its sources as a checked DAG.
//
// MakePlan is pure and deterministic: the same description and options give the same plan, in the
// same order. All errors of a project are collected, so that the user sees them at once. Plain
// values, any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/description.h"
#include "zerrow/run.h"

namespace zerrow::engine {

struct PlanInput {
  std::string parameter;
  size_t node = 0;  // index of the node whose table it is
  // What the consumer's runtime still applies; null for sources, where it was pushed down.
  std::optional<std::vector<std::string>> columns;
  std::optional<std::string> filter;
};

/// One function call: reading a source, or a model.
struct PlanNode {
  std::string name;  // unique; a source's further variants are "table#2", ...
  ModelKind kind = ModelKind::kPython;
  std::vector<PlanInput> inputs;
  std::vector<size_t> consumers;  // ascending
  // Not a source or expectation, and either selected by its name or consumed by no model.
  bool final_model = false;

  // Sources: what is read. Columns and filter null: all.
  SourceDescription source;
  std::optional<std::vector<std::string>> columns;
  std::optional<std::string> filter;

  ModelDescription model;  // of the other kinds

  bool has_table() const { return kind != ModelKind::kExpectation; }
  /// Its worker needs the project's Python files.
  bool imports() const { return kind == ModelKind::kPython || kind == ModelKind::kExpectation; }
};

struct Plan {
  std::string project;
  std::vector<ParameterDescription> parameters;
  std::vector<PlanNode> nodes;  // in topological order: inputs come first
  /// Why each worker imports the project itself. Empty: it is done once. Nullopt: no node is
  /// Python's.
  std::optional<std::string> import_again;

  /// The node of that name, or nullopt.
  std::optional<size_t> Find(const std::string& name) const;
};

struct PlanResult {
  Plan plan;                     // meaningful only without errors
  std::vector<RunError> errors;  // in the order of the files' declarations
};

/// Checks names, inputs, cycles, columns and --select, --preview and --keep of the options.
PlanResult MakePlan(const Description& description, const RunOptions& options);

/// What `zerrow explain` shows.
struct Explanation {
  Plan plan;
  std::vector<RunError> errors;  // if any, the plan isn't meaningful

  /// One block per node, in topological order.
  std::string ToText() const;
  nlohmann::json ToJson() const;
};

}  // namespace zerrow::engine
