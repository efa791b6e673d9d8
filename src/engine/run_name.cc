#include "engine/run_name.h"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <ctime>
#include <random>

namespace zerrow::engine {

std::string MakeRunName() {
  return fmt::format("{:%Y%m%dT%H%M%SZ}-{:08x}", fmt::gmtime(std::time(nullptr)),
                     std::random_device()());
}

}  // namespace zerrow::engine
