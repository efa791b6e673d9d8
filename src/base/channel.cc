#include "base/channel.h"

#include <poll.h>
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
  std::string bytes;
  std::vector<UniqueFd> fds;
};

// Nullopt: the peer has closed.
arrow::Result<std::optional<Packet>> ReceiveWithin(int socket, milliseconds timeout) {
  std::string bytes(sizeof(PacketHeader) + kInlineBodyBytes, '\0');
  ReceivedPacket packet;
  while (true) {
    ARROW_RETURN_NOT_OK(WaitFor(socket, POLLIN, timeout));
    packet = ReceivePacket(socket, {bytes.data(), bytes.size()}, MSG_DONTWAIT);
    if (packet.bytes >= 0) break;
    if (errno == ECONNRESET) return std::nullopt;
    if (errno != EINTR && errno != EAGAIN) return ErrnoStatus(errno, "receiving from a process");
  }
  if (packet.bytes == 0 && packet.fds.empty()) return std::nullopt;
  if (packet.truncated) {
    return arrow::Status::SerializationError("a packet larger than the channel's limit");
  }
  bytes.resize(static_cast<size_t>(packet.bytes));
  return Packet{std::move(bytes), std::move(packet.fds)};
}

arrow::Result<std::string> ReadSpilledBody(int fd, uint64_t body_bytes) {
  ARROW_ASSIGN_OR_RAISE(const int64_t size, FileSize(fd));
  if (!IsSealed(fd) || static_cast<uint64_t>(size) != body_bytes) {
    return arrow::Status::SerializationError("a message body that isn't a sealed file of its size");
  }
  ARROW_ASSIGN_OR_RAISE(Mapping mapping, Mapping::Map(fd, size, Mapping::Access::kReadOnly));
  return std::string(reinterpret_cast<const char*>(mapping.data()), static_cast<size_t>(size));
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
    return arrow::Status::CapacityError("a message with ", fds.size(), " file descriptors");
  }
  const std::string text = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (static_cast<int64_t>(text.size()) > kMaxBodyBytes) {
    return arrow::Status::CapacityError("a message of ", text.size(), " bytes");
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

arrow::Result<std::optional<Message>> Channel::Receive(milliseconds timeout, size_t max_fds) {
  ARROW_ASSIGN_OR_RAISE(auto packet, ReceiveWithin(socket_.get(), timeout));
  if (!packet) return std::nullopt;
  PacketHeader header;
  if (packet->bytes.size() < sizeof(header)) {
    return arrow::Status::SerializationError("a packet without a header");
  }
  std::memcpy(&header, packet->bytes.data(), sizeof(header));
  if (header.magic != kMagic || header.spilled > 1 || header.fd_count > max_fds ||
      header.body_bytes > static_cast<uint64_t>(kMaxBodyBytes)) {
    return arrow::Status::SerializationError("a packet with a malformed header");
  }
  std::string text = packet->bytes.substr(sizeof(header));
  std::vector<UniqueFd> fds = std::move(packet->fds);
  const size_t expected_fds = size_t{header.fd_count} + header.spilled;
  while (fds.size() < expected_fds && max_fds > kMaxFdsAtOnce) {
    ARROW_ASSIGN_OR_RAISE(packet, ReceiveWithin(socket_.get(), kRestTimeout));
    if (!packet) return std::nullopt;
    if (packet->fds.empty()) break;
    std::move(packet->fds.begin(), packet->fds.end(), std::back_inserter(fds));
  }
  if (fds.size() != expected_fds) {
    return arrow::Status::SerializationError("a message with ", fds.size(), " descriptors, not ",
                                             expected_fds);
  }
  if (header.spilled) {
    ARROW_ASSIGN_OR_RAISE(text, ReadSpilledBody(fds.front().get(), header.body_bytes));
    fds.erase(fds.begin());
  }
  if (text.size() != header.body_bytes) {
    return arrow::Status::SerializationError("a message body of the wrong length");
  }
  auto body = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (body.is_discarded()) return arrow::Status::SerializationError("a message that isn't JSON");
  return Message{std::move(body), std::move(fds)};
}

}  // namespace zerrow::base
