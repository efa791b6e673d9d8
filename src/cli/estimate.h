// What the models of a project will probably take: where estimates come into `zerrow simulate`.
// Any thread.
#pragma once

#include <arrow/result.h>

#include <map>
#include <string>
#include <vector>

#include "engine/estimates.h"
#include "resource/simulator.h"

namespace zerrow::cli {

/// What is told of a model, rather than estimated.
struct ToldNeeds {
  std::optional<int64_t> table_bytes;
  std::optional<int64_t> memory_bytes;  // at most, its table included
  std::optional<double> run_s;
};

/// By model: {"model": {"table": "1GB", "memory": 2e9, "run_s": 3}, ...}. Invalid: `name` and what
/// is wrong in it.
arrow::Result<std::map<std::string, ToldNeeds>> ParseNeeds(const std::string& text,
                                                           const std::string& name);

/// A task for each node of the plan: as `told`, else as its code took before, else by the sizes of
/// its inputs. `estimates` are those of the plan's nodes. Invalid: needs of a model that isn't
/// there.
arrow::Result<resource::ScenarioRun> EstimateRun(const engine::Plan& plan,
                                                 const std::vector<engine::NodeEstimate>& estimates,
                                                 const std::map<std::string, ToldNeeds>& told);

}  // namespace zerrow::cli
