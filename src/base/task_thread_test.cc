#include "base/task_thread.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <vector>

namespace zerrow::base {
namespace {

TEST(TaskThread, RunsTasksInOrderOnAThreadOfItsOwn) {
  const TaskThread tasks;
  std::vector<int> seen;
  std::thread::id thread;
  for (int i = 0; i < 100; ++i) tasks.Post([&, i] { seen.push_back(i); });
  tasks.Post([&] { thread = std::this_thread::get_id(); });
  tasks.Flush();
  ASSERT_EQ(seen.size(), 100u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_NE(thread, std::this_thread::get_id());
}

TEST(TaskThread, FinishesWhatIsQueuedAndHandlesOutliveIt) {
  std::optional<TaskThread> owner(std::in_place);
  const TaskThread::Handle handle = owner->handle();
  std::atomic<int> ran{0};
  for (int i = 0; i < 100; ++i) handle.Post([&] { ++ran; });
  owner.reset();
  EXPECT_EQ(ran, 100);
  std::thread::id thread;
  handle.Post([&] { thread = std::this_thread::get_id(); });
  EXPECT_EQ(thread, std::this_thread::get_id());
}

TEST(TaskThread, ATaskMayPost) {
  const TaskThread tasks;
  std::atomic<bool> ran{false};
  tasks.Post([&] { tasks.Post([&] { ran = true; }); });
  tasks.Flush();
  tasks.Flush();
  EXPECT_TRUE(ran);
}

TEST(TaskThread, TicksBetweenTasks) {
  std::atomic<int> ticks{0};
  std::atomic<int> ran{0};
  const TaskThread tasks;
  tasks.Every(std::chrono::milliseconds(1), [&] { ++ticks; });
  while (ticks < 3) tasks.Post([&] { ++ran; });
  tasks.Flush();
  EXPECT_GT(ran, 0);
}

TEST(TaskThread, StopsOnceEverythingHasRun) {
  TaskThread tasks;
  std::atomic<int> ran{0};
  std::atomic<int> ticks{0};
  tasks.Every(std::chrono::milliseconds(1), [&] { ++ticks; });
  tasks.Post([&] {
    ++ran;
    tasks.Post([&] { ++ran; });
  });
  tasks.Stop();
  EXPECT_GE(ran, 1);
  const int before = ticks;
  tasks.Stop();
  tasks.Post([&] { ++ran; });
  EXPECT_EQ(ran, 3) << "what is posted later runs at once";
  EXPECT_EQ(ticks, before);
}

// What a task holds may post again when it goes.
TEST(TaskThread, WhatATaskHoldsGoesBeforeTheNextOneRuns) {
  const TaskThread tasks;
  std::atomic<bool> gone{false};
  std::atomic<bool> gone_before_next{false};
  std::shared_ptr<int> held(new int(1), [&](const int* last) {
    delete last;
    tasks.Post([&] { gone = true; });
  });
  tasks.Post([held = std::move(held)] {});
  tasks.Flush();
  tasks.Post([&] { gone_before_next = gone.load(); });
  tasks.Flush();
  EXPECT_TRUE(gone_before_next);
}

}  // namespace
}  // namespace zerrow::base
