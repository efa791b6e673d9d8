// Whether a command's run is done by the resident engine, and what it is told then.
//
// Reads the environment and the settings; writes a note to stderr where the user should know that
// another engine does it. One at a time, from the main thread.
#pragma once

#include <arrow/result.h>

#include <memory>

#include "cli/arguments.h"
#include "server/client.h"

namespace zerrow::cli {

/// The connection for a run; null: the command does it itself. Invalid: a setting that makes no
/// sense. IOError: the resident engine is asked for, and isn't there or can't do it.
arrow::Result<std::shared_ptr<server::Connection>> FindResident(const Arguments& arguments);

/// The run as seen from this process. Invalid: see engine::CompleteOptions.
arrow::Result<server::Wanted> WantedHere(const RunOptions& options, bool plan_only);

}  // namespace zerrow::cli
