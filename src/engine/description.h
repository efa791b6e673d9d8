// A project as its discovery worker describes it: what the user's files declare.
//
// The worker ran user code, so its description is untrusted input: ParseDescription checks every
// field's presence, type and bounds, and refuses what it doesn't know. Whether the project makes
// sense (names, cycles, columns) is MakePlan's part. Plain values, pure functions, any thread.
#pragma once

#include <arrow/result.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "zerrow/run.h"

namespace zerrow::engine {

struct ColumnDescription {
  std::string name;
  std::string type;   // Arrow's spelling; only shown
  int64_t bytes = 0;  // about what it takes decoded, as the files' footers say
};

struct SourceFile {
  std::string path;          // absolute
  nlohmann::json partition;  // values of columns that its folders name; or null
};

struct SourceDescription {
  std::string table;
  std::vector<SourceFile> files;
  std::vector<ColumnDescription> columns;
  std::string file;  // where the project declares it
  int line = 0;
};

struct ParameterDescription {
  std::string name;
  std::string type;      // str, int, float or bool
  nlohmann::json value;  // of that type, or null
  std::string file;
  int line = 0;
};

/// Whether a consumer takes texts as dictionaries: never, where that pays, or all of them. What it
/// doesn't take arrives decoded.
enum class Dictionaries { kNever, kAuto, kAlways };

/// As descriptions and tasks spell it.
const char* ToString(Dictionaries dictionaries);

struct InputDescription {
  std::string parameter;  // the function's argument; of SQL models the table's name
  std::string model;
  std::optional<std::vector<std::string>> columns;
  std::optional<std::string> filter;
  std::vector<std::string> filter_columns;  // that the filter reads
  int line = 0;
  Dictionaries dictionary = Dictionaries::kNever;
};

/// A column of a model's output, as far as it is declared or planned.
struct OutputColumn {
  std::string name;
  std::string type;              // Arrow's spelling; only shown. Empty: unknown
  std::optional<bool> nullable;  // nullopt: unknown
  // Columns that it stems from, or what is said of that; only shown. Nullopt: unknown
  std::optional<std::vector<std::string>> lineage;
};

struct ParameterUse {
  std::string argument;
  std::string name;
};

/// A Python with packages of its own.
struct EnvironmentDescription {
  std::string python;                 // its version
  std::vector<std::string> packages;  // requirements, such as pandas==2.2.2

  friend bool operator==(const EnvironmentDescription&, const EnvironmentDescription&) = default;
};

struct ModelDescription {
  std::string name;
  ModelKind kind = ModelKind::kPython;  // never kSource or kFilter
  std::string file;                     // relative to the project
  int line = 0;
  std::string function;       // python and expectation
  std::string module;         // of these, the file that declares the model when it is imported
  std::string sql;            // sql
  std::string engine;         // sql: datafusion or duckdb
  std::string contract = {};  // sql: what its output must be, for the worker; empty: anything
  nlohmann::json operator_;   // native: an object for the worker; null otherwise
  std::vector<InputDescription> inputs;
  std::vector<ParameterUse> parameters;
  std::optional<std::vector<OutputColumn>> columns;  // of its output
  std::optional<double> timeout_s;
  std::optional<int64_t> memory_bytes = {};  // it needs at most, as declared: inputs not counted
  bool deterministic = true;                 // the same inputs give the same table
  std::optional<EnvironmentDescription> environment = {};  // python and expectation; null: Zerrow's
  std::string code = {};  // python and expectation: tells one text of its files from another
  std::vector<std::string> imports;  // libraries that the model's file imports
  std::vector<std::string> tags = {};

  /// The names of `columns`.
  std::optional<std::vector<std::string>> column_names() const;
};

struct Description {
  std::string name;
  std::optional<int64_t> memory_limit_bytes;  // at least 1
  std::vector<ParameterDescription> parameters;
  std::vector<SourceDescription> sources;
  std::vector<ModelDescription> models;
  std::vector<RunError> errors;  // found while reading; any of them: nothing runs
  std::string import_again;      // why each worker must import the project itself; empty: once
  /// Models and sources that there are, but for errors in them; "*": any might be among them.
  std::vector<std::string> broken = {};
};

/// SerializationError that names the field, such as "models[2].inputs[0].model: not a string".
arrow::Result<Description> ParseDescription(const nlohmann::json& document);

}  // namespace zerrow::engine
