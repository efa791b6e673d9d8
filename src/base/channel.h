// A two-way channel between processes that carries JSON messages with file descriptors.
//
// Each message arrives whole or not at all (SOCK_SEQPACKET). A body too large for one packet
// travels in a sealed memfd, and descriptors beyond what one packet may carry follow in packets
// of their own; both are invisible to callers. Thread safety: one sender and one receiver at a
// time. The peer is not trusted: what it sends is parsed and bounded, and malformed traffic is a
// SerializationError. When the peer dies, Receive returns nullopt.
#pragma once

#include <arrow/result.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/fd_passing.h"

namespace zerrow::base {

struct Message {
  nlohmann::json body;
  std::vector<UniqueFd> fds;
};

class Channel {
 public:
  static constexpr int64_t kMaxBodyBytes = 256 << 20;
  static constexpr size_t kMaxFds = 16384;
  /// One less than a packet takes, for a spilled body.
  static constexpr size_t kMaxFdsAtOnce = kMaxFdsInPacket - 1;

  explicit Channel(UniqueFd socket) : socket_(std::move(socket)) {}
  static arrow::Result<std::pair<Channel, Channel>> MakePair();

  int fd() const { return socket_.get(); }

  /// IOError if the peer is gone or stops reading for `timeout`.
  arrow::Status Send(const nlohmann::json& body, std::span<const int> fds = {},
                     std::chrono::milliseconds timeout = std::chrono::seconds(30));

  /// The next message; nullopt if the peer has closed. Waits at most `timeout` (negative: without
  /// limit) for it to begin: then IOError "timed out". A message with more than `max_fds`
  /// descriptors is malformed; up to kMaxFdsAtOnce it is one packet, so that a peer which begins a
  /// message and stalls can't make the caller wait.
  arrow::Result<std::optional<Message>> Receive(
      std::chrono::milliseconds timeout = std::chrono::milliseconds(-1), size_t max_fds = kMaxFds);

 private:
  UniqueFd socket_;
};

}  // namespace zerrow::base
