// Feeds bytes to the checker and the reader as a hostile worker would send them. Nothing may crash,
// and what the checker accepts must be readable or refused, whatever its arrays contain.
#include <cstddef>
#include <cstdint>

#include "sipc/testing/hostile.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  zerrow::sipc::testing::ReadHostileMessage({data, size});
  return 0;
}
