// How many processes the kernel has killed because memory ran out, on the machine or in a cgroup.
//
// Read before and after, it tells whether a SIGKILL may have been that. Any thread.
#pragma once

#include <cstdint>

namespace zerrow::engine {

/// Since the machine started; 0 if the kernel doesn't say.
int64_t CountOomKills();

}  // namespace zerrow::engine
