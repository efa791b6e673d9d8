// Whether a process ended because memory ran out, on the machine or in a cgroup.
//
// How many the kernel has killed for that, read before and after, tells whether a SIGKILL may have
// been that. Any thread.
#pragma once

#include <cstdint>

#include "zerrow/run.h"

namespace zerrow::engine {

/// Since the machine started; 0 if the kernel doesn't say.
int64_t CountOomKills();

/// Whether a failure is said to be the system's refusal of memory, by what it says of a system call
/// that needed some, too.
bool IsForWantOfMemory(const RunError& error);

}  // namespace zerrow::engine
