#include "base/fd_passing.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

namespace zerrow::base {
namespace {

class FdPassing : public ::testing::Test {
 protected:
  void SetUp() override {
    int sockets[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    sender_ = UniqueFd(sockets[0]);
    receiver_ = UniqueFd(sockets[1]);
  }

  UniqueFd sender_;
  UniqueFd receiver_;
  std::array<char, 8> text_ = {'p', 'a', 'c', 'k', 'e', 't', 's', '!'};
  iovec part_{text_.data(), text_.size()};
};

TEST_F(FdPassing, BytesAndDescriptorsArrive) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd read_end(ends[0]);
  const UniqueFd write_end(ends[1]);
  ASSERT_EQ(SendPacket(sender_.get(), {&part_, 1}, ends), ssize_t{8});
  std::array<char, 16> bytes{};
  const auto packet = ReceivePacket(receiver_.get(), {bytes.data(), bytes.size()});
  EXPECT_EQ(packet.bytes, 8);
  EXPECT_EQ(std::string_view(bytes.data(), 8), "packets!");
  EXPECT_FALSE(packet.truncated);
  ASSERT_EQ(packet.fds.size(), 2U);
  EXPECT_EQ(::fcntl(packet.fds[0].get(), F_GETFD), FD_CLOEXEC);
  ASSERT_EQ(::write(packet.fds[1].get(), "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(::read(packet.fds[0].get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
}

TEST_F(FdPassing, WhatHasNoRoomIsTold) {
  ASSERT_EQ(SendPacket(sender_.get(), {&part_, 1}, {}), ssize_t{8});
  char byte = 0;
  const auto packet = ReceivePacket(receiver_.get(), {&byte, 1});
  EXPECT_TRUE(packet.truncated);
  EXPECT_EQ(byte, 'p');
}

TEST_F(FdPassing, TooManyDescriptorsAreRefused) {
  const std::array<int, kMaxFdsInPacket + 1> zeros{};
  EXPECT_EQ(SendPacket(sender_.get(), {&part_, 1}, zeros), -1);
  EXPECT_EQ(errno, EINVAL);
  ASSERT_EQ(SendPacket(sender_.get(), {&part_, 1}, std::span(zeros).first(kMaxFdsInPacket)), 8);
  std::array<char, 8> bytes{};
  const auto packet = ReceivePacket(receiver_.get(), {bytes.data(), bytes.size()});
  EXPECT_EQ(packet.fds.size(), kMaxFdsInPacket);
}

TEST_F(FdPassing, OnlyAsManyDescriptorsAsAreWantedAreOpened) {
  const std::array<int, 5> zeros{};
  for (const size_t wanted : {size_t{0}, size_t{1}, size_t{2}, size_t{3}, size_t{5}}) {
    ASSERT_EQ(SendPacket(sender_.get(), {&part_, 1}, zeros), 8);
    std::array<char, 8> bytes{};
    const auto packet = ReceivePacket(receiver_.get(), {bytes.data(), bytes.size()}, 0, wanted);
    EXPECT_EQ(packet.fds.size(), wanted);
    EXPECT_EQ(packet.truncated, wanted < zeros.size());
    EXPECT_FALSE(packet.exhausted);
  }
}

TEST_F(FdPassing, AnErrorIsErrno) {
  char byte = 0;
  EXPECT_EQ(ReceivePacket(receiver_.get(), {&byte, 1}, MSG_DONTWAIT).bytes, -1);
  EXPECT_EQ(errno, EAGAIN);
}

}  // namespace
}  // namespace zerrow::base
