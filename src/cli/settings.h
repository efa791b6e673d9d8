// The user's settings: $XDG_CONFIG_HOME/zerrow/config.toml, or ~/.config/zerrow/config.toml.
//
// Reads the environment and one file; any thread.
#pragma once

#include <arrow/result.h>

#include <chrono>
#include <optional>
#include <string>

#include "cli/arguments.h"
#include "engine/engine.h"

namespace zerrow::cli {

struct Settings {
  std::optional<EngineChoice> engine;
  // Of the resident engine: engine::EngineOptions.
  std::chrono::seconds rest_after{60};
  std::chrono::seconds zygotes_end_after{600};
  std::optional<int64_t> cache_bytes;
  engine::MemoryOptions memory;
};

/// What an engine may use of memory, by the command line, else the settings. `limit_bytes`: what
/// the command line says. Invalid: the same of settings.
engine::MemoryOptions MemoryOptionsOf(const Arguments& arguments, const Settings& settings,
                                      std::optional<int64_t> limit_bytes);

/// Empty: there is no home folder.
std::string SettingsPath();

/// The defaults where there is no file. Invalid: a key or value that makes no sense, with its file.
arrow::Result<Settings> ReadSettings(const std::string& path);

}  // namespace zerrow::cli
