#include "shm/reaper.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <vector>

namespace zerrow::shm {
namespace {

TEST(Reaper, RunsTasksInOrderOnAThreadOfItsOwn) {
  const Reaper reaper;
  std::vector<int> seen;
  std::thread::id thread;
  for (int i = 0; i < 100; ++i) reaper.Post([&, i] { seen.push_back(i); });
  reaper.Post([&] { thread = std::this_thread::get_id(); });
  reaper.Flush();
  ASSERT_EQ(seen.size(), 100u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_NE(thread, std::this_thread::get_id());
}

TEST(Reaper, FinishesWhatIsQueuedAndHandlesOutliveIt) {
  std::optional<Reaper> reaper(std::in_place);
  const Reaper::Handle handle = reaper->handle();
  std::atomic<int> ran{0};
  for (int i = 0; i < 100; ++i) handle.Post([&] { ++ran; });
  reaper.reset();
  EXPECT_EQ(ran, 100);
  std::thread::id thread;
  handle.Post([&] { thread = std::this_thread::get_id(); });
  EXPECT_EQ(thread, std::this_thread::get_id());
}

TEST(Reaper, ATaskMayPost) {
  const Reaper reaper;
  std::atomic<bool> ran{false};
  reaper.Post([&] { reaper.Post([&] { ran = true; }); });
  reaper.Flush();
  reaper.Flush();
  EXPECT_TRUE(ran);
}

TEST(Reaper, Ticks) {
  std::atomic<int> ticks{0};
  const Reaper reaper;
  reaper.Every(std::chrono::milliseconds(1), [&] { ++ticks; });
  while (ticks < 3) std::this_thread::yield();
}

}  // namespace
}  // namespace zerrow::shm
