// Where a run's news go: to the command that waits for it, or over a socket to one that does.
//
// The engine's loop must never wait for a reader, so a sink takes what it is offered and says
// whether it wants more for now. All methods are called from the engine's thread.
#pragma once

#include <arrow/result.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/plan.h"
#include "engine/result_table.h"
#include "zerrow/run.h"

namespace zerrow::engine {

/// The project was read and is sound: what is going to run, in topological order.
struct Planned {
  std::vector<ModelReport> models;
};
struct ModelStarted {
  std::string model;
  std::optional<double> expected_s = {};  // RunObserver::OnModelStarted
};
/// Of models that run and whose memory has changed. Not for a sink that has enough.
struct MemoryMeasured {
  std::vector<ModelMemory> models;
};
struct ModelFinished {
  ModelReport report;
};
/// One line, without its newline, that a function printed. `stream` is 1 or 2; `model` is empty
/// while the project is read.
struct OutputLine {
  std::string model;
  int stream = 1;
  std::string line;
};
using RunEvent = std::variant<Planned, ModelStarted, MemoryMeasured, ModelFinished, OutputLine>;

/// Calls the observer's method for it.
void Tell(RunObserver& observer, const RunEvent& event);

/// What is left of a run.
struct RunResult {
  RunReport report;
  Explanation explanation;  // of RunSpec::plan_only
  /// The tables of RunOptions::keep that succeeded, by model.
  std::map<std::string, std::shared_ptr<const ResultTable>> tables;
};

class RunSink {
 public:
  virtual ~RunSink() = default;

  /// Takes the event, whatever it answers, and never blocks. False: enough for now. What the run's
  /// functions print then waits in their pipes until Engine::Resume.
  virtual bool Offer(RunEvent event) = 0;
  /// The run is over and nothing of it is left; the last call. A non-OK result is the engine's
  /// own failure: Invalid (options, a backend that isn't there), IOError.
  virtual void Done(arrow::Result<RunResult> result) = 0;
};

}  // namespace zerrow::engine
