// What a run brings from where it was asked for: its functions behave as if they were called there.
//
// Plain values, any thread.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace zerrow::engine {

/// What a process inherits from the one that starts it, beside its environment. What is left out
/// is as with the engine's own process.
struct ProcessAttributes {
  std::optional<uint32_t> umask;
  std::optional<int> niceness;
  std::vector<int> cpus;  // that it may run on, ascending
  /// By RLIMIT_...: soft, hard. Not RLIMIT_NOFILE: see Surroundings::descriptors.
  std::map<int, std::pair<uint64_t, uint64_t>> limits;

  friend bool operator==(const ProcessAttributes&, const ProcessAttributes&) = default;
};

using Environment = std::map<std::string, std::string>;

struct Surroundings {
  std::string python;                      // interpreter of the workers; empty: the engine's
  std::vector<std::string> python_path;    // put before their PYTHONPATH
  std::optional<Environment> environment;  // nullopt: that of the engine's own process
  /// Of the environment, what doesn't matter before a function runs. Engine::Submit sorts it out,
  /// so that a terminal's size makes no other zygote.
  Environment late_environment;
  uint64_t descriptors = 0;  // functions' soft limit of them; 0: as the engine's process found it
  ProcessAttributes attributes;
};

/// That of this process.
Environment OwnEnvironment();

/// Takes out of `environment`, and returns, what only says where a program was called from: no
/// library looks at it while it is imported.
Environment TakeLate(Environment& environment);

}  // namespace zerrow::engine
