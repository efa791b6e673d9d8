#include "server/patience.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/fd.h"

namespace zerrow::server {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

namespace {

// Signals may have interrupted another thread.
constexpr milliseconds kRound{50};

}  // namespace

Patience::Patience(milliseconds limit, std::function<bool()> cancelled)
    : limit_(limit), deadline_(Clock::now() + limit), cancelled_(std::move(cancelled)) {}

arrow::Status Patience::Check() const {
  if (cancelled_ && cancelled_()) return arrow::Status::Cancelled("interrupted");
  if (Clock::now() < deadline_) return arrow::Status::OK();
  return arrow::Status::IOError("the resident engine doesn't answer within ", limit_.count(),
                                " ms");
}

arrow::Status Patience::Await(int fd) const {
  while (true) {
    ARROW_RETURN_NOT_OK(Check());
    const auto left = std::chrono::ceil<milliseconds>(deadline_ - Clock::now());
    pollfd waited{fd, POLLIN, 0};
    const auto round = std::clamp(left, milliseconds(0), kRound);
    const int ready = ::poll(&waited, 1, static_cast<int>(round.count()));
    if (ready > 0) return arrow::Status::OK();
    if (ready < 0 && errno != EINTR) return base::ErrnoStatus(errno, "poll");
  }
}

}  // namespace zerrow::server
