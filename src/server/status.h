// What the resident engine says of itself: its processes and memory by kind.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/engine.h"

namespace zerrow::server {

/// {"pid", "uptime_s", "workers", "zygotes": [{"pid", "python", "libraries"}], "memory": {"tables",
/// "pool", "zygotes", "workers", "engine"}}, bytes; "error" instead of what the engine doesn't say.
/// Reads /proc of all its processes: some milliseconds. Any thread.
nlohmann::json StatusJson(const engine::Engine& engine);

}  // namespace zerrow::server
