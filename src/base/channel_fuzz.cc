// Feeds packets to a channel as a hostile peer would send them: whole messages, half ones, with
// descriptors and bodies of every kind. Nothing may crash, wait or keep a descriptor.
//
// An input is a byte that says what goes along, and then the packet.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/testing/raw_packet.h"

namespace base = zerrow::base;

namespace {

constexpr base::Channel::Limits kLimits = {.body_bytes = 64 << 10, .fds = 4};

base::UniqueFd BodyFile(const std::string& text, bool sealed, bool sparse) {
  auto file = base::MakeMemfd("fuzz", sparse ? 32 << 10 : 0).ValueOrDie();
  if (!base::WriteAll(file.get(), text).ok() || (sealed && !base::SealMemfd(file.get()).ok())) {
    std::abort();
  }
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t choice = data[0];
  std::string packet(reinterpret_cast<const char*>(data + 1), size - 1);
  auto [ours, theirs] = base::Channel::MakePair().ValueOrDie();
  // Half of them with a sound header, else most would end at its first bytes.
  base::testing::RawHeader header{.fd_count = choice % 3u, .body_bytes = packet.size()};
  const bool in_file = (choice & 8) != 0;
  if (in_file) header.spilled = 1;
  std::vector<int> fds(choice % 8, ours.fd());
  base::UniqueFd file;
  if (in_file) {
    file = BodyFile(packet, (choice & 16) != 0, (choice & 32) != 0);
    fds.insert(fds.begin(), file.get());
  }
  if ((choice & 64) != 0) {
    base::testing::SendRaw(ours, header, in_file ? "" : packet, fds);
  } else {
    iovec part{packet.data(), packet.size()};
    (void)base::SendPacket(ours.fd(), {&part, 1}, fds);
  }
  auto message = theirs.ReceiveUnparsed(std::chrono::milliseconds(0), kLimits);
  if (!message.ok() || !message->has_value()) return 0;
  if ((*message)->fds.size() > kLimits.fds || (*message)->body_bytes > kLimits.body_bytes) {
    std::abort();
  }
  const auto parsed = base::Parse(std::move(**message), {.depth = 16, .values = 1000});
  if (!parsed.ok()) return 0;
  // What was accepted can be copied, written and read again.
  const nlohmann::json copy = parsed->body;
  if (base::ParseJson(copy.dump()).ValueOrDie() != copy) std::abort();
  return 0;
}
