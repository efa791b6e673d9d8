// What a run's tasks will probably take: by what the same code took before, else by the sizes of
// its inputs.
//
// Sizes go through the plan in its order: of sources from the footers of their files, of models
// from what they made of inputs before. Of unknown code: its table is as large as its inputs, and
// what it needs is left to the Core, which knows by then what they are. A model's declared memory
// is its peak whatever is known.
// Only touches memory; on the loop's thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/history.h"
#include "engine/run.h"
#include "resource/events.h"

namespace zerrow::engine {

/// What a node of a plan will probably take.
struct NodeEstimate {
  Observation takes;
  bool known = false;   // as its code took before; else by a rule
  bool varies = false;  // its code has made another table of the same inputs
};

/// By node of the plan, which is run in this project folder (absolute) by this backend (not kAuto).
/// `history`: null if nothing is known of before.
std::vector<NodeEstimate> EstimateNodes(const Plan& plan, const std::string& project_dir,
                                        BackendKind backend, const History* history);

class Estimates {
 public:
  /// `history` outlives it; null: nothing is known of before.
  explicit Estimates(History* history) : history_(history) {}

  /// Fills in what is expected of tasks that the run has just added, and whether they are known not
  /// to be deterministic: Dispatcher::Options::estimate.
  void Fill(const Run& run, std::vector<resource::TaskSpec>& tasks) const;

  /// Remembers what a task that has succeeded took: Dispatcher::Options::on_taken. Without a peak
  /// the process's own, less its inputs, as it counts what was read of them.
  void Note(const Run& run, size_t task, std::optional<int64_t> charged_peak_bytes) const;

  /// Remembers that the task isn't deterministic: Dispatcher::Options::on_varied.
  void NoteVarying(const Run& run, size_t task) const;

 private:
  History* const history_;
};

/// What stands for the code of the plan's node and all that it is run with, but for its inputs'
/// data. Other names of models that it reads are other code.
CodeKey KeyOf(const Run& run, size_t node);

}  // namespace zerrow::engine
