#include "base/channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>

#include "base/testing/raw_packet.h"

namespace zerrow::base {
namespace {

using nlohmann::json;
using testing::RawHeader;
using testing::SendRaw;

std::pair<Channel, Channel> Pair() { return Channel::MakePair().ValueOrDie(); }

TEST(Channel, CarriesBodyAndDescriptors) {
  auto [a, b] = Pair();
  UniqueFd fd = MakeSealedMemfd("test", "hello").ValueOrDie();
  const int fds[] = {fd.get()};
  ASSERT_TRUE(a.Send({{"op", "x"}}, fds).ok());
  auto message = b.Receive().ValueOrDie();
  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(message->body["op"], "x");
  ASSERT_EQ(message->fds.size(), 1u);
  EXPECT_EQ(FileSize(message->fds[0].get()).ValueOrDie(), 5);
}

TEST(Channel, CarriesBodiesAndDescriptorCountsBeyondOnePacket) {
  auto [a, b] = Pair();
  UniqueFd fd = MakeMemfd("test").ValueOrDie();
  const std::vector<int> fds(700, fd.get());
  const json body = {{"text", std::string(5 << 20, 'x')}};
  std::thread sender([&, &a = a] { ASSERT_TRUE(a.Send(body, fds).ok()); });
  auto message = b.Receive().ValueOrDie();
  sender.join();
  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(message->body, body);
  EXPECT_EQ(message->fds.size(), 700u);
}

TEST(Channel, SaysThatThePeerClosed) {
  auto [a, b] = Pair();
  { Channel closing = std::move(a); }
  EXPECT_FALSE(b.Receive().ValueOrDie().has_value());
  EXPECT_TRUE(b.Send({{"op", "x"}}).IsIOError());
}

TEST(Channel, ReceiveAndSendTimeOut) {
  auto [a, b] = Pair();
  EXPECT_TRUE(b.Receive(std::chrono::milliseconds(1)).status().IsIOError());
  const json body = {{"text", std::string(20'000, 'x')}};
  arrow::Status status;
  while (status.ok()) status = a.Send(body, {}, std::chrono::milliseconds(1));
  EXPECT_TRUE(status.IsIOError()) << status.ToString();
}

TEST(Channel, DoesNotWaitForDescriptorsThatItWontTake) {
  auto [a, b] = Pair();
  UniqueFd fd = MakeMemfd("test").ValueOrDie();
  const std::vector<int> fds(3, fd.get());
  ASSERT_TRUE(a.Send({{"op", "x"}}, fds).ok());
  EXPECT_TRUE(b.Receive(std::chrono::seconds(1), {.fds = 2}).status().IsSerializationError());
  // It announces one descriptor and sends none.
  const std::string packet("ZCHN\1\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0{}", 26);
  ASSERT_GT(::send(a.fd(), packet.data(), packet.size(), 0), 0);
  EXPECT_TRUE(b.Receive(std::chrono::seconds(1), {.fds = 2}).status().IsSerializationError());
}

TEST(Channel, RefusesMalformedPackets) {
  for (const std::string& packet :
       {std::string("x"), std::string(24, '\0'), std::string("ZCHN") + std::string(20, '\xff'),
        std::string("ZCHN\0\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0{{{", 27),
        std::string("ZCHN\1\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0{}", 26),
        std::string("ZCHN\0\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 24)}) {
    auto [a, b] = Pair();
    ASSERT_GT(::send(a.fd(), packet.data(), packet.size(), 0), 0);
    { Channel closing = std::move(a); }
    auto message = b.Receive();
    EXPECT_TRUE(!message.ok() || !message->has_value()) << packet;
  }
}

size_t OpenFiles() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

// A spilled body must be a whole sealed file of its size before a byte of it is looked at.
TEST(Channel, RefusesBodiesThatArentThere) {
  auto [a, b] = Pair();
  const std::string text = "[" + std::string(8190, ' ') + "]";
  const auto refused = [&, &a = a, &b = b](int fd, uint64_t body_bytes,
                                           const std::string& inline_text) {
    const RawHeader header{.body_bytes = body_bytes, .spilled = 1};
    EXPECT_TRUE(SendRaw(a, header, inline_text, {fd}));
    const auto status = b.Receive(std::chrono::seconds(1)).status();
    EXPECT_TRUE(status.IsSerializationError()) << status;
    return status.IsSerializationError();
  };
  const UniqueFd sound = MakeSealedMemfd("test", text).ValueOrDie();
  ASSERT_TRUE(SendRaw(a, {.body_bytes = 8192, .spilled = 1}, "", {sound.get()}));
  EXPECT_TRUE(b.Receive(std::chrono::seconds(1)).ok());
  EXPECT_TRUE(refused(sound.get(), 8191, ""));
  EXPECT_TRUE(refused(sound.get(), 8193, ""));
  EXPECT_TRUE(refused(sound.get(), 8192, "{}"));
  UniqueFd open = MakeMemfd("test").ValueOrDie();
  ASSERT_TRUE(WriteAll(open.get(), text).ok());
  EXPECT_TRUE(refused(open.get(), 8192, ""));
  const UniqueFd sparse = MakeMemfd("test", Channel::kMaxBodyBytes).ValueOrDie();
  ASSERT_TRUE(SealMemfd(sparse.get()).ok());
  EXPECT_TRUE(refused(sparse.get(), Channel::kMaxBodyBytes, ""));
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd read_end(ends[0]);
  const UniqueFd write_end(ends[1]);
  EXPECT_TRUE(refused(read_end.get(), 0, ""));
}

TEST(Channel, LimitsAreTheReceivers) {
  auto [a, b] = Pair();
  const auto status_of = [&, &a = a, &b = b](size_t bytes, const Channel::Limits& limits) {
    EXPECT_TRUE(a.Send(std::string(bytes - 2, 'x')).ok());
    return b.Receive(std::chrono::seconds(1), limits).status();
  };
  for (const size_t bytes : {size_t{100}, size_t{32} << 10, size_t{1} << 20}) {
    const auto limit = static_cast<int64_t>(bytes);
    EXPECT_TRUE(status_of(bytes, {.body_bytes = limit}).ok());
    EXPECT_TRUE(status_of(bytes, {.body_bytes = limit - 1}).IsSerializationError());
  }
  const auto unsendable = a.Send(std::string(Channel::kMaxBodyBytes, 'x'));
  EXPECT_TRUE(unsendable.IsCapacityError()) << unsendable;
}

TEST(Channel, LargeMessagesCanBeParsedElsewhere) {
  auto [a, b] = Pair();
  const json body = {{"text", std::string(1 << 20, 'x')}};
  ASSERT_TRUE(a.Send(body).ok());
  ASSERT_TRUE(a.Send({{"op", "x"}}).ok());
  auto large = b.ReceiveUnparsed(std::chrono::seconds(1), {}).ValueOrDie();
  auto small = b.ReceiveUnparsed(std::chrono::seconds(1), {}).ValueOrDie();
  ASSERT_TRUE(large && small);
  EXPECT_TRUE(large->is_large());
  EXPECT_FALSE(small->is_large());
  EXPECT_EQ(large->body_bytes, static_cast<int64_t>(body.dump().size()));
  EXPECT_EQ(Parse(std::move(*large)).ValueOrDie().body, body);
  EXPECT_EQ(Parse(std::move(*small)).ValueOrDie().body["op"], "x");
}

TEST(Channel, TakesNoMoreDescriptorsThanItWants) {
  auto [a, b] = Pair();
  const UniqueFd fd = MakeMemfd("test").ValueOrDie();
  const size_t before = OpenFiles();
  for (int i = 0; i < 64; ++i) {  // 16,000 descriptors
    ASSERT_TRUE(
        SendRaw(a, {.fd_count = 2, .body_bytes = 2}, "{}", std::vector<int>(250, fd.get())));
    const auto status = b.Receive(std::chrono::seconds(1), {.fds = 2}).status();
    EXPECT_TRUE(status.IsSerializationError()) << status;
  }
  EXPECT_EQ(OpenFiles(), before);
}

TEST(Channel, SaysThatTooManyFilesAreOpen) {
  auto [a, b] = Pair();
  const UniqueFd fd = MakeMemfd("test").ValueOrDie();
  const std::vector<int> fds(4, fd.get());
  ASSERT_TRUE(a.Send({{"op", "x"}}, fds).ok());
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const UniqueFd next = Duplicate(fd.get()).ValueOrDie();
  const rlimit tight{static_cast<rlim_t>(next.get()) + 3, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  const auto status = b.Receive(std::chrono::seconds(1), {.fds = 4}).status();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_TRUE(status.IsCapacityError()) << status;
  EXPECT_NE(status.message().find("Too many open files"), std::string::npos) << status;
}

}  // namespace
}  // namespace zerrow::base
