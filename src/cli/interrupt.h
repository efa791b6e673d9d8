// Ctrl-C: the first asks the run to stop and clean up, the second ends the process at once.
//
// At most one instance at a time (a signal handler has only globals); made and destroyed by the
// main thread. While it lives SIGINT, SIGTERM and SIGHUP are its own; it restores what was there.
// However the process ends, the kernel takes its workers and its shared memory with it.
#pragma once

#include <signal.h>

#include <array>

#include "engine/cancel_token.h"

namespace zerrow::cli {

class InterruptHandler {
 public:
  /// `what` is being stopped, as the user is told.
  explicit InterruptHandler(engine::CancelToken token, const char* what = "the run");
  ~InterruptHandler();
  InterruptHandler(const InterruptHandler&) = delete;
  InterruptHandler& operator=(const InterruptHandler&) = delete;

 private:
  static constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGHUP};

  engine::CancelToken token_;
  std::array<struct sigaction, kSignals.size()> before_{};
};

}  // namespace zerrow::cli
