#include "resource/ledger.h"

#include <algorithm>
#include <utility>

namespace zerrow::resource {

namespace {

// Below, what is gained isn't worth the calls; and a part of which most is read stays as it is.
constexpr int64_t kMinUnreadBytes = 1 << 20;
constexpr int64_t kUnreadDivisor = 4;

int64_t TotalBytes(const std::vector<ByteRange>& ranges) {
  int64_t bytes = 0;
  for (const ByteRange& range : ranges) bytes += range.length;
  return bytes;
}

// Sorted, overlapping and touching ones merged.
std::vector<ByteRange> Merge(std::vector<ByteRange> ranges) {
  std::ranges::sort(ranges, {}, &ByteRange::offset);
  std::vector<ByteRange> merged;
  for (const ByteRange& next : ranges) {
    if (!merged.empty() && next.offset <= merged.back().offset + merged.back().length) {
      const int64_t end = next.offset + next.length;
      merged.back().length = std::max(merged.back().length, end - merged.back().offset);
    } else {
      merged.push_back(next);
    }
  }
  return merged;
}

bool IsWorthIt(int64_t used_bytes, int64_t live_bytes) {
  const int64_t unread_bytes = live_bytes - used_bytes;
  return unread_bytes >= kMinUnreadBytes && unread_bytes >= live_bytes / kUnreadDivisor;
}

}  // namespace

std::string Holder::ToString() const {
  if (kind == Kind::kCache) return "cache";
  const std::string what = kind == Kind::kTable ? "table" : "result";
  return what + " of task " + std::to_string(task.index) + " of run " + std::to_string(task.run);
}

void Ledger::Hold(const Holder& holder, const SegmentBytes& segment) {
  const auto [entry, is_new] = segments_.try_emplace(segment.id);
  if (is_new) {
    entry->second.bytes = entry->second.live_bytes = segment.bytes;
    bytes_ += segment.bytes;
  }
  const auto [held, is_first] = entry->second.holders.try_emplace(holder, segment.used);
  if (is_first) {
    held_[holder].push_back(segment.id);
  } else if (segment.used.empty()) {
    held->second.clear();
  } else if (!held->second.empty()) {
    held->second.insert(held->second.end(), segment.used.begin(), segment.used.end());
  }
}

std::vector<SegmentId> Ledger::Release(const Holder& holder) {
  std::vector<SegmentId> unheld;
  const auto held = held_.extract(holder);
  if (held.empty()) return unheld;
  for (const SegmentId id : held.mapped()) {
    const auto segment = segments_.find(id);
    segment->second.holders.erase(holder);
    if (!segment->second.holders.empty()) {
      released_.insert(id);
      continue;
    }
    released_.erase(id);
    bytes_ -= segment->second.bytes;
    segments_.erase(segment);
    unheld.push_back(id);
  }
  return unheld;
}

std::optional<Remainder> Ledger::RemainderOf(SegmentId id, const Segment& segment) {
  for (const auto& [holder, used] : segment.holders) {
    if (used.empty() || !IsWorthIt(TotalBytes(used), segment.live_bytes)) return std::nullopt;
  }
  Remainder remainder{id, {}};
  for (const auto& [holder, used] : segment.holders) {
    remainder.used.insert(remainder.used.end(), used.begin(), used.end());
  }
  remainder.used = Merge(std::move(remainder.used));
  if (!IsWorthIt(TotalBytes(remainder.used), segment.live_bytes)) return std::nullopt;
  return remainder;
}

std::vector<Remainder> Ledger::TakeRemainders() {
  std::vector<Remainder> remainders;
  for (const SegmentId id : std::exchange(released_, {})) {
    Segment& segment = segments_.at(id);
    auto remainder = RemainderOf(id, segment);
    if (!remainder) continue;
    segment.live_bytes = TotalBytes(remainder->used);
    remainders.push_back(*std::move(remainder));
  }
  return remainders;
}

int64_t Ledger::Exclusive(const Holder& holder) const {
  int64_t bytes = 0;
  const auto held = held_.find(holder);
  if (held == held_.end()) return 0;
  for (const SegmentId id : held->second) {
    const Segment& segment = segments_.at(id);
    if (segment.holders.size() == 1) bytes += segment.bytes;
  }
  return bytes;
}

std::vector<Holder> Ledger::HoldersOf(SegmentId id) const {
  const auto segment = segments_.find(id);
  if (segment == segments_.end()) return {};
  std::vector<Holder> holders;
  for (const auto& [holder, used] : segment->second.holders) holders.push_back(holder);
  return holders;
}

}  // namespace zerrow::resource
