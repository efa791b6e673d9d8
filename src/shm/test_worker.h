// For tests: a worker's side of the broker's socket, without the shim; and code in other processes.
//
// Usable in the test's own process or in a forked one. Owns its mappings and descriptors. One
// thread at a time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/fd.h"
#include "base/mapping.h"
#include "shm/broker_protocol.h"
#include "zerrow/reference.h"

namespace zerrow::shm {

class TestWorker {
 public:
  struct Area {
    SegmentId id;
    base::UniqueFd fd;
    base::Mapping mapping;
    bool dirty;

    uint8_t* data() const { return mapping.data(); }
  };

  explicit TestWorker(base::UniqueFd socket) : socket_(std::move(socket)) {}

  /// Null: refused, or the broker has hung up; error() says which.
  Area* Grant(uint64_t size_bytes);
  /// As the shim does it: unmapped and closed first.
  void Release(SegmentId id);
  /// Any bytes as a request. False: the broker has hung up.
  bool Send(const void* bytes, size_t length);
  bool Send(const zerrow_broker_request& request) { return Send(&request, sizeof(request)); }
  /// Nullopt: the broker has hung up.
  std::optional<zerrow_broker_reply> Receive(base::UniqueFd* fd);

  uint32_t error() const { return error_; }
  int socket() const { return socket_.get(); }
  void CloseSocket() { socket_.reset(); }

 private:
  base::UniqueFd socket_;
  std::map<SegmentId, Area> areas_;
  uint32_t error_ = 0;
};

/// A forked process that runs `body` and exits with what it returns. Killed and reaped at the end.
class TestProcess {
 public:
  explicit TestProcess(const std::function<int()>& body);
  ~TestProcess() { Kill(); }
  TestProcess(const TestProcess&) = delete;

  pid_t pid() const { return pid_; }
  /// The exit code; 128 + signal if it was killed.
  int Wait();
  void Kill();

 private:
  pid_t pid_;
};

/// Lets processes wait for each other: each Signal lets one Wait through.
class TestSignal {
 public:
  TestSignal();
  void Signal();
  /// False after a long time, so that a test fails rather than hangs.
  bool Wait();

 private:
  base::UniqueFd read_;
  base::UniqueFd write_;
};

/// Open descriptors of this process.
int CountOpenFds();

/// Waits until `done`, for at most some seconds.
bool Eventually(const std::function<bool()>& done);

}  // namespace zerrow::shm
