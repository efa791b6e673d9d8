// What a run is asked to do, with nothing left open.
#pragma once

#include <arrow/result.h>

#include <string>

#include "zerrow/run.h"

namespace zerrow::engine {

inline constexpr int kMaxJobs = 4096;
inline constexpr int kMaxPriority = 1000;

/// The project that the working folder lies in, relative to it: ".", or "../.." for a project file
/// two folders above. Those of other users don't count, so that nobody's code is run unasked; "."
/// if there is none.
std::string FindProject();

/// Absolute paths, from this process's working folder, the output folder made, jobs > 0.
/// Idempotent. May wait for a disk. Invalid: a folder that isn't there or can't be made, a path
/// that isn't UTF-8, more jobs or another priority than that, a memory limit below a byte.
arrow::Result<RunOptions> CompleteOptions(RunOptions options);

}  // namespace zerrow::engine
