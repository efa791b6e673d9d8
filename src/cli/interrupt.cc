#include "cli/interrupt.h"

#include <arrow/util/logging.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string_view>
#include <utility>

#include "cli/arguments.h"

namespace zerrow::cli {

namespace {

std::atomic<const engine::CancelToken*> active{nullptr};
std::atomic<int> interrupts{0};
static_assert(std::atomic<int>::is_always_lock_free);

std::atomic<const char*> stopped{nullptr};

void Write(std::string_view text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

// Only what is async-signal-safe.
void OnSignal(int /*signal*/) {
  const int saved = errno;
  const engine::CancelToken* token = active.load();
  if (interrupts.fetch_add(1) > 0 || token == nullptr) ::_exit(kExitInterrupted);
  token->Cancel();
  Write("\rinterrupted: stopping ");
  Write(stopped.load());
  Write("; once more to end at once\n");
  errno = saved;
}

}  // namespace

InterruptHandler::InterruptHandler(engine::CancelToken token, const char* what)
    : token_(std::move(token)) {
  stopped = what;
  ARROW_CHECK(active.exchange(&token_) == nullptr);
  interrupts = 0;
  struct sigaction action {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], nullptr, &before_[i]);
    // nohup and shells that start background jobs ignore signals on purpose.
    if (before_[i].sa_handler != SIG_IGN) ::sigaction(kSignals[i], &action, nullptr);
  }
}

InterruptHandler::~InterruptHandler() {
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
  active = nullptr;
}

}  // namespace zerrow::cli
