// Names for runs: unique in practice, and sorted by time.
#pragma once

#include <string>

namespace zerrow::engine {

/// Such as "20260102T030405Z-0a1b2c3d": UTC, and something random for runs of the same second.
std::string MakeRunName();

}  // namespace zerrow::engine
