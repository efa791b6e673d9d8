#include "base/task_thread.h"

#include <condition_variable>
#include <deque>
#include <mutex>

namespace zerrow::base {

namespace {
using Clock = std::chrono::steady_clock;
}  // namespace

struct TaskThread::Queue {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Task> tasks;
  Task tick;
  std::chrono::milliseconds interval{0};
  Clock::time_point next_tick;
  bool stopped = false;

  void Run();
  void RunUnlocked(std::unique_lock<std::mutex>& lock, Task task);
};

// What the task holds goes before the lock is taken again.
void TaskThread::Queue::RunUnlocked(std::unique_lock<std::mutex>& lock, Task task) {
  lock.unlock();
  task();
  task = nullptr;
  lock.lock();
}

// Ends only when it is stopped and empty.
void TaskThread::Queue::Run() {
  std::unique_lock lock(mutex);
  while (true) {
    if (tick && Clock::now() >= next_tick) {
      next_tick = Clock::now() + interval;
      RunUnlocked(lock, tick);
    } else if (!tasks.empty()) {
      Task task = std::move(tasks.front());
      tasks.pop_front();
      RunUnlocked(lock, std::move(task));
    } else if (stopped) {
      return;
    } else if (tick) {
      changed.wait_until(lock, next_tick);
    } else {
      changed.wait(lock);
    }
  }
}

TaskThread::TaskThread() : handle_(std::make_shared<Queue>()) {
  thread_ = std::thread([queue = handle_.queue_] { queue->Run(); });
}

void TaskThread::Stop() {
  if (!thread_.joinable()) return;
  Task last_tick;  // what it holds goes without the lock
  {
    std::lock_guard lock(handle_.queue_->mutex);
    handle_.queue_->stopped = true;
    last_tick.swap(handle_.queue_->tick);
  }
  handle_.queue_->changed.notify_all();
  thread_.join();
}

void TaskThread::Handle::Post(Task task) const {
  if (queue_ != nullptr) {
    std::lock_guard lock(queue_->mutex);
    if (!queue_->stopped) {
      queue_->tasks.push_back(std::move(task));
      queue_->changed.notify_all();
      return;
    }
  }
  task();
}

void TaskThread::Every(std::chrono::milliseconds interval, Task task) const {
  {
    std::lock_guard lock(handle_.queue_->mutex);
    handle_.queue_->interval = interval;
    handle_.queue_->next_tick = Clock::now() + interval;
    handle_.queue_->tick.swap(task);  // the last one goes without the lock
  }
  handle_.queue_->changed.notify_all();
}

void TaskThread::Flush() const {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  Post([&] {
    std::lock_guard lock(mutex);
    done = true;
    changed.notify_all();
  });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return done; });
}

}  // namespace zerrow::base
