// The engine's thread and all that lives on it: the loop, the dispatcher and what performs for it,
// the backends and the shared memory.
//
// Methods may be called from any thread, and only hand over to the loop's. The destructor cancels
// all runs, waits for their end, and ends the thread with all that was made on it.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <thread>

#include "engine/backend.h"
#include "engine/dispatcher.h"
#include "engine/engine.h"
#include "engine/estimates.h"
#include "engine/event_loop.h"
#include "engine/history.h"
#include "engine/live_memory.h"
#include "engine/live_performer.h"
#include "sandbox/cgroup.h"

namespace zerrow::engine {

class Engine::Loop {
 public:
  /// IOError.
  static arrow::Result<std::unique_ptr<Loop>> Make(const EngineOptions& options);
  ~Loop();

  resource::RunId NextId() { return next_id_++; }
  /// `request` may ask for the backend kAuto: the best that there is is taken.
  void Add(resource::RunId id, RunRequest request, std::optional<CancelToken> cancel,
           std::unique_ptr<RunSink> sink);
  void Cancel(resource::RunId run);
  void Resume(resource::RunId run);
  /// Engine::Inspect.
  arrow::Result<EngineStatus> Inspect();
  arrow::Result<std::vector<CachedColumn>> ListCache();
  arrow::Result<int64_t> ClearCache();

 private:
  using Clock = std::chrono::steady_clock;
  struct Cancellation {
    CancelToken token;
    EventLoop::WatchId watch = 0;
  };

  Loop(const EngineOptions& options, std::shared_ptr<shm::SpillFolder> spill,
       std::unique_ptr<EventLoop> loop);
  void Work();
  arrow::Status Serve();
  arrow::Status Tick();
  template <typename T>
  arrow::Result<T> Ask(std::function<T()> question);
  int64_t memory_limit() const;
  decache::Cache::Limits CacheLimits() const;
  void MakePerformers();
  void MakeDispatcher();
  void Rest();
  EngineStatus Describe() const;
  EngineStatus::Memory DescribeMemory() const;
  std::chrono::milliseconds WaitingTime() const;
  resource::Time Now() const;
  void Begin(resource::RunId id, RunRequest request, std::optional<CancelToken> cancel,
             std::unique_ptr<RunSink> sink);
  arrow::Status WatchCancel(resource::RunId id, CancelToken token);
  void CheckCancelled();
  arrow::Result<BackendKind> ChooseBackend(BackendKind wanted);
  arrow::Status MakeBackend(BackendKind kind);
  Backend* FindBackend(BackendKind kind) const;

  const EngineOptions options_;
  const std::shared_ptr<shm::SpillFolder> spill_;
  const Clock::time_point began_ = Clock::now();
  const int64_t usable_bytes_ = sandbox::UsableMemoryBytes();
  std::atomic<resource::RunId> next_id_{1};
  std::atomic<bool> stopping_{false};
  // For callbacks that may come when the loop is gone.
  const std::shared_ptr<EventLoop> loop_;

  // What follows belongs to the thread.
  shm::SegmentStore store_;
  std::shared_ptr<shm::SharedMemory> memory_;  // once a run needed it
  std::map<BackendKind, std::unique_ptr<Backend>> backends_;
  std::map<resource::RunId, Cancellation> cancellations_;
  std::unique_ptr<History> history_;  // null: nothing is to be remembered
  std::unique_ptr<Estimates> estimates_;
  std::unique_ptr<LiveMemory> live_memory_;
  std::unique_ptr<LivePerformer> performer_;
  std::unique_ptr<Dispatcher> dispatcher_;
  Clock::time_point sampled_{};
  std::optional<resource::Time> rest_at_;   // nullopt: it rests already
  std::optional<resource::Time> clear_at_;  // the cache; nullopt: it has been
  std::thread thread_;
};

}  // namespace zerrow::engine
