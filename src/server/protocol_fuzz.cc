// What clients and engines send: no bytes of theirs may do more than be refused.
#include <cstdint>
#include <string_view>

#include "base/json.h"
#include "server/protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto body =
      zerrow::base::ParseJson(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!body.ok()) return 0;
  const auto request = zerrow::server::ParseRequest(*body);
  if (request.ok() && zerrow::server::ToJson(*request).empty()) __builtin_trap();
  const auto reply = zerrow::server::ParseReply(*body);
  if (reply.ok() && zerrow::server::ToJson(*reply).empty()) __builtin_trap();
  return 0;
}
