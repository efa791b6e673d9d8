// The shim's end of the conversation with the engine's chunk broker (broker_protocol.h).
//
// Raw system calls on the stack only: it runs inside malloc. Not thread safe: the Heap's lock
// guards it. If the broker dies every request fails from then on and the worker goes on without it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shm/shim/sys.h"

namespace zerrow::shim {

struct Grant {
  uint64_t segment;
  size_t size_bytes;
  bool dirty;
  int fd;  // owned by whoever receives the grant
};

class BrokerClient {
 public:
  constexpr BrokerClient() = default;

  /// Owns `fd` from here on. False if it isn't a socket; then it is closed.
  bool Open(int fd);
  void Close() { socket_.Close(); }

  /// Asks for a chunk of at least `size_bytes` and waits for the answer. False if it is refused.
  bool Request(size_t size_bytes, Grant* grant);
  void Release(uint64_t segment);

 private:
  bool Receive(int socket, Grant* grant);

  KeptFd socket_;
};

}  // namespace zerrow::shim
