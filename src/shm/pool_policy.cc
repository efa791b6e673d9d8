#include "shm/pool_policy.h"

#include <algorithm>

namespace zerrow::shm {

PoolOptions PoolOptions::ForMemory(int64_t memory_bytes) {
  PoolOptions options;
  options.limit_bytes = std::min(int64_t{4} << 30, memory_bytes / 8);
  return options;
}

std::vector<PoolPolicy::Key> PoolPolicy::Add(Key key, int64_t size_bytes, int64_t backed_bytes,
                                             TimePoint now) {
  if (backed_bytes == 0 || backed_bytes > options_.limit_bytes) return {key};
  entries_.push_back({key, size_bytes, backed_bytes, now});
  backed_bytes_ += backed_bytes;
  std::vector<Key> out;
  while (backed_bytes_ > options_.limit_bytes || count() > options_.limit_chunks)
    out.push_back(RemoveOldest());
  return out;
}

std::optional<PoolPolicy::Key> PoolPolicy::Take(int64_t size_bytes) {
  auto best = entries_.end();
  int64_t most = 1;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    const int64_t savings = Savings(*entry, size_bytes);
    // >=: of equals the one that comes later here is the latest, whose pages are warmest.
    if (savings < most) continue;
    best = entry;
    most = savings;
  }
  if (best == entries_.end()) return std::nullopt;
  const Key key = best->key;
  backed_bytes_ -= best->backed_bytes;
  entries_.erase(best);
  return key;
}

std::vector<PoolPolicy::Key> PoolPolicy::Expire(TimePoint now) {
  std::vector<Key> out;
  while (!entries_.empty() && now - entries_.front().since >= options_.idle) {
    out.push_back(RemoveOldest());
  }
  return out;
}

std::vector<PoolPolicy::Key> PoolPolicy::Shrink(int64_t bytes) {
  const int64_t goal = bytes >= backed_bytes_ ? 0 : backed_bytes_ - bytes;
  std::vector<Key> out;
  while (!entries_.empty() && backed_bytes_ > goal) out.push_back(RemoveOldest());
  return out;
}

// Memory that the chunk spares, less what resizing it gives up.
int64_t PoolPolicy::Savings(const Entry& entry, int64_t size_bytes) const {
  const bool fits = Fits(entry.size_bytes, size_bytes);
  if (!fits && !resizable_) return 0;
  const int64_t useful = std::min(entry.backed_bytes, size_bytes);
  // Who asks for this much more is likely to touch but little of it.
  if (!fits && useful < size_bytes / 8) return 0;
  const int64_t excess = entry.backed_bytes - useful;
  return useful - excess + (fits ? std::max<int64_t>(1, size_bytes / 4) : 0);
}

PoolPolicy::Key PoolPolicy::RemoveOldest() {
  const Key key = entries_.front().key;
  backed_bytes_ -= entries_.front().backed_bytes;
  entries_.erase(entries_.begin());
  return key;
}

}  // namespace zerrow::shm
