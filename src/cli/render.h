// What the user reads: tables, previews and errors as text.
//
// Pure functions of their arguments; any thread. Every text ends in a newline, or is empty.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cli/style.h"
#include "engine/engine.h"
#include "zerrow/run.h"

namespace zerrow::cli {

/// kUsual: name, status, rows, size and time of each model. kAll: bytes by how they were handed
/// over, CPU and memory as well.
enum class Detail { kUsual, kAll };

/// The table at the end of a run: one row per model, the sums, and one line that says how it went.
std::string RenderReport(const RunReport& report, Detail detail, const Style& style);

/// A title and the rows with their columns' types.
std::string RenderPreview(const Preview& preview, const Style& style);

/// "error: file:line: model: message", the user's own frames, and what to do about it.
/// `project_dir` is where file is relative to, as the user wrote it.
std::string RenderError(const RunError& error, const std::string& project_dir, const Style& style);

/// Every error of a run: the project's, or else its models'.
std::string RenderErrors(const RunReport& report, const std::string& project_dir,
                         const Style& style);

/// "flights: 336,776 rows, 30.9 MiB, 0.21 s": a finished model in one line.
std::string RenderModelLine(const ModelReport& model, const Style& style);

/// The word for how a model went; an expectation is met or not.
std::string StatusWord(const ModelReport& model);

struct MachineInfo {
  std::vector<engine::BackendInfo> backends;
  engine::ZygoteInfo zygote;
  std::string shim_path;  // empty: not found
  int cores = 0;
  engine::EngineStatus::Memory memory;  // of an engine with the user's settings
  int64_t usable_memory_bytes = 0;
  std::map<std::string, int64_t> kernelzero;  // shm::KernelZeroCounters
};

/// Of shm::KernelZeroCounters, or of how much they rose: what moved, and what was copied and why.
std::string RenderKernelZero(const std::map<std::string, int64_t>& counters);

/// Of the resident engine: server::Connection::Status.
std::string RenderStatus(const nlohmann::json& status, const Style& style);
std::string RenderCache(const nlohmann::json& cache, const Style& style);

std::string RenderInfo(const MachineInfo& info, const Style& style);
nlohmann::json InfoJson(const MachineInfo& info);

}  // namespace zerrow::cli
