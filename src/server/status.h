// What the resident engine says of itself: its processes and memory by kind.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/engine.h"

namespace zerrow::server {

/// {"pid", "uptime_s", "workers", "zygotes": [{"pid", "python", "libraries"}], "memory": {"tables",
/// "pool", "cache", "zygotes", "workers", "engine"}}, bytes ("cache" is part of "tables"); "error"
/// instead of what the engine doesn't say. Reads /proc of all its processes: some milliseconds. Any
/// thread.
nlohmann::json StatusJson(const engine::Engine& engine);

/// {"entries": [{"file", "row_group", "row_groups", "column", "bytes", "hits", "decode_s",
/// "saved_s"}], "bytes"}: what the engine's cache keeps. With `clear` it is emptied then, which
/// gave "freed_bytes". IOError: it doesn't answer.
arrow::Result<nlohmann::json> CacheJson(engine::Engine& engine, bool clear);

}  // namespace zerrow::server
