#include "engine/description.h"

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>

namespace zerrow::engine {

namespace {

using arrow::Result;
using arrow::Status;
using nlohmann::json;

constexpr size_t kMaxItems = 100'000;
constexpr size_t kMaxTextBytes = 16 << 20;
constexpr int kMaxOperatorDepth = 32;
constexpr double kMaxTimeoutSeconds = 1e9;
constexpr int64_t kMaxBytes = int64_t{1} << 50;  // so that sums of them don't overflow

// A place in the document, so that an error can name it.
class Field {
 public:
  Field(const json& value, std::string path) : value_(&value), path_(std::move(path)) {}

  const json& value() const { return *value_; }
  bool is_null() const { return value_->is_null(); }

  Status Malformed(std::string_view what) const {
    return Status::SerializationError("project description: ", path_.empty() ? "document" : path_,
                                      ": ", what);
  }

  /// An object with exactly these keys.
  Status CheckObject(std::initializer_list<std::string_view> keys) const {
    if (!value_->is_object()) return Malformed("not an object");
    for (const std::string_view key : keys) {
      if (!value_->contains(key)) return Malformed("lacks \"" + std::string(key) + "\"");
    }
    for (const auto& [key, unused] : value_->items()) {
      bool known = false;
      for (const std::string_view expected : keys) known = known || key == expected;
      if (!known) return Malformed("has an unknown key \"" + key.substr(0, 100) + "\"");
    }
    return Status::OK();
  }

  Field operator[](const char* key) const {
    return Field(value_->at(key), path_.empty() ? key : path_ + "." + key);
  }
  Field operator[](size_t index) const {
    return Field(value_->at(index), path_ + "[" + std::to_string(index) + "]");
  }

  Result<std::string> Text() const {
    if (!value_->is_string()) return Malformed("not a string");
    const auto& text = value_->get_ref<const std::string&>();
    if (text.size() > kMaxTextBytes) return Malformed("too long");
    if (text.find('\0') != std::string::npos) return Malformed("has a zero byte");
    return text;
  }

  Result<std::string> Name() const {
    ARROW_ASSIGN_OR_RAISE(std::string text, Text());
    if (text.empty()) return Malformed("empty");
    return text;
  }

  Result<std::string> TextOrEmpty() const {
    if (is_null()) return std::string();
    return Text();
  }

  Result<std::optional<std::string>> OptionalText() const {
    if (is_null()) return std::nullopt;
    ARROW_ASSIGN_OR_RAISE(std::string text, Text());
    return text;
  }

  Result<int> Line() const {
    if (is_null()) return 0;
    if (!value_->is_number_integer()) return Malformed("not an integer");
    const auto line = value_->get<int64_t>();
    if (line < 0 || line > INT32_MAX) return Malformed("not a line number");
    return static_cast<int>(line);
  }

  Result<int64_t> Bytes() const {
    if (!value_->is_number_integer()) return Malformed("not an integer");
    // Larger ones are unsigned in JSON, and would become negative.
    const auto bytes = value_->get<int64_t>();
    if (bytes < 0 || bytes > kMaxBytes) return Malformed("not a number of bytes");
    return bytes;
  }

  Result<std::optional<int64_t>> OptionalBytes() const {
    if (is_null()) return std::nullopt;
    ARROW_ASSIGN_OR_RAISE(const int64_t bytes, Bytes());
    return bytes;
  }

  Result<bool> Flag() const {
    if (!value_->is_boolean()) return Malformed("not true or false");
    return value_->get<bool>();
  }

  template <typename T, typename Parse>
  Result<std::vector<T>> List(Parse parse) const {
    if (!value_->is_array()) return Malformed("not a list");
    if (value_->size() > kMaxItems) return Malformed("too many items");
    std::vector<T> items;
    items.reserve(value_->size());
    for (size_t i = 0; i < value_->size(); ++i) {
      ARROW_ASSIGN_OR_RAISE(T item, parse((*this)[i]));
      items.push_back(std::move(item));
    }
    return items;
  }

  Result<std::vector<std::string>> Texts() const {
    return List<std::string>([](const Field& item) { return item.Text(); });
  }

  Result<std::optional<std::vector<std::string>>> OptionalTexts() const {
    if (is_null()) return std::nullopt;
    ARROW_ASSIGN_OR_RAISE(auto texts, Texts());
    return texts;
  }

 private:
  const json* value_;
  std::string path_;
};

Result<ColumnDescription> ParseColumn(const Field& field) {
  ARROW_RETURN_NOT_OK(field.CheckObject({"name", "type", "bytes"}));
  ColumnDescription column;
  ARROW_ASSIGN_OR_RAISE(column.name, field["name"].Text());
  ARROW_ASSIGN_OR_RAISE(column.type, field["type"].Text());
  ARROW_ASSIGN_OR_RAISE(column.bytes, field["bytes"].Bytes());
  return column;
}

Result<SourceFile> ParseSourceFile(const Field& field) {
  ARROW_RETURN_NOT_OK(field.CheckObject({"path", "partition"}));
  SourceFile file;
  ARROW_ASSIGN_OR_RAISE(file.path, field["path"].Text());
  if (!file.path.starts_with('/')) return field["path"].Malformed("not absolute");
  file.partition = field["partition"].value();
  if (!file.partition.is_object() && !file.partition.is_null()) {
    return field["partition"].Malformed("not an object");
  }
  for (const json& value : file.partition) {
    if (value.is_structured()) return field["partition"].Malformed("not of plain values");
  }
  return file;
}

Result<SourceDescription> ParseSource(const Field& field) {
  ARROW_RETURN_NOT_OK(field.CheckObject({"table", "files", "columns", "file", "line"}));
  SourceDescription source;
  ARROW_ASSIGN_OR_RAISE(source.table, field["table"].Name());
  ARROW_ASSIGN_OR_RAISE(source.files, field["files"].List<SourceFile>(ParseSourceFile));
  ARROW_ASSIGN_OR_RAISE(source.columns, field["columns"].List<ColumnDescription>(ParseColumn));
  ARROW_ASSIGN_OR_RAISE(source.file, field["file"].TextOrEmpty());
  ARROW_ASSIGN_OR_RAISE(source.line, field["line"].Line());
  return source;
}

bool HasType(const json& value, std::string_view type) {
  if (value.is_null()) return true;
  if (type == "str") return value.is_string();
  if (type == "int") return value.is_number_integer();
  if (type == "float") return value.is_number();
  return value.is_boolean();
}

Result<ParameterDescription> ParseParameter(const Field& field) {
  ARROW_RETURN_NOT_OK(field.CheckObject({"name", "type", "value", "file", "line"}));
  ParameterDescription parameter;
  ARROW_ASSIGN_OR_RAISE(parameter.name, field["name"].Name());
  ARROW_ASSIGN_OR_RAISE(parameter.type, field["type"].Text());
  if (parameter.type != "str" && parameter.type != "int" && parameter.type != "float" &&
      parameter.type != "bool") {
    return field["type"].Malformed("not one of str, int, float, bool");
  }
  if (!HasType(field["value"].value(), parameter.type)) {
    return field["value"].Malformed("not of type " + parameter.type);
  }
  parameter.value = field["value"].value();
  ARROW_ASSIGN_OR_RAISE(parameter.file, field["file"].TextOrEmpty());
  ARROW_ASSIGN_OR_RAISE(parameter.line, field["line"].Line());
  return parameter;
}

Result<Dictionaries> ParseDictionaries(const Field& field) {
  ARROW_ASSIGN_OR_RAISE(const std::string text, field.Text());
  for (const auto choice : {Dictionaries::kNever, Dictionaries::kAuto, Dictionaries::kAlways}) {
    if (text == ToString(choice)) return choice;
  }
  return field.Malformed("not never, auto or always");
}

Result<InputDescription> ParseInput(const Field& field) {
  ARROW_RETURN_NOT_OK(field.CheckObject(
      {"parameter", "model", "columns", "filter", "filter_columns", "dictionary", "line"}));
  InputDescription input;
  ARROW_ASSIGN_OR_RAISE(input.parameter, field["parameter"].Name());
  ARROW_ASSIGN_OR_RAISE(input.model, field["model"].Text());
  ARROW_ASSIGN_OR_RAISE(input.columns, field["columns"].OptionalTexts());
  ARROW_ASSIGN_OR_RAISE(input.filter, field["filter"].OptionalText());
  ARROW_ASSIGN_OR_RAISE(input.filter_columns, field["filter_columns"].Texts());
  ARROW_ASSIGN_OR_RAISE(input.dictionary, ParseDictionaries(field["dictionary"]));
  ARROW_ASSIGN_OR_RAISE(input.line, field["line"].Line());
  return input;
}

Result<OutputColumn> ParseOutputColumn(const Field& field) {
  ARROW_RETURN_NOT_OK(field.CheckObject({"name", "type", "nullable", "lineage"}));
  OutputColumn column;
  ARROW_ASSIGN_OR_RAISE(column.name, field["name"].Text());
  ARROW_ASSIGN_OR_RAISE(column.type, field["type"].TextOrEmpty());
  if (!field["nullable"].is_null()) {
    ARROW_ASSIGN_OR_RAISE(column.nullable, field["nullable"].Flag());
  }
  ARROW_ASSIGN_OR_RAISE(column.lineage, field["lineage"].OptionalTexts());
  return column;
}

Result<ParameterUse> ParseParameterUse(const Field& field) {
  ARROW_RETURN_NOT_OK(field.CheckObject({"argument", "name"}));
  ParameterUse use;
  ARROW_ASSIGN_OR_RAISE(use.argument, field["argument"].Name());
  ARROW_ASSIGN_OR_RAISE(use.name, field["name"].Text());
  return use;
}

Result<ModelKind> ParseKind(const Field& field) {
  ARROW_ASSIGN_OR_RAISE(const std::string text, field.Text());
  for (const ModelKind kind :
       {ModelKind::kPython, ModelKind::kSql, ModelKind::kNative, ModelKind::kExpectation}) {
    if (text == ToString(kind)) return kind;
  }
  return field.Malformed("not a kind of model");
}

Result<std::optional<double>> ParseTimeout(const Field& field) {
  if (field.is_null()) return std::nullopt;
  if (!field.value().is_number()) return field.Malformed("not a number");
  const auto seconds = field.value().get<double>();
  if (!(seconds > 0) || seconds > kMaxTimeoutSeconds) {
    return field.Malformed("not a positive number of seconds");
  }
  return seconds;
}

Result<std::optional<EnvironmentDescription>> ParseEnvironment(const Field& field) {
  if (field.is_null()) return std::nullopt;
  ARROW_RETURN_NOT_OK(field.CheckObject({"python", "packages"}));
  EnvironmentDescription environment;
  ARROW_ASSIGN_OR_RAISE(environment.python, field["python"].Name());
  ARROW_ASSIGN_OR_RAISE(environment.packages, field["packages"].Texts());
  return environment;
}

bool IsDeeperThan(const json& value, int levels) {
  if (!value.is_structured()) return false;
  if (levels == 0) return true;
  for (const json& item : value) {
    if (IsDeeperThan(item, levels - 1)) return true;
  }
  return false;
}

// Each kind has what it takes to run it.
Status CheckModelBody(const Field& field, const ModelDescription& model) {
  const bool calls = model.kind == ModelKind::kPython || model.kind == ModelKind::kExpectation;
  if (model.environment && !calls) return field["environment"].Malformed("not of a function");
  switch (model.kind) {
    case ModelKind::kPython:
    case ModelKind::kExpectation:
      if (model.function.empty()) return field["function"].Malformed("empty");
      if (model.module.empty()) return field["module"].Malformed("empty");
      return Status::OK();
    case ModelKind::kSql:
      if (model.sql.empty()) return field["sql"].Malformed("empty");
      if (model.engine != "datafusion" && model.engine != "duckdb") {
        return field["engine"].Malformed("not one of datafusion, duckdb");
      }
      return Status::OK();
    case ModelKind::kNative:
      if (!model.operator_.is_object()) return field["operator"].Malformed("not an object");
      return Status::OK();
    case ModelKind::kSource:
    case ModelKind::kFilter:
      break;
  }
  return field["kind"].Malformed("not a kind of model");
}

Result<ModelDescription> ParseModel(const Field& field) {
  ARROW_RETURN_NOT_OK(
      field.CheckObject({"name",        "kind",    "file",      "line",         "function",
                         "module",      "sql",     "engine",    "operator",     "inputs",
                         "parameters",  "columns", "timeout_s", "memory_bytes", "deterministic",
                         "environment", "code",    "imports",   "contract",     "tags"}));
  ModelDescription model;
  ARROW_ASSIGN_OR_RAISE(model.name, field["name"].Name());
  ARROW_ASSIGN_OR_RAISE(model.kind, ParseKind(field["kind"]));
  ARROW_ASSIGN_OR_RAISE(model.file, field["file"].TextOrEmpty());
  ARROW_ASSIGN_OR_RAISE(model.line, field["line"].Line());
  ARROW_ASSIGN_OR_RAISE(model.function, field["function"].TextOrEmpty());
  ARROW_ASSIGN_OR_RAISE(model.module, field["module"].TextOrEmpty());
  ARROW_ASSIGN_OR_RAISE(model.sql, field["sql"].TextOrEmpty());
  ARROW_ASSIGN_OR_RAISE(model.engine, field["engine"].TextOrEmpty());
  ARROW_ASSIGN_OR_RAISE(model.contract, field["contract"].TextOrEmpty());
  // It is copied, and written out again, by recursive functions.
  if (IsDeeperThan(field["operator"].value(), kMaxOperatorDepth)) {
    return field["operator"].Malformed("nested too deeply");
  }
  model.operator_ = field["operator"].value();
  ARROW_ASSIGN_OR_RAISE(model.inputs, field["inputs"].List<InputDescription>(ParseInput));
  ARROW_ASSIGN_OR_RAISE(model.parameters,
                        field["parameters"].List<ParameterUse>(ParseParameterUse));
  if (!field["columns"].is_null()) {
    ARROW_ASSIGN_OR_RAISE(model.columns, field["columns"].List<OutputColumn>(ParseOutputColumn));
  }
  ARROW_ASSIGN_OR_RAISE(model.timeout_s, ParseTimeout(field["timeout_s"]));
  ARROW_ASSIGN_OR_RAISE(model.memory_bytes, field["memory_bytes"].OptionalBytes());
  if (model.memory_bytes == 0) return field["memory_bytes"].Malformed("zero");
  ARROW_ASSIGN_OR_RAISE(model.deterministic, field["deterministic"].Flag());
  ARROW_ASSIGN_OR_RAISE(model.environment, ParseEnvironment(field["environment"]));
  ARROW_ASSIGN_OR_RAISE(model.code, field["code"].TextOrEmpty());
  ARROW_ASSIGN_OR_RAISE(model.imports, field["imports"].Texts());
  ARROW_ASSIGN_OR_RAISE(model.tags, field["tags"].Texts());
  ARROW_RETURN_NOT_OK(CheckModelBody(field, model));
  return model;
}

Result<RunError> ParseError(const Field& field) {
  ARROW_RETURN_NOT_OK(field.CheckObject({"file", "line", "model", "message", "traceback"}));
  RunError error;
  ARROW_ASSIGN_OR_RAISE(error.file, field["file"].TextOrEmpty());
  ARROW_ASSIGN_OR_RAISE(error.line, field["line"].Line());
  ARROW_ASSIGN_OR_RAISE(error.model, field["model"].TextOrEmpty());
  ARROW_ASSIGN_OR_RAISE(error.message, field["message"].Text());
  ARROW_ASSIGN_OR_RAISE(error.traceback, field["traceback"].TextOrEmpty());
  return error;
}

}  // namespace

const char* ToString(Dictionaries dictionaries) {
  switch (dictionaries) {
    case Dictionaries::kNever:
      return "never";
    case Dictionaries::kAuto:
      return "auto";
    case Dictionaries::kAlways:
      return "always";
  }
  return "never";
}

std::optional<std::vector<std::string>> ModelDescription::column_names() const {
  if (!columns) return std::nullopt;
  std::vector<std::string> names;
  for (const OutputColumn& column : *columns) names.push_back(column.name);
  return names;
}

Result<Description> ParseDescription(const json& document) {
  const Field root(document, "");
  ARROW_RETURN_NOT_OK(root.CheckObject({"name", "memory_limit_bytes", "parameters", "sources",
                                        "models", "errors", "import_again", "broken"}));
  Description description;
  ARROW_ASSIGN_OR_RAISE(description.name, root["name"].TextOrEmpty());
  ARROW_ASSIGN_OR_RAISE(description.memory_limit_bytes, root["memory_limit_bytes"].OptionalBytes());
  if (description.memory_limit_bytes == 0) return root["memory_limit_bytes"].Malformed("zero");
  ARROW_ASSIGN_OR_RAISE(description.parameters,
                        root["parameters"].List<ParameterDescription>(ParseParameter));
  ARROW_ASSIGN_OR_RAISE(description.sources, root["sources"].List<SourceDescription>(ParseSource));
  ARROW_ASSIGN_OR_RAISE(description.models, root["models"].List<ModelDescription>(ParseModel));
  ARROW_ASSIGN_OR_RAISE(description.errors, root["errors"].List<RunError>(ParseError));
  ARROW_ASSIGN_OR_RAISE(description.import_again, root["import_again"].TextOrEmpty());
  ARROW_ASSIGN_OR_RAISE(description.broken, root["broken"].Texts());
  return description;
}

}  // namespace zerrow::engine
