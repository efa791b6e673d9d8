#include "cli/version.h"

#include <arrow/config.h>

namespace zerrow::cli {

std::string VersionLine() {
  return "zerrow " ZERROW_VERSION " (Arrow " + arrow::GetBuildInfo().version_string + ")";
}

nlohmann::json VersionJson() {
  return {{"zerrow", ZERROW_VERSION}, {"arrow", arrow::GetBuildInfo().version_string}};
}

}  // namespace zerrow::cli
