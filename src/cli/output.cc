#include "cli/output.h"

#include <nlohmann/json.hpp>
#include <string>

namespace zerrow::cli {

void PrintTo(FILE* stream, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
}

void PrintJson(const nlohmann::json& document) {
  const std::string text =
      document.dump(2, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
  PrintTo(stdout, text + "\n");
}

bool OutputFailed() { return std::ferror(stdout) != 0; }

}  // namespace zerrow::cli
