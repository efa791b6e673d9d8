// What the tests that run in a preloaded process share.
//
// The same binary runs twice, with the shim preloaded and without it: what it expects is what
// plain malloc and mmap do. Seeds are fixed, so a failure repeats. ZERROW_TEST_SCALE=100 makes the
// random tests so many times longer.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <random>

#include "shm/shim/shim.h"

namespace zerrow::shim {

/// True if the shim is preloaded; it is started before the first test.
bool Preloaded();
/// All zeros without the shim.
zerrow_shim_stats Stats();

/// The factor from the environment; 1 without one.
int Scale();

/// Waits for the child; true if it exited with 0.
bool ChildSucceeded(pid_t pid);

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  size_t Below(size_t limit) { return engine_() % limit; }
  /// Mostly small, at times large.
  size_t Size(size_t smallest, size_t largest);

 private:
  std::mt19937_64 engine_;
};

}  // namespace zerrow::shim
