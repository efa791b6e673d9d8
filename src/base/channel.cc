#include "base/channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

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
// One more for a spilled body; the kernel's SCM_MAX_FD is 253.
constexpr size_t kFdsPerPacket = Channel::kMaxFdsAtOnce + 1;
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

arrow::Status SendPacket(int socket, std::span<iovec> parts, std::span<const int> fds,
                         milliseconds timeout) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kFdsPerPacket)> control{};
  msghdr header{};
  header.msg_iov = parts.data();
  header.msg_iovlen = parts.size();
  if (!fds.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  while (true) {
    if (::sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return arrow::Status::OK();
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return ErrnoStatus(errno, "sending to a process");
    ARROW_RETURN_NOT_OK(WaitFor(socket, POLLOUT, timeout));
  }
}

struct Packet {
  std::string bytes;
  std::vector<UniqueFd> fds;
};

// Nullopt: the peer has closed.
arrow::Result<std::optional<Packet>> ReceivePacket(int socket, milliseconds timeout) {
  Packet packet;
  packet.bytes.resize(sizeof(PacketHeader) + kInlineBodyBytes);
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kFdsPerPacket)> control{};
  iovec part{packet.bytes.data(), packet.bytes.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t got = -1;
  while (true) {
    ARROW_RETURN_NOT_OK(WaitFor(socket, POLLIN, timeout));
    got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got >= 0) break;
    if (errno == ECONNRESET) return std::nullopt;
    if (errno != EINTR && errno != EAGAIN) return ErrnoStatus(errno, "receiving from a process");
  }
  for (cmsghdr* rights = CMSG_FIRSTHDR(&header); rights != nullptr;
       rights = CMSG_NXTHDR(&header, rights)) {
    if (rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    std::vector<int> raw(count);
    std::memcpy(raw.data(), CMSG_DATA(rights), count * sizeof(int));
    for (int fd : raw) packet.fds.emplace_back(fd);
  }
  if (got == 0 && packet.fds.empty()) return std::nullopt;
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return arrow::Status::SerializationError("a packet larger than the channel's limit");
  }
  packet.bytes.resize(static_cast<size_t>(got));
  return packet;
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
  const auto first = rest.first(std::min(rest.size(), kFdsPerPacket));
  ARROW_RETURN_NOT_OK(
      SendPacket(socket_.get(), std::span(parts, header.spilled ? 1 : 2), first, timeout));
  for (rest = rest.subspan(first.size()); !rest.empty();) {
    const auto next = rest.first(std::min(rest.size(), kFdsPerPacket));
    ARROW_RETURN_NOT_OK(SendPacket(socket_.get(), std::span(parts, 1), next, timeout));
    rest = rest.subspan(next.size());
  }
  return arrow::Status::OK();
}

arrow::Result<std::optional<Message>> Channel::Receive(milliseconds timeout, size_t max_fds) {
  ARROW_ASSIGN_OR_RAISE(auto packet, ReceivePacket(socket_.get(), timeout));
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
    ARROW_ASSIGN_OR_RAISE(packet, ReceivePacket(socket_.get(), kRestTimeout));
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
