#include "engine/report_json.h"

#include <type_traits>
#include <utility>

namespace zerrow {

using nlohmann::json;

namespace {

template <typename T>
json OrNull(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

template <typename T>
std::optional<T> Optional(const json& document, const char* key) {
  const auto found = document.find(key);
  if (found == document.end() || found->is_null()) return std::nullopt;
  if constexpr (std::is_same_v<T, int64_t>) {
    return Whole<int64_t>(*found);
  } else {
    return found->get<T>();
  }
}

template <typename T>
std::vector<T> List(const json& document, const char* key) {
  const auto found = document.find(key);
  return found == document.end() ? std::vector<T>() : found->get<std::vector<T>>();
}

// The enum's value, up to `last`, that is called so.
template <typename Enum>
Enum Named(const std::string& name, Enum last) {
  for (int i = 0; i <= static_cast<int>(last); ++i) {
    if (ToString(static_cast<Enum>(i)) == name) return static_cast<Enum>(i);
  }
  throw json::other_error::create(501, "there is no '" + name.substr(0, 100) + "'", nullptr);
}

}  // namespace

BackendKind BackendNamed(const std::string& name) { return Named(name, BackendKind::kFullCopy); }
ModelKind KindNamed(const std::string& name) { return Named(name, ModelKind::kExpectation); }

void to_json(json& document, const RunError& error) {
  document = {{"message", error.message},
              {"model", error.model},
              {"file", error.file},
              {"line", error.line},
              {"traceback", error.traceback}};
}

void from_json(const json& document, RunError& error) {
  document.at("message").get_to(error.message);
  document.at("model").get_to(error.model);
  document.at("file").get_to(error.file);
  error.line = Whole<int>(document.at("line"));
  document.at("traceback").get_to(error.traceback);
}

void to_json(json& document, const ModelTimings& timings) {
  document = {{"open_s", timings.open_s},
              {"run_s", timings.run_s},
              {"encode_s", timings.encode_s},
              {"exit_s", timings.exit_s},
              {"exit_cpu_s", timings.exit_cpu_s},
              {"trim_cpu_s", timings.trim_cpu_s},
              {"freeze_cpu_s", timings.freeze_cpu_s}};
}

void from_json(const json& document, ModelTimings& timings) {
  document.at("open_s").get_to(timings.open_s);
  document.at("run_s").get_to(timings.run_s);
  document.at("encode_s").get_to(timings.encode_s);
  document.at("exit_s").get_to(timings.exit_s);
  document.at("exit_cpu_s").get_to(timings.exit_cpu_s);
  document.at("trim_cpu_s").get_to(timings.trim_cpu_s);
  document.at("freeze_cpu_s").get_to(timings.freeze_cpu_s);
}

void to_json(json& document, const CacheUse& cache) {
  document = {{"hits", cache.hits},
              {"misses", cache.misses},
              {"hit_bytes", cache.hit_bytes},
              {"miss_bytes", cache.miss_bytes},
              {"saved_s", cache.saved_s}};
}

void from_json(const json& document, CacheUse& cache) {
  cache.hits = Whole<int64_t>(document.at("hits"));
  cache.misses = Whole<int64_t>(document.at("misses"));
  cache.hit_bytes = Whole<int64_t>(document.at("hit_bytes"));
  cache.miss_bytes = Whole<int64_t>(document.at("miss_bytes"));
  document.at("saved_s").get_to(cache.saved_s);
}

void to_json(json& document, const EvictionReport& eviction) {
  document = {{"model", eviction.model},
              {"how", eviction.how},
              {"bytes", eviction.bytes},
              {"reason", eviction.reason}};
}

void from_json(const json& document, EvictionReport& eviction) {
  document.at("model").get_to(eviction.model);
  document.at("how").get_to(eviction.how);
  eviction.bytes = Whole<int64_t>(document.at("bytes"));
  document.at("reason").get_to(eviction.reason);
}

void to_json(json& document, const VaryingModel& varying) {
  document = {{"model", varying.model}, {"run_again", varying.run_again}};
}

void from_json(const json& document, VaryingModel& varying) {
  document.at("model").get_to(varying.model);
  varying.run_again = Whole<int64_t>(document.at("run_again"));
}

void to_json(json& document, const MemoryEvent& event) {
  document = {{"at_s", event.at_s}, {"what", event.what}};
}

void from_json(const json& document, MemoryEvent& event) {
  document.at("at_s").get_to(event.at_s);
  document.at("what").get_to(event.what);
}

void to_json(json& document, const MemoryWait& wait) {
  document = {{"wait_s", wait.wait_s}, {"reason", wait.reason}};
}

void from_json(const json& document, MemoryWait& wait) {
  document.at("wait_s").get_to(wait.wait_s);
  document.at("reason").get_to(wait.reason);
}

void to_json(json& document, const ModelReport& model) {
  document = {{"name", model.name},
              {"kind", ToString(model.kind)},
              {"status", ToString(model.status)},
              {"rows", OrNull(model.rows)},
              {"bytes", model.bytes.total()},
              {"new_bytes", model.bytes.new_bytes},
              {"reshared_bytes", model.bytes.reshared_bytes},
              {"content_reshared_bytes", model.bytes.content_reshared_bytes},
              {"copied_bytes", model.bytes.copied_bytes},
              {"duplicate_bytes", OrNull(model.bytes.duplicate_bytes)},
              {"wall_s", model.wall_s},
              {"cpu_s", model.cpu_s},
              {"peak_memory_bytes", model.peak_memory_bytes},
              {"error", OrNull(model.error)}};
  if (model.timings) document["timings"] = *model.timings;
  if (model.memory_wait) document["memory_wait"] = *model.memory_wait;
  if (model.kind == ModelKind::kSource) document["cache"] = OrNull(model.cache);
  if (model.kind == ModelKind::kExpectation) {
    document["expectation"] = OrNull(model.expectation);
    document["warning"] = OrNull(model.warning);
    if (model.offending) document["offending"] = *model.offending;
  }
}

void from_json(const json& document, ModelReport& model) {
  document.at("name").get_to(model.name);
  model.kind = KindNamed(document.at("kind"));
  model.status = Named(document.at("status"), ModelStatus::kCancelled);
  model.rows = Optional<int64_t>(document, "rows");
  model.bytes.new_bytes = Whole<int64_t>(document.at("new_bytes"));
  model.bytes.reshared_bytes = Whole<int64_t>(document.at("reshared_bytes"));
  model.bytes.content_reshared_bytes = Whole<int64_t>(document.at("content_reshared_bytes"));
  model.bytes.copied_bytes = Whole<int64_t>(document.at("copied_bytes"));
  model.bytes.duplicate_bytes = Optional<int64_t>(document, "duplicate_bytes");
  document.at("wall_s").get_to(model.wall_s);
  document.at("cpu_s").get_to(model.cpu_s);
  model.peak_memory_bytes = Whole<int64_t>(document.at("peak_memory_bytes"));
  model.error = Optional<RunError>(document, "error");
  model.timings = Optional<ModelTimings>(document, "timings");
  model.cache = Optional<CacheUse>(document, "cache");
  model.expectation = Optional<bool>(document, "expectation");
  model.memory_wait = Optional<MemoryWait>(document, "memory_wait");
  model.warning = Optional<RunError>(document, "warning");
  model.offending = Optional<Preview>(document, "offending");
}

void to_json(json& document, const Preview& preview) {
  json columns = json::array();
  for (const auto& [name, type] : preview.columns) {
    columns.push_back({{"name", name}, {"type", type}});
  }
  document = {{"model", preview.model},
              {"columns", std::move(columns)},
              {"rows", preview.rows},
              {"total_rows", preview.total_rows}};
}

void from_json(const json& document, Preview& preview) {
  document.at("model").get_to(preview.model);
  for (const json& column : document.at("columns").get_ref<const json::array_t&>()) {
    preview.columns.emplace_back(column.at("name"), column.at("type"));
  }
  document.at("rows").get_to(preview.rows);
  preview.total_rows = Whole<int64_t>(document.at("total_rows"));
}

json RunReport::ToJson() const {
  json document = {{"run_id", run_id},
                   {"status", ToString(status)},
                   {"wall_s", wall_s},
                   {"peak_memory_bytes", peak_memory_bytes},
                   {"memory_limit_bytes", memory_limit_bytes},
                   {"backend", ToString(backend)},
                   {"evictions", evictions},
                   {"evicted_bytes", evicted_bytes},
                   {"models", models}};
  // What only some runs have is left out where there is none.
  if (!errors.empty()) document["errors"] = errors;
  if (!previews.empty()) document["previews"] = previews;
  if (!outputs.empty()) document["outputs"] = outputs;
  if (!varying.empty()) document["varying"] = varying;
  if (import_again) document["import_again"] = *import_again;
  if (kernelzero) document["kernelzero"] = *kernelzero;
  if (memory_events) document["memory_events"] = *memory_events;
  return document;
}

void from_json(const json& document, RunReport& report) {
  document.at("run_id").get_to(report.run_id);
  report.status = Named(document.at("status"), RunStatus::kCancelled);
  document.at("wall_s").get_to(report.wall_s);
  report.peak_memory_bytes = Whole<int64_t>(document.at("peak_memory_bytes"));
  report.memory_limit_bytes = Whole<int64_t>(document.at("memory_limit_bytes"));
  report.backend = BackendNamed(document.at("backend"));
  report.evictions = List<EvictionReport>(document, "evictions");
  report.evicted_bytes = Whole<int64_t>(document.at("evicted_bytes"));
  document.at("models").get_to(report.models);
  report.errors = List<RunError>(document, "errors");
  report.outputs = List<std::string>(document, "outputs");
  report.import_again = Optional<std::string>(document, "import_again");
  report.kernelzero = Optional<std::map<std::string, int64_t>>(document, "kernelzero");
  report.varying = List<VaryingModel>(document, "varying");
  report.memory_events = Optional<std::vector<MemoryEvent>>(document, "memory_events");
}

}  // namespace zerrow
