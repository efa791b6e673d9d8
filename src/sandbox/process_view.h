// What the kernel says of a process: who it is, where it lives, what it may do.
//
// To tell whether one process can stand in for another. Read from /proc and by system calls, so
// that nobody's word is taken for it. Values; any thread.
#pragma once

#include <arrow/result.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace zerrow::sandbox {

struct ProcessView {
  pid_t pid = 0;
  std::map<std::string, std::string> namespaces;  // "mnt" -> "mnt:[4026531832]"
  std::pair<uint64_t, uint64_t> root;             // device and inode of its /
  /// Uid, Gid, Groups, CapEff, CapBnd, NoNewPrivs, Seccomp, as /proc/PID/status has them.
  std::map<std::string, std::string> status;
  std::string memory_cgroup;  // its folder; empty: none is visible
  std::vector<std::string>
      limited_cgroups;  // memory cgroups with a limit that it is in, as folders
  uint32_t umask = 0;
  int niceness = 0;
  std::vector<int> cpus;                                // that it may run on, ascending
  std::map<int, std::pair<uint64_t, uint64_t>> limits;  // RLIMIT_...: soft, hard

  /// IOError: it is gone, or this process may not look at it.
  static arrow::Result<ProcessView> Of(pid_t pid);
};

/// Why a child of `engine` can't be what a child of `client` would be; empty: it can, once it has
/// taken on umask, niceness, cpus and limits. Pure.
std::string WhyElsewhere(const ProcessView& client, const ProcessView& engine);

/// Memory of the process that isn't a shared segment: its proportional share of anonymous memory
/// and of files. 0: it is gone.
int64_t ProportionalBytes(pid_t pid);

}  // namespace zerrow::sandbox
