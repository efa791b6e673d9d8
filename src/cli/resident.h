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

/// The user's resident engine, wherever it runs. Errors as server::Connection::Open.
arrow::Result<std::shared_ptr<server::Connection>> ConnectToEngine(
    const server::Patience& patience = server::Patience());

/// The connection that has begun the arguments' run; null: the command does it itself, nothing of
/// it was begun. Invalid: a setting or an option that makes no sense. IOError: the resident engine
/// is asked for, and isn't there or can't do it. Cancelled: by `token`.
arrow::Result<std::shared_ptr<server::Connection>> BeginAtResident(
    const Arguments& arguments, bool plan_only, const engine::CancelToken& token);

}  // namespace zerrow::cli
