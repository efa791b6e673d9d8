// A sink that keeps a run's news until somebody takes them, on whatever thread.
//
// Bounded: beyond a number of bytes it asks the engine to pause what functions print; the one who
// takes resumes it. What isn't a line is kept in any case, as there is little of it. Shared between
// the engine (through the sink that Sink() makes) and the reader; thread-safe.
#pragma once

#include <arrow/result.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <variant>

#include "base/fd.h"
#include "engine/run_sink.h"

namespace zerrow::engine {

class RunQueue {
 public:
  using Done = arrow::Result<RunResult>;
  using Item = std::variant<RunEvent, Done>;

  /// IOError.
  static arrow::Result<std::shared_ptr<RunQueue>> Make();

  /// For Engine::Submit; shares the queue.
  static std::unique_ptr<RunSink> Sink(std::shared_ptr<RunQueue> queue);
  /// Called from Take whenever there is room again after there was none: Engine::Resume.
  void OnRoom(std::function<void()> resume);

  /// The next one, waiting for it up to `patience`; nullopt if there was none. After Done nothing
  /// follows.
  std::optional<Item> Take(std::chrono::milliseconds patience);

  /// Readable while there is something to take.
  int fd() const { return event_.get(); }

 private:
  class QueueSink;
  explicit RunQueue(base::UniqueFd event) : event_(std::move(event)) {}
  bool Put(Item item, size_t bytes);

  const base::UniqueFd event_;  // an eventfd
  std::mutex mutex_;            // of what follows
  std::condition_variable filled_;
  std::deque<std::pair<Item, size_t>> items_;
  size_t bytes_ = 0;
  bool full_ = false;
  std::function<void()> resume_;
};

}  // namespace zerrow::engine
