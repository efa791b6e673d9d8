// A child process, killed and reaped when its owner goes.
//
// Spawned with posix_spawn, so that it is safe in a process with threads; it starts with default
// signal handling. Move-only, one thread at a time. If this process is killed the child lives
// on unless it asks for PR_SET_PDEATHSIG.
#pragma once

#include <arrow/result.h>
#include <sys/types.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"

namespace zerrow::base {

class ChildProcess {
 public:
  struct Options {
    std::vector<std::string> arguments;    // the program first; found through $PATH
    std::vector<std::string> environment;  // "NAME=value"
    // Descriptors that the child gets, as (ours, the child's number). Its 0, 1 and 2 belong here;
    // what is above the highest number is closed, whatever this process leaves to its programs.
    std::vector<std::pair<int, int>> fds;
    bool new_session = false;  // out of the terminal's reach and of the caller's process group
  };

  /// IOError if the program can't be started.
  static arrow::Result<ChildProcess> Spawn(const Options& options);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  /// Readable once the process has ended.
  int pidfd() const { return pidfd_.get(); }

  void Kill() const;
  /// Waits for the end, kills after `patience`, reaps; the wait status. Idempotent.
  int Wait(std::chrono::milliseconds patience);

 private:
  ChildProcess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}

  pid_t pid_;
  UniqueFd pidfd_;
  bool reaped_ = false;
  int wait_status_ = 0;
};

/// A descriptor of any process, readable once it has ended. IOError: there is none of that number.
arrow::Result<UniqueFd> OpenPidfd(pid_t pid);

/// "was killed by SIGSEGV (segmentation fault)" or "exited with code 3".
std::string DescribeWaitStatus(int wait_status);

}  // namespace zerrow::base
