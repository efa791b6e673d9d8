// The texts of include/zerrow/run.h: names of enums, and errors.
#include "zerrow/run.h"

namespace zerrow {

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
    case ModelKind::kFilter:
      return "filter";
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
  if (!model.empty() && model != file) text += model + ": ";
  return text + message;
}

}  // namespace zerrow
