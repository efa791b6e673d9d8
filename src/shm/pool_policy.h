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
  int64_t limit_chunks = 256;  // each takes up to three descriptors of the budget
  std::chrono::milliseconds idle = std::chrono::seconds(10);

  /// An eighth of the memory that there is, at most 4 GiB.
  static PoolOptions ForMemory(int64_t memory_bytes);
};

class PoolPolicy {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Key = uint64_t;

  /// `resizable`: chunks can be given another size.
  explicit PoolPolicy(PoolOptions options, bool resizable = false)
      : options_(options), resizable_(resizable) {}

  /// A chunk became free. Returns the keys to free so that the limits hold: `key` itself if it is
  /// larger than the limit or has no memory behind it, which is all that keeping would save; else
  /// the oldest ones.
  std::vector<Key> Add(Key key, int64_t size_bytes, int64_t backed_bytes, TimePoint now);

  /// The chunk that saves most: memory behind it that `size_bytes` can use counts for it, what is
  /// beyond that against it, and a quarter of `size_bytes` for a chunk that fits as it is, that is
  /// neither too small nor larger by more than a quarter; others can be taken only if they are
  /// resizable and save something, an eighth at least. Of equals the latest. It leaves the policy.
  std::optional<Key> Take(int64_t size_bytes);
  /// Whether a chunk needn't be resized to serve `size_bytes`.
  static bool Fits(int64_t chunk_bytes, int64_t size_bytes) {
    return chunk_bytes >= size_bytes && chunk_bytes - size_bytes <= size_bytes / 4;
  }

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
  int64_t Savings(const Entry& entry, int64_t size_bytes) const;

  PoolOptions options_;
  bool resizable_;
  std::vector<Entry> entries_;  // oldest first
  int64_t backed_bytes_ = 0;
};

}  // namespace zerrow::shm
