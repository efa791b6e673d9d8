// What this machine and this process's rights offer to the backends, each with its reason.
//
// Probe tries things out (it makes a tmpfs, a memfd, namespaces in a child process) and leaves
// nothing behind; it takes a few milliseconds. Any thread. Memory cgroups: sandbox/cgroup.h.
#pragma once

#include <string>

namespace zerrow::shm {

struct Capability {
  bool available = false;
  std::string detail;  // what it is here, or why it isn't there
};

struct Capabilities {
  Capability memfd_sealing;
  Capability private_tmpfs;  // with a read-only mount: chunks that can be used again
  Capability huge_pages;     // 2 MiB pages in that tmpfs
  Capability user_namespace;
  Capability pid_namespace;
  Capability mount_namespace;
};

Capabilities Probe();

}  // namespace zerrow::shm
