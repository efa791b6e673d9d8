#include "server/status.h"

#include <unistd.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sandbox/process_tree.h"
#include "sandbox/process_view.h"

namespace zerrow::server {

using nlohmann::json;

namespace {

struct Memory {
  int64_t zygotes = 0;
  int64_t workers = 0;
};

// A worker's descendants are a worker's; everything else that the engine has started is a zygote's.
void AddTree(pid_t pid, const std::set<pid_t>& workers, bool in_worker, Memory& memory) {
  in_worker = in_worker || workers.contains(pid);
  (in_worker ? memory.workers : memory.zygotes) += sandbox::ProportionalBytes(pid);
  for (const pid_t child : sandbox::ChildrenOf(pid)) AddTree(child, workers, in_worker, memory);
}

json LimitsJson(const engine::EngineStatus::Memory& memory) {
  json tables = json::array();
  for (const auto& [run, model, bytes, disk_bytes] : memory.tables) {
    tables.push_back(
        {{"run", run}, {"model", model}, {"bytes", bytes}, {"disk_bytes", disk_bytes}});
  }
  json document = {{"limit", memory.limit_bytes ? json(*memory.limit_bytes) : json()},
                   {"reserve", memory.reserve_bytes},
                   {"used", memory.used_bytes},
                   {"charged", memory.charged_bytes},
                   {"committed", memory.committed_bytes},
                   {"segments", memory.segment_bytes},
                   {"backed", memory.backed_bytes},
                   {"spilled", memory.spilled_bytes},
                   {"anon", memory.anon_bytes},
                   {"shmem", memory.shmem_bytes},
                   {"method", memory.method},
                   {"hard_limit", memory.hard_limit},
                   {"eviction", ToString(memory.eviction)},
                   {"spill_dir", memory.spill_dir},
                   {"largest_tables", std::move(tables)},
                   {"stalled", nullptr},
                   {"waiting", nullptr}};
  if (memory.stalled) document["stalled"] = *memory.stalled;
  if (!memory.waiting_model.empty()) {
    document["waiting"] = {{"model", memory.waiting_model}, {"reason", memory.waiting_reason}};
  }
  if (!memory.history.empty()) document["history"] = memory.history;
  return document;
}

}  // namespace

json StatusJson(const engine::Engine& engine) {
  json document = {{"pid", ::getpid()}};
  const auto status = engine.Inspect();
  if (!status.ok()) {
    document["error"] = status.status().message();
    return document;
  }
  const std::set<pid_t> workers(status->workers.begin(), status->workers.end());
  Memory memory;
  for (const pid_t child : sandbox::ChildrenOf(::getpid())) AddTree(child, workers, false, memory);
  document["uptime_s"] = status->uptime_s;
  document["workers"] = workers.size();
  document["zygotes"] = json::array();
  for (const auto& zygote : status->zygotes) {
    document["zygotes"].push_back(
        {{"pid", zygote.pid}, {"python", zygote.python}, {"libraries", zygote.libraries}});
  }
  document["memory"] = {
      {"tables", status->table_bytes}, {"pool", status->pool_bytes},
      {"cache", status->cache_bytes},  {"zygotes", memory.zygotes},
      {"workers", memory.workers},     {"engine", sandbox::ProportionalBytes(::getpid())}};
  document["limits"] = LimitsJson(status->memory);
  return document;
}

arrow::Result<json> CacheJson(engine::Engine& engine, bool clear) {
  ARROW_ASSIGN_OR_RAISE(const auto columns, engine.ListCache());
  json document = {{"entries", json::array()}, {"bytes", 0}};
  int64_t bytes = 0;
  for (const engine::CachedColumn& column : columns) {
    bytes += column.bytes;
    document["entries"].push_back({{"file", column.file},
                                   {"row_group", column.row_group},
                                   {"row_groups", column.row_groups},
                                   {"column", column.column},
                                   {"bytes", column.bytes},
                                   {"hits", column.hits},
                                   {"decode_s", column.decode_s},
                                   {"saved_s", column.saved_s}});
  }
  document["bytes"] = bytes;
  if (!clear) return document;
  ARROW_ASSIGN_OR_RAISE(const int64_t freed, engine.ClearCache());
  document["freed_bytes"] = freed;
  return document;
}

}  // namespace zerrow::server
