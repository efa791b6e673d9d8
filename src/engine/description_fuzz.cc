// Parses project descriptions as a project's own code could make them, and plans what is accepted.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/json.h"
#include "engine/description.h"
#include "engine/plan.h"

namespace engine = zerrow::engine;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto document = zerrow::base::ParseJson({reinterpret_cast<const char*>(data), size});
  if (!document.ok()) return 0;
  const auto description = engine::ParseDescription(*document);
  if (description.ok()) (void)engine::MakePlan(*description, {});
  return 0;
}
