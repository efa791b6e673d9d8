// A two-way channel between processes that carries JSON messages with file descriptors.
//
// Each message arrives whole or not at all (SOCK_SEQPACKET). A body too large for one packet
// travels in a sealed memfd, and descriptors beyond what one packet may carry follow in packets
// of their own; both are invisible to callers. Thread safety: one sender and one receiver at a
// time. The peer is not trusted: what it sends is bounded before it is read or parsed, and
// malformed traffic is a SerializationError. When the peer dies, Receive returns nullopt. A message
// can be received unparsed, so that a large one is parsed where that holds up nobody.
#pragma once

#include <arrow/result.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/fd_passing.h"
#include "base/json.h"

namespace zerrow::base {

struct Message {
  nlohmann::json body;
  std::vector<UniqueFd> fds;
};

/// A message as it came, complete and within its limits, but nobody has parsed its body.
struct UnparsedMessage {
  std::string text;  // the body, unless it is spilled
  UniqueFd spilled;  // a sealed file of `body_bytes`, all there; else invalid
  int64_t body_bytes = 0;
  std::vector<UniqueFd> fds;

  /// Parsing it may take up to a second; anything else is done in less than a millisecond.
  bool is_large() const { return spilled.valid(); }
};

/// SerializationError if the body isn't JSON within `limits`. Any thread.
arrow::Result<Message> Parse(UnparsedMessage message, const JsonLimits& limits = {});

class Channel {
 public:
  static constexpr int64_t kMaxBodyBytes = 64 << 20;
  static constexpr size_t kMaxFds = 16384;
  /// One less than a packet takes, for a spilled body.
  static constexpr size_t kMaxFdsAtOnce = kMaxFdsInPacket - 1;

  /// What a message may hold: by its kind, as the receiver knows it.
  struct Limits {
    int64_t body_bytes = kMaxBodyBytes;
    size_t fds = kMaxFds;
  };

  explicit Channel(UniqueFd socket) : socket_(std::move(socket)) {}
  static arrow::Result<std::pair<Channel, Channel>> MakePair();

  int fd() const { return socket_.get(); }

  /// IOError if the peer is gone or stops reading for `timeout`.
  arrow::Status Send(const nlohmann::json& body, std::span<const int> fds = {},
                     std::chrono::milliseconds timeout = std::chrono::seconds(30));

  /// The next message; nullopt if the peer has closed. Waits at most `timeout` (negative: without
  /// limit) for it to begin: then IOError "timed out". SerializationError: malformed, or beyond
  /// `limits`; up to kMaxFdsAtOnce descriptors it is one packet, so that a peer which begins a
  /// message and stalls can't make the caller wait. CapacityError: this process may open no more
  /// files.
  arrow::Result<std::optional<UnparsedMessage>> ReceiveUnparsed(std::chrono::milliseconds timeout,
                                                                const Limits& limits);

  /// The same, and parsed.
  arrow::Result<std::optional<Message>> Receive(std::chrono::milliseconds timeout,
                                                const Limits& limits);
  arrow::Result<std::optional<Message>> Receive(
      std::chrono::milliseconds timeout = std::chrono::milliseconds(-1)) {
    return Receive(timeout, Limits());
  }

 private:
  UniqueFd socket_;
};

}  // namespace zerrow::base
