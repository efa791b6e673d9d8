#include "base/fd_limit.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "base/channel.h"

namespace zerrow::base {
namespace {

constexpr size_t kMany = 600;

// In a process whose limit is low: 0, or where it went wrong.
int ReceiveManyUnderALowLimit(Channel& channel) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = 64;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
  std::optional<Message> message;
  {
    const RaisedFdLimit raised;
    auto received = channel.Receive();
    if (!received.ok() || !received->has_value()) return 2;
    message = std::move(**received);
  }
  rlimit after{};
  ::getrlimit(RLIMIT_NOFILE, &after);
  if (after.rlim_cur != 64 || after.rlim_max != limit.rlim_max) return 3;
  if (message->fds.size() != kMany) return 4;
  char byte = 0;
  return ::pread(message->fds.back().get(), &byte, 1, 0) == 1 && byte == 'x' ? 0 : 5;
}

TEST(RaisedFdLimit, LetsAProcessReceiveMoreThanItMayOpen) {
  auto [ours, theirs] = Channel::MakePair().ValueOrDie();
  const auto file = MakeSealedMemfd("test", "x").ValueOrDie();
  const std::vector<int> fds(kMany, file.get());
  const pid_t child = ::fork();
  if (child == 0) ::_exit(ReceiveManyUnderALowLimit(theirs));
  ASSERT_TRUE(ours.Send("many", fds).ok());
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(RaisedFdLimit, LeavesALimitAloneThatCannotBeRaised) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  {
    const RaisedFdLimit first;
    const RaisedFdLimit second;
  }
  rlimit after{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &after), 0);
  EXPECT_EQ(before.rlim_cur, after.rlim_cur);
}

}  // namespace
}  // namespace zerrow::base
