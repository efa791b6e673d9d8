// The texts of include/zerrow/run.h: names of enums, errors, and the JSON report.
#include <nlohmann/json.hpp>

#include "zerrow/run.h"

namespace zerrow {

using nlohmann::json;

std::string_view ToString(BackendKind kind) {
  switch (kind) {
    case BackendKind::kAuto:
      return "auto";
    case BackendKind::kKernelZero:
      return "kernelzero";
    case BackendKind::kMemfd:
      return "memfd";
    case BackendKind::kCopy:
      return "copy";
    case BackendKind::kFullCopy:
      return "full-copy";
  }
  return "unknown";
}

std::optional<BackendKind> ParseBackend(std::string_view name) {
  for (const BackendKind kind : {BackendKind::kAuto, BackendKind::kKernelZero, BackendKind::kMemfd,
                                 BackendKind::kCopy, BackendKind::kFullCopy}) {
    if (name == ToString(kind)) return kind;
  }
  return std::nullopt;
}

std::string_view ToString(RunStatus status) {
  switch (status) {
    case RunStatus::kSuccess:
      return "success";
    case RunStatus::kFailed:
      return "failed";
    case RunStatus::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

std::string_view ToString(ModelStatus status) {
  switch (status) {
    case ModelStatus::kSuccess:
      return "success";
    case ModelStatus::kFailed:
      return "failed";
    case ModelStatus::kSkipped:
      return "skipped";
    case ModelStatus::kTimeout:
      return "timeout";
    case ModelStatus::kKilled:
      return "killed";
    case ModelStatus::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

std::string_view ToString(ModelKind kind) {
  switch (kind) {
    case ModelKind::kSource:
      return "source";
    case ModelKind::kPython:
      return "python";
    case ModelKind::kSql:
      return "sql";
    case ModelKind::kNative:
      return "native";
    case ModelKind::kExpectation:
      return "expectation";
  }
  return "unknown";
}

std::string RunError::ToString() const {
  std::string text = file;
  if (!file.empty() && line > 0) text += ":" + std::to_string(line);
  if (!file.empty()) text += ": ";
  if (!model.empty()) text += model + ": ";
  return text + message;
}

namespace {

template <typename T>
json OrNull(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

json ErrorJson(const RunError& error) {
  return {{"message", error.message},
          {"model", error.model},
          {"file", error.file},
          {"line", error.line},
          {"traceback", error.traceback}};
}

json TimingsJson(const ModelTimings& timings) {
  return {{"open_s", timings.open_s},
          {"run_s", timings.run_s},
          {"encode_s", timings.encode_s},
          {"exit_s", timings.exit_s},
          {"exit_cpu_s", timings.exit_cpu_s},
          {"trim_cpu_s", timings.trim_cpu_s},
          {"freeze_cpu_s", timings.freeze_cpu_s}};
}

json ModelJson(const ModelReport& model) {
  json document = {{"name", model.name},
                   {"kind", ToString(model.kind)},
                   {"status", ToString(model.status)},
                   {"rows", OrNull(model.rows)},
                   {"bytes", model.bytes.total()},
                   {"new_bytes", model.bytes.new_bytes},
                   {"reshared_bytes", model.bytes.reshared_bytes},
                   {"copied_bytes", model.bytes.copied_bytes},
                   {"duplicate_bytes", OrNull(model.bytes.duplicate_bytes)},
                   {"wall_s", model.wall_s},
                   {"cpu_s", model.cpu_s},
                   {"peak_memory_bytes", model.peak_memory_bytes},
                   {"error", model.error ? ErrorJson(*model.error) : json(nullptr)}};
  if (model.timings) document["timings"] = TimingsJson(*model.timings);
  if (model.kind == ModelKind::kExpectation) {
    document["expectation"] = OrNull(model.expectation);
    document["warning"] = model.warning ? ErrorJson(*model.warning) : json(nullptr);
  }
  return document;
}

json PreviewJson(const Preview& preview) {
  json columns = json::array();
  for (const auto& [name, type] : preview.columns)
    columns.push_back({{"name", name}, {"type", type}});
  return {{"model", preview.model},
          {"columns", std::move(columns)},
          {"rows", preview.rows},
          {"total_rows", preview.total_rows}};
}

}  // namespace

json RunReport::ToJson() const {
  json document = {{"run_id", run_id},
                   {"status", ToString(status)},
                   {"wall_s", wall_s},
                   {"peak_memory_bytes", peak_memory_bytes},
                   {"backend", ToString(backend)},
                   {"models", json::array()}};
  for (const auto& model : models) document["models"].push_back(ModelJson(model));
  // What only some runs have is left out where there is none.
  for (const auto& error : errors) document["errors"].push_back(ErrorJson(error));
  for (const auto& preview : previews) document["previews"].push_back(PreviewJson(preview));
  if (!outputs.empty()) document["outputs"] = outputs;
  return document;
}

}  // namespace zerrow
