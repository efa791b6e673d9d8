#include "engine/cancel_token.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

namespace zerrow::engine {

arrow::Result<CancelToken> CancelToken::Make() {
  base::UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) return base::ErrnoStatus(errno, "eventfd");
  return CancelToken(std::move(event));
}

void CancelToken::Cancel() const noexcept {
  const int saved = errno;  // a signal handler must leave it alone
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event_->get(), &one, sizeof(one));
  errno = saved;
}

bool CancelToken::cancelled() const {
  pollfd poller{event_->get(), POLLIN, 0};
  return ::poll(&poller, 1, 0) > 0;
}

}  // namespace zerrow::engine
