// What `zerrow simulate` prints.
//
// Pure functions of their arguments; any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "resource/simulator.h"

namespace zerrow::cli {

/// A row for each task, the evictions, and a line that sums up. `note` says what was assumed.
std::string RenderForecast(const resource::Forecast& forecast,
                           const resource::ForecastOptions& options, const std::string& note);
nlohmann::json ForecastJson(const resource::Forecast& forecast,
                            const resource::ForecastOptions& options, const std::string& note);

}  // namespace zerrow::cli
