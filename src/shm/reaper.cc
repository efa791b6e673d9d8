#include "shm/reaper.h"

#include <condition_variable>
#include <deque>
#include <mutex>

namespace zerrow::shm {

namespace {
using Clock = std::chrono::steady_clock;
}  // namespace

struct Reaper::Queue {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Task> tasks;
  Task tick;
  std::chrono::milliseconds interval{0};
  bool stopped = false;

  void Run();
};

// Ends only when it is stopped and empty.
void Reaper::Queue::Run() {
  std::unique_lock lock(mutex);
  auto next_tick = Clock::now() + interval;
  while (true) {
    if (!tasks.empty()) {
      Task task = std::move(tasks.front());
      tasks.pop_front();
      lock.unlock();
      task();
      task = nullptr;  // what it holds goes before the lock is taken again
      lock.lock();
    } else if (stopped) {
      return;
    } else if (!tick) {
      changed.wait(lock);
      next_tick = Clock::now() + interval;
    } else if (Clock::now() < next_tick) {
      changed.wait_until(lock, next_tick);
    } else {
      const Task now = tick;
      next_tick = Clock::now() + interval;
      lock.unlock();
      now();
      lock.lock();
    }
  }
}

Reaper::Reaper() : handle_(std::make_shared<Queue>()) {
  thread_ = std::thread([queue = handle_.queue_] { queue->Run(); });
}

Reaper::~Reaper() {
  {
    std::lock_guard lock(handle_.queue_->mutex);
    handle_.queue_->stopped = true;
  }
  handle_.queue_->changed.notify_all();
  thread_.join();
}

void Reaper::Handle::Post(Task task) const {
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

void Reaper::Every(std::chrono::milliseconds interval, Task task) const {
  std::lock_guard lock(handle_.queue_->mutex);
  handle_.queue_->interval = interval;
  handle_.queue_->tick = std::move(task);
  handle_.queue_->changed.notify_all();
}

void Reaper::Flush() const {
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

}  // namespace zerrow::shm
