#include "base/channel.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>

namespace zerrow::base {
namespace {

using nlohmann::json;

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
  EXPECT_TRUE(b.Receive(std::chrono::seconds(1), 2).status().IsSerializationError());
  // It announces one descriptor and sends none.
  const std::string packet("ZCHN\1\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0{}", 26);
  ASSERT_GT(::send(a.fd(), packet.data(), packet.size(), 0), 0);
  EXPECT_TRUE(b.Receive(std::chrono::seconds(1), 2).status().IsSerializationError());
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

}  // namespace
}  // namespace zerrow::base
