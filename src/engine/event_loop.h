// One thread's loop over file descriptors (epoll), and two other threads for what may take long.
//
// Callbacks run on the thread that calls RunOnce, one at a time; they may watch and unwatch
// anything, themselves included. Watched descriptors are borrowed. Only Post's `work` runs on
// another thread. Not thread-safe otherwise. What any of them throws ends the loop, not the
// process.
#pragma once

#include <arrow/result.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "base/fd.h"
#include "base/task_thread.h"

namespace zerrow::engine {

class EventLoop {
 public:
  using Callback = std::function<void()>;
  using WatchId = uint64_t;

  static arrow::Result<std::unique_ptr<EventLoop>> Make();
  ~EventLoop();

  /// Waits for the work that was posted; its `done`, and what Call was given, isn't called any
  /// more.
  void Stop();

  /// Calls `callback` whenever `fd` is readable or its peer has closed. IOError if it can't.
  arrow::Result<WatchId> Watch(int fd, Callback callback);
  /// Before the descriptor is closed.
  void Unwatch(WatchId id);

  /// A paused watch isn't called; what there is to read waits.
  void SetPaused(WatchId id, bool paused);

  /// Has `call` called from the loop, soon; not after Stop. From any thread.
  void Call(Callback call);

  /// A thread each, so that nobody's output waits while somebody's long answer is parsed, and
  /// nobody at all for a disk.
  enum class Lane { kMemory, kText, kWriting, kReading };

  /// Does `work` on the lane's thread, in the order of posting, then calls `done` from the loop.
  /// If `work` throws, `done` isn't called and RunOnce fails.
  void Post(Lane lane, Callback work, Callback done);

  /// Waits up to `timeout` for something to happen and calls what is due. IOError: a system call;
  /// OutOfMemory, UnknownError: what a callback or a work has thrown. Then the loop is of no more
  /// use.
  arrow::Status RunOnce(std::chrono::milliseconds timeout);

 private:
  struct Job {
    Callback work;
    Callback done;
    arrow::Status outcome;  // of `work`
  };
  struct Registration {
    int fd;
    std::shared_ptr<Callback> callback;
  };

  EventLoop(base::UniqueFd epoll, base::UniqueFd finished_event);
  void Finished(std::list<Job>& job);  // holds mutex_
  arrow::Status CallDone();

  base::UniqueFd epoll_;
  base::UniqueFd finished_event_;
  std::unordered_map<WatchId, Registration> watches_;
  WatchId next_id_ = 1;
  arrow::Status failed_;  // a posted work has thrown

  std::mutex mutex_;  // of what follows
  bool stopped_ = false;
  std::list<Job> finished_;  // a list, as moving a job here can't fail

  std::array<base::TaskThread, 4> lanes_;
};

}  // namespace zerrow::engine
