#include "resource/ledger.h"

namespace zerrow::resource {

std::string Holder::ToString() const {
  if (kind == Kind::kCache) return "cache";
  const std::string what = kind == Kind::kTable ? "table" : "result";
  return what + " of task " + std::to_string(task.index) + " of run " + std::to_string(task.run);
}

void Ledger::Hold(const Holder& holder, const SegmentBytes& segment) {
  const auto [entry, is_new] = segments_.try_emplace(segment.id);
  if (is_new) {
    entry->second.bytes = segment.bytes;
    bytes_ += segment.bytes;
  }
  if (entry->second.holders.insert(holder).second) held_[holder].push_back(segment.id);
}

std::vector<SegmentId> Ledger::Release(const Holder& holder) {
  std::vector<SegmentId> unheld;
  const auto held = held_.extract(holder);
  if (held.empty()) return unheld;
  for (const SegmentId id : held.mapped()) {
    const auto segment = segments_.find(id);
    segment->second.holders.erase(holder);
    if (!segment->second.holders.empty()) continue;
    bytes_ -= segment->second.bytes;
    segments_.erase(segment);
    unheld.push_back(id);
  }
  return unheld;
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
  return {segment->second.holders.begin(), segment->second.holders.end()};
}

}  // namespace zerrow::resource
