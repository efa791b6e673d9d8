// Asks a running Engine::Run to stop, from another thread or a signal handler.
//
// Cancel() only writes to an eventfd, so it is async-signal-safe and may be called any number of
// times; a token stays cancelled. Copies share one state. Any thread. Owns its eventfd.
#pragma once

#include <arrow/result.h>

#include <memory>
#include <utility>

#include "base/fd.h"

namespace zerrow::engine {

class CancelToken {
 public:
  static arrow::Result<CancelToken> Make();

  void Cancel() const noexcept;
  bool cancelled() const;
  /// Readable once cancelled; never drained.
  int fd() const { return event_->get(); }

 private:
  explicit CancelToken(base::UniqueFd event)
      : event_(std::make_shared<base::UniqueFd>(std::move(event))) {}

  std::shared_ptr<base::UniqueFd> event_;
};

}  // namespace zerrow::engine
