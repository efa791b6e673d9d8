// Sizes as people write them: 1GB, 512MiB, 1.5 gb, 4096.
//
// A function of its argument, any thread. What prints them is cli/format.h.
#pragma once

#include <arrow/result.h>

#include <cstdint>
#include <string_view>

namespace zerrow::base {

/// A number of bytes, with an optional fraction and a unit in any case: B, kB, MB, GB, TB are
/// powers of 1000, KiB, MiB, GiB, TiB of 1024; without one it is bytes. Invalid, and what to write
/// instead: anything else, and what 63 bits don't hold.
arrow::Result<int64_t> ParseBytes(std::string_view text);

}  // namespace zerrow::base
