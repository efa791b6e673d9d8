// Removes an empty folder, such as a cgroup, for a process that may be killed before it can.
//
// A tiny child process: /bin/sh with a fixed script, in a session of its own, without our
// environment and open files. It waits until the pipe to it ends, whichever way this process ends,
// then tries to remove the folder for some seconds, as others may still be leaving it. The
// destructor ends and reaps it. One thread at a time.
#pragma once

#include <arrow/result.h>

#include <string>

#include "base/child_process.h"
#include "base/fd.h"

namespace zerrow::sandbox {

class Janitor {
 public:
  /// IOError: there is no /bin/sh.
  static arrow::Result<Janitor> Start(const std::string& folder);

  Janitor(Janitor&&) = default;
  ~Janitor();

  pid_t pid() const { return process_.pid(); }

 private:
  Janitor(base::ChildProcess process, base::UniqueFd pipe)
      : process_(std::move(process)), pipe_(std::move(pipe)) {}

  base::ChildProcess process_;
  base::UniqueFd pipe_;  // its stdin
};

}  // namespace zerrow::sandbox
