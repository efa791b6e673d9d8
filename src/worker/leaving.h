// The last thing that a worker does whose output the engine shall have before the process is gone.
#pragma once

#include "worker/handover.h"

namespace zerrow::worker {

/// Lets go of all that the engine has granted: unmaps chunks and the segments of `handover`, closes
/// all descriptors but `channel`. Then says so over it ("left") and ends the process with status 0,
/// without exit handlers. Threads that still run end with it, those that touch that memory first.
/// Call it last, with whatever lock keeps the program's other code from running.
[[noreturn]] void Leave(const Handover& handover, int channel);

}  // namespace zerrow::worker
