// The parts of a run's report as JSON, as `-O json` prints them, and back.
//
// By nlohmann's convention: found through their arguments' namespace, and what is malformed throws
// nlohmann::json::exception, which whoever reads somebody else's document catches. Any thread.
#pragma once

#include <nlohmann/json.hpp>

#include "zerrow/run.h"

namespace zerrow {

void to_json(nlohmann::json& document, const RunError& error);
void from_json(const nlohmann::json& document, RunError& error);
void to_json(nlohmann::json& document, const ModelTimings& timings);
void from_json(const nlohmann::json& document, ModelTimings& timings);
void to_json(nlohmann::json& document, const ModelReport& model);
void from_json(const nlohmann::json& document, ModelReport& model);
void to_json(nlohmann::json& document, const Preview& preview);
void from_json(const nlohmann::json& document, Preview& preview);
/// All of it but previews, which are documents of their own.
void from_json(const nlohmann::json& document, RunReport& report);

/// The value that is called so. Throws as above.
BackendKind BackendNamed(const std::string& name);
ModelKind KindNamed(const std::string& name);

}  // namespace zerrow
