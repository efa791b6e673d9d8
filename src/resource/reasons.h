// Amounts in the words of reasons.
#pragma once

#include <cstdint>
#include <string>

namespace zerrow::resource {

/// "999 B", "1.5 GB", "250 GB": three digits, in powers of 1000.
std::string InDecimal(int64_t bytes);

/// That Zerrow itself needs more than the engine's limit: `reserve_bytes` at least.
std::string TooSmall(int64_t limit_bytes, int64_t reserve_bytes);

}  // namespace zerrow::resource
