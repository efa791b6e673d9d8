// A process with all that it has started and that hasn't left it: listed, measured, paused.
//
// By what /proc says at the moment of the call; processes that come and go meanwhile may be
// missing. Whoever was orphaned isn't in the tree any more. Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace zerrow::sandbox {

/// Children of any of its threads; none if it is gone.
std::vector<pid_t> ChildrenOf(pid_t pid);

/// Anonymous memory that they have resident, each with its own; what is shared after a fork counts
/// in each. 0: it is gone.
int64_t TreeAnonBytes(pid_t root);

/// Stops all of them (SIGSTOP), or lets them go on. What is born meanwhile is stopped too, up to
/// some generations. Only processes that are seen to be of the tree get a signal.
void PauseTree(pid_t root, bool paused);

}  // namespace zerrow::sandbox
