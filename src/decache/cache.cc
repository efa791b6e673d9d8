#include "decache/cache.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

namespace zerrow::decache {

std::optional<Cache::Key> Cache::KeyOf(const EntryKey& key) const {
  const auto file = files_.find(key.file);
  if (file == files_.end()) return std::nullopt;
  return Key{file->second.number, key.first_group, key.column, key.options};
}

const Entry* Cache::Find(const EntryKey& key) const {
  const auto inner = KeyOf(key);
  const auto found = inner ? entries_.find(*inner) : entries_.end();
  return found == entries_.end() ? nullptr : &found->second.entry;
}

Cache::Entries::iterator Cache::FindStored(const EntryKey& key) {
  const auto inner = KeyOf(key);
  return inner ? entries_.find(*inner) : entries_.end();
}

bool Cache::HasValues(const Entry& entry) const {
  return !entry.values || Find(*entry.values) != nullptr;
}

void Cache::Use(const EntryKey& key) {
  const auto found = FindStored(key);
  if (found == entries_.end()) return;
  Entry& entry = found->second.entry;
  ++entry.hits;
  entry.saved_s += entry.decode_s;
  RankAnew(found);
}

void Cache::Charge(const EntryKey& key, double decode_s) {
  const auto found = FindStored(key);
  if (found == entries_.end()) return;
  found->second.entry.decode_s += decode_s;
  RankAnew(found);
}

void Cache::RankAnew(Entries::iterator entry) {
  ranks_.erase(entry->second.rank);
  entry->second.rank = NextRank(entry->second.entry);
  ranks_.emplace(entry->second.rank, entry);
}

// Costs are measured elsewhere; whatever they are, ranks must have an order.
Cache::Rank Cache::NextRank(const Entry& entry) {
  const double cost = std::isfinite(entry.decode_s) ? std::max(entry.decode_s, 0.0) : 0;
  const auto uses = static_cast<double>(std::clamp<int64_t>(entry.hits, 0, kMostUses - 1) + 1);
  const auto bytes = static_cast<double>(std::max<int64_t>(entry.bytes, 1));
  return {inflation_ + uses * cost / bytes, next_rank_++};
}

std::vector<SegmentId> Cache::Insert(const EntryKey& key, Entry entry) {
  const SegmentId segment = entry.segment;
  std::vector<SegmentId> dropped;
  if (const auto known = FindStored(key); known != entries_.end()) {
    if (known->second.entry.segment == segment) return {};
    if (HasValues(known->second.entry)) return {segment};
    dropped.push_back(Drop(known));
  }
  const bool fits = entry.bytes <= limits_.bytes && limits_.entries > 0 && HasValues(entry);
  const Rank rank = NextRank(entry);
  if (fits && IsWorthIt(rank, entry.bytes)) {
    Add(key, std::move(entry), rank);
    Evict(&dropped);
    return dropped;
  }
  if (fits) inflation_ = rank.first;  // or what is kept now would stay for ever
  dropped.push_back(segment);
  return dropped;
}

// Older versions would be of no use to entries that were made since, so that one goes at once.
std::vector<SegmentId> Cache::Replace(const EntryKey& key, SegmentId base, Entry entry) {
  const auto found = FindStored(key);
  if (found == entries_.end() || found->second.entry.segment != base) return {entry.segment};
  const Entry& before = found->second.entry;
  entry.hits = before.hits;
  entry.saved_s = before.saved_s;
  entry.decode_s += before.decode_s;
  std::vector<SegmentId> dropped = {Drop(found)};
  if (entry.bytes > limits_.bytes) {
    dropped.push_back(entry.segment);
    return dropped;
  }
  const Rank rank = NextRank(entry);
  Add(key, std::move(entry), rank);
  Evict(&dropped);
  return dropped;
}

// Whether there is room for so many bytes once all that ranks lower has gone.
bool Cache::IsWorthIt(const Rank& rank, int64_t bytes) const {
  int64_t room = limits_.bytes - bytes_;
  bool has_place = entries_.size() < limits_.entries;
  for (auto lower = ranks_.begin(); room < bytes || !has_place; ++lower) {
    if (lower == ranks_.end() || lower->first > rank) return false;
    room += lower->second->second.entry.bytes;
    has_place = true;
  }
  return true;
}

void Cache::Add(const EntryKey& key, Entry entry, const Rank& rank) {
  const auto [file, is_new] = files_.try_emplace(key.file);
  if (is_new) {
    file->second.number = next_file_++;
    files_by_number_.emplace(file->second.number, file);
  }
  ++file->second.num_entries;
  bytes_ += entry.bytes;
  const auto [added, _] =
      entries_.emplace(Key{file->second.number, key.first_group, key.column, key.options},
                       Stored{std::move(entry), rank});
  ranks_.emplace(rank, added);
  by_segment_.insert_or_assign(added->second.entry.segment, added);
}

void Cache::Evict(std::vector<SegmentId>* dropped) {
  while (bytes_ > limits_.bytes || entries_.size() > limits_.entries) {
    const auto least = ranks_.begin();
    inflation_ = std::max(inflation_, least->first.first);
    dropped->push_back(Drop(least->second));
  }
}

SegmentId Cache::Drop(Entries::iterator entry) {
  const SegmentId segment = entry->second.entry.segment;
  const auto file = files_by_number_.find(entry->first.file);
  bytes_ -= entry->second.entry.bytes;
  ranks_.erase(entry->second.rank);
  by_segment_.erase(segment);
  entries_.erase(entry);
  if (--file->second->second.num_entries == 0) {
    files_.erase(file->second);
    files_by_number_.erase(file);
  }
  return segment;
}

std::vector<SegmentId> Cache::Resize(const Limits& limits) {
  limits_ = limits;
  footers_.Resize(limits.footer_bytes);
  std::vector<SegmentId> dropped;
  Evict(&dropped);
  return dropped;
}

bool Cache::Remove(SegmentId segment) {
  const auto found = by_segment_.find(segment);
  if (found == by_segment_.end()) return false;
  Drop(found->second);
  return true;
}

std::vector<SegmentId> Cache::Clear() {
  std::vector<SegmentId> dropped;
  dropped.reserve(entries_.size());
  while (!entries_.empty()) dropped.push_back(Drop(entries_.begin()));
  footers_.Clear();
  return dropped;
}

std::vector<SegmentId> Cache::Supersede(const FileIdentity& file) {
  footers_.Supersede(file);
  std::vector<uint64_t> others;
  for (auto other = files_.lower_bound(FirstIdentity(file.path));
       other != files_.end() && other->first.path == file.path; ++other) {
    if (other->first != file) others.push_back(other->second.number);
  }
  std::vector<SegmentId> dropped;
  for (const uint64_t number : others) {
    auto entry = entries_.lower_bound({number, std::numeric_limits<int>::min(), {}, {}});
    while (entry != entries_.end() && entry->first.file == number) {
      dropped.push_back(Drop(entry++));
    }
  }
  return dropped;
}

std::vector<Listed> Cache::List() const {
  std::vector<Listed> listed;
  listed.reserve(entries_.size());
  for (const auto& [identity, file] : files_) {
    for (auto entry = entries_.lower_bound({file.number, std::numeric_limits<int>::min(), {}, {}});
         entry != entries_.end() && entry->first.file == file.number; ++entry) {
      const Key& key = entry->first;
      listed.push_back({{identity, key.first_group, key.column, key.options}, entry->second.entry});
    }
  }
  return listed;
}

}  // namespace zerrow::decache
