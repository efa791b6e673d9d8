// Feeds bytes to the checker and the reader as a hostile worker would send them. Nothing may crash,
// and what the checker accepts must be readable or refused, whatever its arrays contain. Needs no
// corpus: it starts with messages of random tables.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "sipc/testing/hostile.h"

namespace testing = zerrow::sipc::testing;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  (void)testing::ReadHostileMessage({data, size});
  return 0;
}

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  if (seed % 4 == 0 && size > 64) return LLVMFuzzerMutate(data, size, max_size);
  std::mt19937_64 random(seed);
  std::vector<uint8_t> message(data, data + size);
  if (size <= 64 || seed % 64 == 1) message = testing::SampleMessage(random() % 1000);
  testing::Mutate(&message, &random);
  const size_t new_size = std::min(message.size(), max_size);
  std::copy_n(message.data(), new_size, data);
  return new_size;
}
