// The plan of a run: a project's models and the reads of its sources as a checked DAG.
//
// MakePlan is pure and deterministic: the same description and options give the same plan, in the
// same order. All errors of a project are collected, so that the user sees them at once. Plain
// values, any thread.
#pragma once

#include <arrow/status.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/description.h"
#include "zerrow/run.h"

namespace zerrow::engine {

/// What of a source some of its readers need. Null: all columns; every row.
struct SourceRead {
  std::optional<std::vector<std::string>> columns;  // the filter's among them, in the table's order
  std::optional<std::string> filter;  // where it can't be true for a block of rows, that isn't read
  bool dictionary = false;            // texts come as dictionaries where that pays

  friend bool operator==(const SourceRead&, const SourceRead&) = default;
};

struct PlanInput {
  std::string parameter;
  size_t node = 0;  // index of the node whose table it is
  size_t read = 0;  // of a source: which of its reads
  // What the consumer's runtime still applies; null where the source's read has done it.
  std::optional<std::vector<std::string>> columns;
  std::optional<std::string> filter;
  Dictionaries dictionary = Dictionaries::kNever;
};

/// One function call: reading a source, once for all its readers; filtering it for those of them
/// that want the same rows and columns; a model; or filtering its table for models in other
/// environments, which can't.
struct PlanNode {
  std::string name;  // unique; a source's filters are "table#2", ...
  ModelKind kind = ModelKind::kPython;
  std::vector<PlanInput> inputs;
  std::vector<size_t> consumers;  // ascending
  // It has a table that is wanted: it was selected, or it is a model that no other consumes.
  bool final_model = false;

  SourceDescription source;       // of sources and filters; of a model's only its name and place
  std::vector<SourceRead> reads;  // of sources; if all of it is asked for, that is the first
  // About what each read takes decoded whole, and all of them together, which share columns.
  std::vector<int64_t> read_bytes;
  int64_t source_bytes = 0;

  ModelDescription model;             // of the other kinds
  std::optional<size_t> environment;  // of Plan::environments; nullopt: Zerrow's own

  bool has_table() const { return kind != ModelKind::kExpectation; }
  /// It is no model.
  bool of_source() const { return kind == ModelKind::kSource || kind == ModelKind::kFilter; }
  /// Where the project declares it.
  const std::string& file() const { return of_source() ? source.file : model.file; }
  int line() const { return of_source() ? source.line : model.line; }
  /// Its worker needs the project's Python files.
  bool imports() const { return kind == ModelKind::kPython || kind == ModelKind::kExpectation; }
};

struct Plan {
  std::string project;
  std::optional<int64_t> memory_limit_bytes;  // of a run of it, unless that has another
  std::vector<ParameterDescription> parameters;
  std::vector<PlanNode> nodes;                       // in topological order: inputs come first
  std::vector<EnvironmentDescription> environments;  // that nodes have of their own, each once
  /// Why each worker imports the project itself. Empty: it is done once. Nullopt: no node is
  /// Python's.
  std::optional<std::string> import_again;

  /// The node of that name, or nullopt.
  std::optional<size_t> Find(const std::string& name) const;
};

struct PlanResult {
  Plan plan;                     // meaningful only without errors
  std::vector<RunError> errors;  // in the order of the files' declarations
  /// Invalid: the project is sound, but has nothing that the options select, exclude or keep.
  arrow::Status refused = {};
};

/// Checks names, inputs, cycles, columns, and what the options select, exclude and keep.
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
