// A chunk broker for tests, on a thread of the test's own process: chunks are memfds.
//
// Hands released chunks out again, as dirty ones, and can be told to refuse. Uses small
// allocations only while a request waits, as the process that asks may be this one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace zerrow::shim {

class TestBroker {
 public:
  /// Serves until the other end of the socket is closed everywhere.
  TestBroker();
  ~TestBroker();

  /// The worker's end, given away once: to Heap::Start or zerrow_shim_start.
  int TakeSocket();

  void set_refusing(bool refusing);
  /// Larger requests are refused.
  void set_limit_bytes(size_t limit_bytes);
  /// A chunk that waits to be granted.
  void MakeFree(size_t size_bytes);
  /// Fills a chunk that comes back with this byte before it is granted again.
  static constexpr unsigned char kStaleByte = 0xa5;

  size_t granted() const;   // chunks that the worker holds now
  size_t released() const;  // RELEASE messages so far
  /// Memory behind the chunks that the worker holds now.
  size_t backed_bytes() const;
  /// Reads granted chunk memory through its file, past any mapping. False: no such segment.
  bool Read(uint64_t segment, uint64_t offset, void* out, size_t size) const;

 private:
  struct Chunk {
    uint64_t segment;
    size_t size_bytes;
    int fd;
    bool free;
    bool dirty;
  };

  void Serve();
  void Grant(size_t size_bytes);
  Chunk* FindOrMake(size_t size_bytes);
  Chunk* Make(size_t size_bytes);
  void Release(uint64_t segment);

  int worker_end_ = -1;
  int broker_end_ = -1;
  mutable std::mutex mutex_;
  bool refusing_ = false;
  size_t limit_bytes_ = SIZE_MAX;
  size_t released_ = 0;
  std::vector<Chunk> chunks_;
  std::thread thread_;
};

}  // namespace zerrow::shim
