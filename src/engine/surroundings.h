// What a run brings from where it was asked for: its functions behave as if they were called there.
//
// Plain values, any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace zerrow::engine {

struct Surroundings {
  std::string python;                    // interpreter of the workers; empty: the engine's
  std::vector<std::string> python_path;  // put before their PYTHONPATH
  /// Nullopt: those of the engine's own process.
  std::optional<std::map<std::string, std::string>> environment;
  uint64_t descriptors = 0;  // functions' soft limit of them; 0: as the engine's process found it
  std::optional<uint32_t> umask;  // nullopt: that of the engine's own process
};

}  // namespace zerrow::engine
