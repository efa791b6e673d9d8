// Amounts in the words of reasons.
#pragma once

#include <cstdint>
#include <string>

namespace zerrow::resource {

/// "999 B", "1.5 GB", "250 GB": three digits, in powers of 1000.
std::string InDecimal(int64_t bytes);

}  // namespace zerrow::resource
