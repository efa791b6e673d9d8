#include "base/no_fork.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace zerrow::base {
namespace {

TEST(NoFork, ForkWaits) {
  std::atomic<bool> is_inside = false;
  std::jthread library([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const NoFork no_fork;
      is_inside = true;
      std::this_thread::yield();
      is_inside = false;
    }
  });
  for (int forked = 0; forked < 100; ++forked) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::alarm(30);
      const bool was_inside = is_inside;
      { const NoFork here_too; }
      ::_exit(was_inside ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
  }
}

}  // namespace
}  // namespace zerrow::base
