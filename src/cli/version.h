// The versions of what runs here. Pure; any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace zerrow::cli {

/// "zerrow 0.1.0 (Arrow 26.0.1)"
std::string VersionLine();

nlohmann::json VersionJson();

}  // namespace zerrow::cli
