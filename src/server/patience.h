// How long a client waits for the resident engine, and whether it still wants to.
//
// Counted from when it is made. A value; used by one thread, on which `cancelled` is called.
#pragma once

#include <arrow/status.h>

#include <chrono>
#include <functional>

namespace zerrow::server {

class Patience {
 public:
  /// More than a living engine ever takes to answer, on however busy a machine.
  static constexpr std::chrono::milliseconds kDefault{10'000};

  /// `cancelled` is asked several times a second; empty: never.
  explicit Patience(std::chrono::milliseconds limit = kDefault,
                    std::function<bool()> cancelled = {});

  /// OK: there is still time. Cancelled. IOError: the engine doesn't answer.
  arrow::Status Check() const;
  /// Until something can be read from `fd`, or its other end is closed; else as Check.
  arrow::Status Await(int fd) const;

 private:
  std::chrono::milliseconds limit_;
  std::chrono::steady_clock::time_point deadline_;
  std::function<bool()> cancelled_;
};

}  // namespace zerrow::server
