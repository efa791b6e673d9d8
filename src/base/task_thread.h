// A thread with a queue: runs what is posted to it, one by one, in order.
//
// Post may be called from any thread and doesn't wait. One owner holds the TaskThread; what may
// outlive it holds a Handle: posted through it after the thread's end, a task runs at once, on the
// caller's thread. Tasks must not throw. Stop, and so the destructor, runs what is still queued; it
// must not run on the thread itself.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

namespace zerrow::base {

class TaskThread {
  struct Queue;

 public:
  using Task = std::function<void()>;

  /// What outlives the thread: posts while it lives, runs the task at once afterwards.
  class Handle {
   public:
    Handle() = default;
    void Post(Task task) const;

   private:
    friend class TaskThread;
    explicit Handle(std::shared_ptr<Queue> queue) : queue_(std::move(queue)) {}
    std::shared_ptr<Queue> queue_;
  };

  TaskThread();
  ~TaskThread() { Stop(); }
  TaskThread(const TaskThread&) = delete;
  TaskThread& operator=(const TaskThread&) = delete;

  Handle handle() const { return handle_; }
  void Post(Task task) const { handle_.Post(std::move(task)); }

  /// Runs `task` on the thread about every `interval` from now on, between posted ones. Replaces
  /// the last one.
  void Every(std::chrono::milliseconds interval, Task task) const;

  /// Waits until everything posted before has run. Not from a task.
  void Flush() const;

  /// Runs what is queued and ends the thread. Idempotent; not from several threads at once.
  void Stop();

 private:
  Handle handle_;
  std::thread thread_;
};

}  // namespace zerrow::base
