#include "base/channel.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/fd_passing.h"
#include "base/mapping.h"

namespace zerrow::base {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A packet is this header and, unless the body is spilled, the body's text.
struct PacketHeader {
  uint32_t magic;
  uint32_t fd_count;    // descriptors of the whole message, the spilled body's not counted
  uint64_t body_bytes;  // of the JSON text
  uint32_t spilled;     // 1: the first descriptor is a memfd that holds the body
  uint32_t reserved;
};

constexpr uint32_t kMagic = 0x4e48435a;  // "ZCHN"
constexpr size_t kInlineBodyBytes = 32 * 1024;
// Once a message has begun its rest is under way: a peer that stalls here is broken.
constexpr milliseconds kRestTimeout = std::chrono::seconds(30);

arrow::Status WaitFor(int fd, short events, milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  while (true) {
    int wait_ms = -1;
    if (timeout.count() >= 0) {
      const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
      wait_ms = static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30));
    }
    pollfd poller{fd, events, 0};
    const int ready = ::poll(&poller, 1, wait_ms);
    if (ready > 0) return arrow::Status::OK();
    if (ready == 0) return arrow::Status::IOError("timed out after ", timeout.count(), " ms");
    if (errno != EINTR) return ErrnoStatus(errno, "poll");
  }
}

arrow::Status SendWithin(int socket, std::span<iovec> parts, std::span<const int> fds,
                         milliseconds timeout) {
  while (SendPacket(socket, parts, fds, MSG_DONTWAIT) < 0) {
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return ErrnoStatus(errno, "sending to a process");
    ARROW_RETURN_NOT_OK(WaitFor(socket, POLLOUT, timeout));
  }
  return arrow::Status::OK();
}

struct Packet {
  PacketHeader header;
  std::string text;
  std::vector<UniqueFd> fds;
};

arrow::Status TooManyOpenFiles() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return arrow::Status::CapacityError(
      "Too many open files: this process may have ", limit.rlim_cur,
      " and can't take the descriptors that another has sent; `ulimit -n` sets the limit");
}

// Nullopt: the peer has closed. `max_fds` doesn't count a spilled body.
arrow::Result<std::optional<Packet>> ReceiveWithin(int socket, milliseconds timeout,
                                                   size_t max_fds) {
  std::string bytes(sizeof(PacketHeader) + kInlineBodyBytes, '\0');
  ReceivedPacket received;
  while (true) {
    ARROW_RETURN_NOT_OK(WaitFor(socket, POLLIN, timeout));
    received = ReceivePacket(socket, {bytes.data(), bytes.size()}, MSG_DONTWAIT,
                             std::min(max_fds, Channel::kMaxFdsAtOnce) + 1);
    if (received.bytes >= 0) break;
    if (errno == ECONNRESET) return std::nullopt;
    if (errno != EINTR && errno != EAGAIN) return ErrnoStatus(errno, "receiving from a process");
  }
  if (received.exhausted) return TooManyOpenFiles();
  if (received.bytes == 0 && received.fds.empty()) return std::nullopt;
  if (received.truncated) {
    return arrow::Status::SerializationError("a packet larger than the channel's limit");
  }
  Packet packet;
  if (static_cast<size_t>(received.bytes) < sizeof(packet.header)) {
    return arrow::Status::SerializationError("a packet without a header");
  }
  std::memcpy(&packet.header, bytes.data(), sizeof(packet.header));
  packet.text.assign(bytes, sizeof(packet.header),
                     static_cast<size_t>(received.bytes) - sizeof(packet.header));
  packet.fds = std::move(received.fds);
  return packet;
}

arrow::Status CheckHeader(const PacketHeader& header, const Channel::Limits& limits) {
  if (header.magic != kMagic || header.spilled > 1) {
    return arrow::Status::SerializationError("a packet with a malformed header");
  }
  if (header.fd_count > limits.fds) {
    return arrow::Status::SerializationError("a message with ", header.fd_count,
                                             " descriptors, and ", limits.fds, " may be");
  }
  if (header.body_bytes > static_cast<uint64_t>(std::max<int64_t>(limits.body_bytes, 0))) {
    return arrow::Status::SerializationError("a message of ", header.body_bytes, " bytes, and ",
                                             limits.body_bytes, " may be");
  }
  return arrow::Status::OK();
}

// What lies behind the header is what it says.
arrow::Result<UnparsedMessage> MakeMessage(Packet packet) {
  UnparsedMessage message;
  message.body_bytes = static_cast<int64_t>(packet.header.body_bytes);
  message.text = std::move(packet.text);
  message.fds = std::move(packet.fds);
  int64_t there = static_cast<int64_t>(message.text.size());
  if (packet.header.spilled == 1) {
    if (there != 0) return arrow::Status::SerializationError("a message with two bodies");
    message.spilled = std::move(message.fds.front());
    message.fds.erase(message.fds.begin());
    ARROW_ASSIGN_OR_RAISE(there, SealedSize(message.spilled.get()));
  }
  if (there != message.body_bytes) {
    return arrow::Status::SerializationError("a message body of ", there, " bytes that says ",
                                             message.body_bytes);
  }
  return message;
}

}  // namespace

arrow::Result<std::pair<Channel, Channel>> Channel::MakePair() {
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return ErrnoStatus(errno, "socketpair");
  }
  return std::pair(Channel(UniqueFd(sockets[0])), Channel(UniqueFd(sockets[1])));
}

arrow::Status Channel::Send(const nlohmann::json& body, std::span<const int> fds,
                            milliseconds timeout) {
  if (fds.size() > kMaxFds) {
    return arrow::Status::CapacityError("a message with ", fds.size(), " descriptors, and ",
                                        kMaxFds, " may be");
  }
  const std::string text = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (static_cast<int64_t>(text.size()) > kMaxBodyBytes) {
    return arrow::Status::CapacityError("a message of ", text.size(), " bytes, and ", kMaxBodyBytes,
                                        " may be");
  }
  PacketHeader header{kMagic, static_cast<uint32_t>(fds.size()), text.size(), 0, 0};
  std::vector<int> all(fds.begin(), fds.end());
  UniqueFd spilled;
  if (text.size() > kInlineBodyBytes) {
    ARROW_ASSIGN_OR_RAISE(spilled, MakeSealedMemfd("zerrow-message", text));
    header.spilled = 1;
    all.insert(all.begin(), spilled.get());
  }
  std::span<const int> rest(all);
  iovec parts[2] = {{&header, sizeof(header)}, {const_cast<char*>(text.data()), text.size()}};
  const auto first = rest.first(std::min(rest.size(), kMaxFdsInPacket));
  ARROW_RETURN_NOT_OK(
      SendWithin(socket_.get(), std::span(parts, header.spilled ? 1 : 2), first, timeout));
  for (rest = rest.subspan(first.size()); !rest.empty();) {
    const auto next = rest.first(std::min(rest.size(), kMaxFdsInPacket));
    ARROW_RETURN_NOT_OK(SendWithin(socket_.get(), std::span(parts, 1), next, timeout));
    rest = rest.subspan(next.size());
  }
  return arrow::Status::OK();
}

arrow::Result<std::optional<UnparsedMessage>> Channel::ReceiveUnparsed(milliseconds timeout,
                                                                       const Limits& limits) {
  ARROW_ASSIGN_OR_RAISE(auto packet, ReceiveWithin(socket_.get(), timeout, limits.fds));
  if (!packet) return std::nullopt;
  ARROW_RETURN_NOT_OK(CheckHeader(packet->header, limits));
  const size_t expected_fds = size_t{packet->header.fd_count} + packet->header.spilled;
  while (packet->fds.size() < expected_fds && limits.fds > kMaxFdsAtOnce) {
    ARROW_ASSIGN_OR_RAISE(auto more, ReceiveWithin(socket_.get(), kRestTimeout, limits.fds));
    if (!more) return std::nullopt;
    if (more->fds.empty()) break;
    std::move(more->fds.begin(), more->fds.end(), std::back_inserter(packet->fds));
  }
  if (packet->fds.size() != expected_fds) {
    return arrow::Status::SerializationError("a message with ", packet->fds.size(),
                                             " descriptors, not ", expected_fds);
  }
  return MakeMessage(std::move(*packet));
}

arrow::Result<std::optional<Message>> Channel::Receive(milliseconds timeout, const Limits& limits) {
  ARROW_ASSIGN_OR_RAISE(auto unparsed, ReceiveUnparsed(timeout, limits));
  if (!unparsed) return std::nullopt;
  return Parse(std::move(*unparsed));
}

arrow::Result<Message> Parse(UnparsedMessage message, const JsonLimits& limits) {
  Mapping mapping;
  std::string_view text = message.text;
  if (message.spilled.valid()) {
    ARROW_ASSIGN_OR_RAISE(mapping, Mapping::Map(message.spilled.get(), message.body_bytes,
                                                Mapping::Access::kReadOnly));
    text = {reinterpret_cast<const char*>(mapping.data()), static_cast<size_t>(mapping.size())};
  }
  ARROW_ASSIGN_OR_RAISE(auto body, ParseJson(text, limits));
  return Message{std::move(body), std::move(message.fds)};
}

}  // namespace zerrow::base
