// Starts the zygote, the process that imports libraries once and forks a worker per task.
//
// Only the starting: what is said over the channel afterwards is worker_pool's part. The zygote
// ends when its channel closes and gets PR_SET_PDEATHSIG, which fires when the *thread* that
// started it ends: so that must be one that outlives it. Move-only.
#pragma once

#include <arrow/result.h>

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/channel.h"
#include "base/child_process.h"
#include "engine/surroundings.h"

namespace zerrow::engine {

struct ZygoteOptions {
  std::string python;
  std::string shim_path;                 // empty: without
  std::vector<std::string> python_path;  // put before PYTHONPATH
  std::set<std::string> preload;         // libraries to import
  bool whole_pages = false;              // large buffers shall begin with a page
  uint64_t descriptors = 0;              // functions' soft limit of them; 0: that of this process
  ProcessAttributes attributes;
  std::optional<Environment> environment;           // nullopt: this process's own
  std::chrono::milliseconds start_timeout{60'000};  // until it is ready
  std::chrono::milliseconds exit_timeout{10'000};   // of a worker, after its answer

  friend bool operator==(const ZygoteOptions&, const ZygoteOptions&) = default;
};

struct Zygote {
  base::ChildProcess process;
  base::Channel channel;
  base::UniqueFd output;  // the reading end of its stdout and stderr
};

/// IOError if the interpreter can't be started.
arrow::Result<Zygote> StartZygote(const ZygoteOptions& options);

/// The libraries that the project's files seem to need: a cheap look at their text, only to import
/// them early.
std::set<std::string> GuessLibraries(const std::string& project_dir);

/// Those that Zerrow itself needs for some projects.
std::set<std::string> OwnLibraries();

}  // namespace zerrow::engine
