// What this machine has. Any thread.
#pragma once

#include <cstdint>

namespace zerrow::base {

/// Its memory, whatever of it this process may use.
int64_t MachineMemoryBytes();

/// Cores that this process may run on; at least 1.
int UsableCores();

}  // namespace zerrow::base
