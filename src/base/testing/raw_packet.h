// What a peer can send that Channel::Send wouldn't: for tests of how it is received.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/channel.h"
#include "base/fd_passing.h"

namespace zerrow::base::testing {

/// As docs/formats/worker_protocol.md describes a packet's.
struct RawHeader {
  uint32_t magic = 0x4e48435a;
  uint32_t fd_count = 0;
  uint64_t body_bytes = 0;
  uint32_t spilled = 0;
  uint32_t reserved = 0;
};

/// False if the peer is gone.
inline bool SendRaw(const Channel& channel, RawHeader header, std::string text,
                    const std::vector<int>& fds) {
  iovec parts[2] = {{&header, sizeof(header)}, {text.data(), text.size()}};
  return SendPacket(channel.fd(), parts, fds) > 0;
}

/// A message whose body is `text`, JSON or not.
inline bool SendText(const Channel& channel, const std::string& text) {
  if (text.size() <= 32 * 1024) return SendRaw(channel, {.body_bytes = text.size()}, text, {});
  const UniqueFd file = MakeSealedMemfd("test", text).ValueOrDie();
  return SendRaw(channel, {.body_bytes = text.size(), .spilled = 1}, "", {file.get()});
}

}  // namespace zerrow::base::testing
