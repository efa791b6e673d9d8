// What simulated attempts make, and what the cache keeps of it.
#include <algorithm>

#include "engine/testing/simulated_performer.h"

namespace zerrow::engine::testing {

using resource::SegmentBytes;
using resource::TaskId;

// Up to three parts of the ranges, in their order.
std::vector<ByteRange> SimulatedPerformer::PartsOf(const std::vector<ByteRange>& ranges) {
  std::vector<ByteRange> parts;
  for (const ByteRange& range : ranges) {
    if (parts.size() == 3 || range.length < 2 || random_.Chance(0.2)) continue;
    const auto from = static_cast<int64_t>(random_.Below(static_cast<size_t>(range.length) / 2));
    const auto most = static_cast<size_t>(range.length - from);
    parts.push_back({range.offset + from, static_cast<int64_t>(1 + random_.Below(most))});
  }
  return parts.empty() ? ranges : parts;
}

SegmentBytes SimulatedPerformer::NewSegment() {
  const size_t unit = random_.Chance(0.5) ? 1 : 10'000;
  SegmentBytes segment{++last_segment_, static_cast<int64_t>((1 + random_.Below(1000)) * unit)};
  if (random_.Chance(0.7)) {
    const int64_t half = segment.bytes / 2;
    segment.used = PartsOf({{0, half}, {half, segment.bytes - half}});
  }
  store_.Add(segment.id, segment.bytes);
  if (memory_ != nullptr) memory_->NoteGrowth(segment.bytes);
  return segment;
}

TablePtr SimulatedPerformer::TableOf(TaskId task, Attempt& attempt) {
  PublishedTable table = MakeTable(attempt.uses);
  if (memory_ != nullptr && memory_->Varies(task)) {
    versions_.Vary(task, attempt.versions, random_.Chance(0.2));
  }
  versions_.NoteTable(task, table, attempt.versions);
  return std::make_shared<const PublishedTable>(std::move(table));
}

PublishedTable SimulatedPerformer::MakeTable(const Uses& inputs) {
  PublishedTable table;
  const double reshared = random_.Chance(0.3) ? 0 : random_.Unit();
  for (const auto& [input, used] : inputs) {
    if (table.segments.size() < 20 && random_.Chance(reshared)) {
      ++counts_["reshared"];
      const int64_t bytes = segments_.at(input).bytes;
      const std::vector<ByteRange> all = {{0, bytes}};
      table.segments.push_back({input, bytes, used});
      if (random_.Chance(0.7)) table.segments.back().used = PartsOf(used.empty() ? all : used);
    }
  }
  for (const SegmentId cached : cached_) {
    if (table.segments.size() < 20 && !inputs.contains(cached) && random_.Chance(rates_.caches)) {
      ++counts_["hit"];
      table.segments.push_back({cached, segments_.at(cached).bytes});
    }
  }
  for (size_t i = random_.Below(3); i > 0; --i) {
    table.segments.push_back(NewSegment());
    if (random_.Chance(rates_.caches)) Cache(table.segments.back());
  }
  table.message = NewSegment();
  table.rows = 5;
  return table;
}

void SimulatedPerformer::Cache(const SegmentBytes& segment) {
  // All of it, whatever its table uses.
  cached_.insert(segment.id);
  in_hands_.emplace(segment.id, std::vector<ByteRange>{});
  dispatcher_->OnCached({segment.id, segment.bytes});
  agenda_.In(3 * random_.Unit(), [this, id = segment.id] {
    if (cached_.contains(id)) Uncache(id);
  });
}

void SimulatedPerformer::TakeOutOfHands(SegmentId id, const std::vector<ByteRange>& used) {
  const auto [begin, end] = in_hands_.equal_range(id);
  in_hands_.erase(std::find(begin, end, Uses::value_type(id, used)));
}

void SimulatedPerformer::Uncache(SegmentId id) {
  verdict_.Expect(cached_.contains(id) || memory_ != nullptr, "forgotten twice");
  if (cached_.erase(id) == 0) return;
  TakeOutOfHands(id, {});
  agenda_.In(0, [this, id] { dispatcher_->OnUncached(id); });
}

}  // namespace zerrow::engine::testing
