// The zygotes of an engine: one for each interpreter, environment, backend and set of libraries
// that its runs ask for.
//
// Started when needed; ended when nobody has needed them for a while, when there are too many that
// nobody needs, or when they don't do what they must: get ready and fork in time. On the loop's
// thread, which must be one that lives as long as the engine: the kernel ends a zygote with the
// thread that started it.
#pragma once

#include <arrow/result.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/event_loop.h"
#include "engine/worker_pool.h"
#include "resource/events.h"

namespace zerrow::engine {

class Zygotes {
 public:
  struct Options {
    std::chrono::milliseconds idle{};  // zero: kept as long as the engine
    std::function<resource::Time()> now;
    std::function<void(pid_t)> on_started;
  };
  /// `loop` outlives it.
  Zygotes(EventLoop& loop, Options options) : loop_(loop), options_(std::move(options)) {}

  /// The pool of such a zygote, started if there is none; it may not be ready yet. It stays while
  /// it has workers, and longer: ask again for each worker. IOError if it can't be started.
  arrow::Result<WorkerPool*> For(const ZygoteOptions& options);

  /// Nothing of the run is needed any more.
  void EndRun(resource::RunId run);

  /// Ends what is lost, hangs or has been idle for too long.
  void OnTime();
  /// Ends those that nobody needs, all but the `count` that were needed last, and what waits in
  /// these.
  void KeepIdle(size_t count);
  /// WorkerPool::LongestWait, of all.
  resource::Time LongestWait() const;
  /// Ends all of them, with their workers.
  void AbandonAll(const std::string& why);
  /// When OnTime is due although nothing happens; nullopt: never.
  std::optional<resource::Time> next_deadline() const;

  struct Entry {
    ZygoteOptions options;
    std::unique_ptr<WorkerPool> pool;
    resource::Time started = 0;
    resource::Time used = 0;
  };
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  void CheckTime(Entry& entry) const;

  EventLoop& loop_;
  const Options options_;
  std::vector<Entry> entries_;
};

}  // namespace zerrow::engine
