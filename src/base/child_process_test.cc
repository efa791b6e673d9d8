#include "base/child_process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

namespace zerrow::base {
namespace {

using std::chrono::milliseconds;

TEST(ChildProcess, TellsHowItEnded) {
  ChildProcess::Options options;
  options.arguments = {"sh", "-c", "exit 3"};
  auto child = ChildProcess::Spawn(options).ValueOrDie();
  EXPECT_EQ(DescribeWaitStatus(child.Wait(milliseconds(5000))), "exited with code 3");
  options.arguments = {"sleep", "100"};
  auto sleeper = ChildProcess::Spawn(options).ValueOrDie();
  EXPECT_EQ(DescribeWaitStatus(sleeper.Wait(milliseconds(10))), "was killed by SIGKILL (Killed)");
  options.arguments = {"/no/such/program"};
  EXPECT_TRUE(ChildProcess::Spawn(options).status().IsIOError());
}

TEST(OpenPidfd, TellsOfAnyProcessesEnd) {
  ChildProcess::Options options;
  options.arguments = {"sleep", "100"};
  auto child = ChildProcess::Spawn(options).ValueOrDie();
  const UniqueFd pidfd = OpenPidfd(child.pid()).ValueOrDie();
  pollfd ended{pidfd.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 0), 0);
  child.Kill();
  EXPECT_EQ(::poll(&ended, 1, -1), 1);
  for (const pid_t none : {0, -1, 1 << 30}) EXPECT_TRUE(OpenPidfd(none).status().IsIOError());
}

TEST(ChildProcess, MayHaveASessionOfItsOwn) {
  for (const bool own : {false, true}) {
    ChildProcess::Options options;
    options.arguments = {"sleep", "100"};
    options.new_session = own;
    const auto child = ChildProcess::Spawn(options).ValueOrDie();
    EXPECT_EQ(::getsid(child.pid()), own ? child.pid() : ::getsid(0));
  }
}

}  // namespace
}  // namespace zerrow::base
