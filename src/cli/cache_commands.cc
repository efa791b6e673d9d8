// `zerrow cache ls` and `clear`.
#include <fmt/core.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/output.h"
#include "cli/render.h"
#include "cli/resident.h"

namespace zerrow::cli {

using nlohmann::json;

namespace {

constexpr const char* kNoEngine =
    "no engine is running: each command has a cache for its own run\n";

// What the resident engine says of its cache; null: there is no such engine.
arrow::Result<json> AskCache(bool clear) {
  const auto connection = ConnectToEngine();
  if (connection.status().IsKeyError()) return json(nullptr);
  ARROW_RETURN_NOT_OK(connection.status());
  return (*connection)->Cache(clear);
}

}  // namespace

int ListCache(const Arguments& arguments) {
  const auto cache = AskCache(/*clear=*/false);
  if (!cache.ok()) return Fail(cache.status());
  if (arguments.format == OutputFormat::kJson) {
    PrintJson(cache->is_null() ? json{{"entries", json::array()}, {"bytes", 0}} : *cache);
  } else {
    PrintTo(stdout, cache->is_null() ? kNoEngine : RenderCache(*cache, StyleOf(STDOUT_FILENO)));
  }
  return kExitSuccess;
}

int ClearCache(const Arguments& arguments) {
  const auto cache = AskCache(/*clear=*/true);
  if (!cache.ok()) return Fail(cache.status());
  const int64_t freed = cache->is_null() ? 0 : cache->at("freed_bytes").get<int64_t>();
  if (arguments.format == OutputFormat::kJson) {
    PrintJson({{"freed_bytes", freed}});
  } else {
    PrintTo(stdout,
            cache->is_null() ? kNoEngine : fmt::format("cache emptied: {}\n", FormatBytes(freed)));
  }
  return kExitSuccess;
}

}  // namespace zerrow::cli
