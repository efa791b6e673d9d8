// The Python environments of models that have packages of their own: where they are, and that they
// stay while a run needs them.
//
// A worker makes them, in Python (zerrow/_environments). Plain functions, any thread.
#pragma once

#include <arrow/result.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/fd.h"
#include "engine/surroundings.h"
#include "engine/zygote.h"

namespace zerrow::engine {

/// An environment that is there, as the worker that made or found it tells. Absolute paths.
struct PreparedEnvironment {
  std::string folder;
  std::string python;          // its interpreter
  std::string package_folder;  // holds Zerrow's package, and nothing else
};

/// SerializationError that says what is malformed.
arrow::Result<PreparedEnvironment> ReadPrepared(const nlohmann::json& value);

/// Keeps `zerrow env clear` away from it until the descriptor is closed. IOError: it isn't there
/// any more.
arrow::Result<base::UniqueFd> Hold(const PreparedEnvironment& environment);

/// `options` in that environment.
ZygoteOptions In(const PreparedEnvironment& environment, ZygoteOptions options);

/// Where environments are kept for who has these variables, null being this process's own:
/// zerrow/environments in $XDG_CACHE_HOME or ~/.cache. Empty: there is no such folder.
std::string EnvironmentsFolder(const std::optional<Environment>& variables);

}  // namespace zerrow::engine
