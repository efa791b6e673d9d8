// A thread that ends things whose end is dear: giving a GiB back to the kernel takes about 120 ms.
//
// Post may be called from any thread and doesn't wait. Tasks run one by one, in order. One owner
// holds the Reaper; what may outlive it holds a Handle: posted through it after the reaper's end,
// a task runs at once, on the caller's thread. The destructor runs what is still queued; it must
// not run on the reaper's own thread. Nothing survives a crash: the kernel frees.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <thread>

namespace zerrow::shm {

class Reaper {
  struct Queue;

 public:
  using Task = std::function<void()>;

  /// What outlives the reaper: posts while it lives, runs the task at once afterwards.
  class Handle {
   public:
    Handle() = default;
    void Post(Task task) const;

   private:
    friend class Reaper;
    explicit Handle(std::shared_ptr<Queue> queue) : queue_(std::move(queue)) {}
    std::shared_ptr<Queue> queue_;
  };

  Reaper();
  ~Reaper();
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;

  Handle handle() const { return handle_; }
  void Post(Task task) const { handle_.Post(std::move(task)); }

  /// Runs `task` on the reaper's thread about every `interval` from now on. Replaces the last one.
  void Every(std::chrono::milliseconds interval, Task task) const;

  /// Waits until everything posted before has run. Not from a task.
  void Flush() const;

 private:
  Handle handle_;
  std::thread thread_;
};

}  // namespace zerrow::shm
