// The parts of a run's report as JSON, as `-O json` prints them, and back.
//
// By nlohmann's convention: found through their arguments' namespace, and what is malformed throws
// nlohmann::json::exception, which whoever reads somebody else's document catches. Any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "zerrow/run.h"

namespace zerrow {

void to_json(nlohmann::json& document, const RunError& error);
void from_json(const nlohmann::json& document, RunError& error);
void to_json(nlohmann::json& document, const ModelTimings& timings);
void from_json(const nlohmann::json& document, ModelTimings& timings);
void to_json(nlohmann::json& document, const EvictionReport& eviction);
void from_json(const nlohmann::json& document, EvictionReport& eviction);
void to_json(nlohmann::json& document, const VaryingModel& varying);
void from_json(const nlohmann::json& document, VaryingModel& varying);
void to_json(nlohmann::json& document, const MemoryEvent& event);
void from_json(const nlohmann::json& document, MemoryEvent& event);
void to_json(nlohmann::json& document, const MemoryWait& wait);
void from_json(const nlohmann::json& document, MemoryWait& wait);
void to_json(nlohmann::json& document, const ModelReport& model);
void from_json(const nlohmann::json& document, ModelReport& model);
void to_json(nlohmann::json& document, const Preview& preview);
void from_json(const nlohmann::json& document, Preview& preview);
/// All of it but previews, which are documents of their own.
void from_json(const nlohmann::json& document, RunReport& report);

/// A whole number that `Number` can hold; nlohmann's own conversion takes any. Throws as above.
template <typename Number>
Number Whole(const nlohmann::json& document) {
  const bool fits = document.is_number_unsigned()
                        ? std::in_range<Number>(document.get_ref<const uint64_t&>())
                        : document.is_number_integer() &&
                              std::in_range<Number>(document.get_ref<const int64_t&>());
  if (!fits) throw nlohmann::json::other_error::create(501, "not such a number", nullptr);
  return document.get<Number>();
}

/// The value that is called so. Throws as above.
BackendKind BackendNamed(const std::string& name);
ModelKind KindNamed(const std::string& name);

}  // namespace zerrow
