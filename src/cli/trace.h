// Reads workloads in the CSV format of the scheduling simulator eudoxia.
//
// One row per operator; those of a pipeline follow each other, and its first row alone has its
// arrival_seconds and priority. What the format doesn't say is how large an operator's table is:
// that is a share of its memory, unless a column output_gb (one of the labels that the format
// allows) tells. A function of its arguments, any thread.
#pragma once

#include <arrow/result.h>

#include <string>
#include <string_view>
#include <vector>

#include "resource/simulator.h"

namespace zerrow::cli {

/// Each pipeline is a run. An operator has one CPU, reads 20 GB/s as eudoxia's do, and is expected
/// to take what it takes. Invalid: `name`, the line and what is wrong there.
arrow::Result<std::vector<resource::ScenarioRun>> ParseTrace(std::string_view text,
                                                             const std::string& name,
                                                             double table_share);

}  // namespace zerrow::cli
