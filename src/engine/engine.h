// The engine: runs a project's pipeline, each function in a process of its own.
//
// One Engine serves many runs, one after the other; it keeps freed shared memory backed between
// them. Run and Explain block their caller and call the observer from it; call them from one
// thread at a time. Everything that a run starts (zygote, workers, their descendants) is gone
// when Run returns, and dies with the engine's process if that is killed; shared memory has no
// names, so nothing stays behind.
#pragma once

#include <arrow/result.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/cancel_token.h"
#include "engine/plan.h"
#include "engine/published_table.h"
#include "zerrow/run.h"

namespace zerrow::engine {

struct EngineOptions {
  std::string python;     // interpreter of the workers; empty: $ZERROW_PYTHON, else python3
  std::string shim_path;  // libzerrow_shim.so; empty: the memfd backend isn't offered
  std::vector<std::string> python_path;  // put before the workers' PYTHONPATH
  // Of the zygote, which imports libraries. Zero: $ZERROW_START_TIMEOUT_S, else 60 s.
  std::chrono::milliseconds start_timeout{0};
  // Of reading the project, which imports its code. Zero: $ZERROW_IMPORT_TIMEOUT_S, else 60 s.
  std::chrono::milliseconds import_timeout{0};
  // Of a worker's end, after its answer. Zero: $ZERROW_EXIT_TIMEOUT_S, else 10 s.
  std::chrono::milliseconds exit_timeout{0};
};

/// Whether this machine offers a backend; if not, why not.
struct BackendInfo {
  BackendKind kind = BackendKind::kCopy;
  bool available = false;
  std::string detail;  // what it is made of here, or the reason why it isn't there
};

/// What the zygote says of itself once it is ready.
struct ZygoteInfo {
  std::string python_version;
  bool user_namespace = false;
  bool pid_namespace = false;
  bool mount_namespace = false;
  bool shim = false;  // the allocator shim is loaded
};

struct RunResult {
  RunReport report;
  /// The tables of RunOptions::keep that succeeded, by model.
  std::map<std::string, std::shared_ptr<const PublishedTable>> tables;
};

class Engine {
 public:
  /// Invalid: an interpreter or shim that isn't there, a malformed $ZERROW_..._TIMEOUT_S.
  static arrow::Result<std::unique_ptr<Engine>> Make(EngineOptions options);
  ~Engine();

  /// Each backend, the one that `auto` takes first.
  const std::vector<BackendInfo>& backends() const;

  /// Starts a zygote only to ask it. IOError if it doesn't start.
  arrow::Result<ZygoteInfo> Probe();

  /// Runs the pipeline. Errors of the project, failing functions and cancellation are in the
  /// report; a non-OK result is the engine's own: Invalid (options, a backend that isn't there),
  /// IOError (the zygote doesn't start, a system call).
  arrow::Result<RunResult> Run(const RunOptions& options, RunObserver& observer,
                               const CancelToken& cancel);

  /// Reads the project and plans it without running anything. Errors as Run.
  arrow::Result<Explanation> Explain(const RunOptions& options, const CancelToken& cancel);

 private:
  struct State;
  explicit Engine(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace zerrow::engine
