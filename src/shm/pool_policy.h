// Which free chunk to take, which to keep and for how long: decisions only, no memory.
//
// Pure and deterministic: no system calls, time is an argument. One thread at a time (the pool
// holds its lock). Entries are known by keys that the caller gives.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

namespace zerrow::shm {

struct PoolOptions {
  int64_t limit_bytes = 0;     // of memory behind free chunks; 0: nothing is kept
  int64_t limit_chunks = 256;  // each takes up to two descriptors
  std::chrono::milliseconds idle = std::chrono::seconds(10);

  /// An eighth of this machine's memory, at most 4 GiB.
  static PoolOptions ForThisMachine();
};

class PoolPolicy {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Key = uint64_t;

  explicit PoolPolicy(PoolOptions options) : options_(options) {}

  /// A chunk became free. Returns the keys to free so that the limits hold: `key` itself if it is
  /// larger than the limit or has no memory behind it, which is all that keeping would save; else
  /// the oldest ones.
  std::vector<Key> Add(Key key, int64_t size_bytes, int64_t backed_bytes, TimePoint now);

  /// Best fit: the smallest chunk that holds `size_bytes` without wasting more than a quarter; of
  /// equals the one with most memory behind it, of these the latest. It leaves the policy.
  std::optional<Key> Take(int64_t size_bytes);

  /// What has been free for at least the idle time.
  std::vector<Key> Expire(TimePoint now);

  /// The oldest ones, as many as hold `bytes`, or all.
  std::vector<Key> Shrink(int64_t bytes);

  int64_t backed_bytes() const { return backed_bytes_; }
  int64_t count() const { return static_cast<int64_t>(entries_.size()); }

 private:
  struct Entry {
    Key key;
    int64_t size_bytes;
    int64_t backed_bytes;
    TimePoint since;
  };
  Key RemoveOldest();

  PoolOptions options_;
  std::vector<Entry> entries_;  // oldest first
  int64_t backed_bytes_ = 0;
};

}  // namespace zerrow::shm
