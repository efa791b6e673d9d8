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

size_t Ledger::HashOf::operator()(const Holder& holder) const {
  // Few kinds, runs that count up, tasks of a run that do: spread over the whole word.
  constexpr uint64_t kOdd = 0x9E3779B97F4A7C15;
  uint64_t hash = static_cast<uint64_t>(holder.kind);
  for (const uint64_t part : {holder.task.run, uint64_t{holder.task.index}}) {
    hash = (hash ^ part) * kOdd;
    hash ^= hash >> 32;
  }
  return hash;
}

bool Ledger::Segment::cached() const {
  // The last in their order.
  return !holders.empty() && holders.rbegin()->first.kind == Holder::Kind::kCache;
}

SegmentUse Ledger::Segment::use() const {
  if (!in_memory()) return {};
  const bool leaving = (place == Place::kWriting && pins == 0) || (uncaching && only_cached());
  return {bytes, leaving ? bytes : 0};
}

void Ledger::Count(SegmentId id, const Segment& segment, int sign) {
  const SegmentUse use = segment.use();
  const auto add = [&](SegmentUse& sum) {
    sum.memory_bytes += sign * use.memory_bytes;
    sum.leaving_bytes += sign * use.leaving_bytes;
  };
  add(use_);
  // What several runs hold is none's: another one's doing would lead a run beyond its limit.
  if (segment.runs.size() == 1 && use.memory_bytes > 0) {
    const auto sum = runs_.try_emplace(segment.runs.begin()->first).first;
    add(sum->second);
    if (sum->second == SegmentUse{}) runs_.erase(sum);
  }
  if (segment.place != Place::kMemory && segment.place != Place::kWriting) {
    disk_bytes_ += sign * segment.bytes;
  }
  reading_ += segment.place == Place::kReading ? sign : 0;
  writing_ += segment.place == Place::kWriting ? sign : 0;
  if (sign < 0) {
    only_cached_.erase(id);
  } else if (segment.only_cached() && !segment.uncaching && segment.in_memory()) {
    only_cached_.insert(id);
  }
}

void Ledger::Hold(const Holder& holder, const SegmentBytes& segment) {
  const auto [entry, is_new] = segments_.try_emplace(segment.id);
  if (is_new) {
    entry->second.bytes = entry->second.live_bytes = segment.bytes;
    bytes_ += segment.bytes;
  } else {
    Count(segment.id, entry->second, -1);
  }
  const auto [held, is_first] = entry->second.holders.try_emplace(holder, segment.used);
  if (is_first) {
    held_[holder].push_back(segment.id);
    if (holder.kind != Holder::Kind::kCache) ++entry->second.runs[holder.task.run];
  } else if (segment.used.empty()) {
    held->second.clear();
  } else if (!held->second.empty()) {
    held->second.insert(held->second.end(), segment.used.begin(), segment.used.end());
  }
  Count(segment.id, entry->second, 1);
}

std::vector<SegmentId> Ledger::Release(const Holder& holder) {
  std::vector<SegmentId> unheld;
  const auto held = held_.extract(holder);
  if (held.empty()) return unheld;
  for (const SegmentId id : held.mapped()) {
    const auto entry = segments_.find(id);
    Segment& segment = entry->second;
    Count(id, segment, -1);
    segment.holders.erase(holder);
    if (holder.kind == Holder::Kind::kCache) {
      segment.uncaching = false;
    } else if (--segment.runs[holder.task.run] == 0) {
      segment.runs.erase(holder.task.run);
    }
    if (!segment.holders.empty()) {
      Count(id, segment, 1);
      released_.insert(id);
      continue;
    }
    released_.erase(id);
    bytes_ -= segment.bytes;
    segments_.erase(entry);
    unheld.push_back(id);
  }
  return unheld;
}

void Ledger::ChangePins(const Holder& holder, int by) {
  for (const SegmentId id : SegmentsOf(holder)) {
    Segment& segment = segments_.at(id);
    Count(id, segment, -1);
    segment.pins += by;
    Count(id, segment, 1);
  }
}

void Ledger::Move(SegmentId id, Place place) {
  Segment& segment = segments_.at(id);
  Count(id, segment, -1);
  segment.place = place;
  Count(id, segment, 1);
}

void Ledger::MarkUncaching(SegmentId id) {
  Segment& segment = segments_.at(id);
  Count(id, segment, -1);
  segment.uncaching = true;
  Count(id, segment, 1);
}

SegmentUse Ledger::use(RunId run) const {
  const auto use = runs_.find(run);
  return use == runs_.end() ? SegmentUse{} : use->second;
}

Idle Ledger::IdleOf(const Holder& holder) const {
  Idle idle;
  for (const SegmentId id : SegmentsOf(holder)) {
    const Segment& segment = segments_.at(id);
    // What is being written is on its way out already.
    const bool there = segment.place == Place::kMemory || segment.place == Place::kCopied;
    const size_t others = segment.holders.size() - (segment.cached() ? 2 : 1);
    if (there && segment.pins == 0 && others == 0) {
      idle.exclusive_bytes += segment.bytes;
    }
    if (!segment.idle()) continue;
    (segment.place == Place::kCopied ? idle.copied_bytes : idle.unwritten_bytes) += segment.bytes;
  }
  return idle;
}

const std::vector<SegmentId>& Ledger::SegmentsOf(const Holder& holder) const {
  static const std::vector<SegmentId> none;
  const auto held = held_.find(holder);
  return held == held_.end() ? none : held->second;
}

std::optional<SegmentId> Ledger::OldestOnlyCached() const {
  if (only_cached_.empty()) return std::nullopt;
  return *only_cached_.begin();
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
