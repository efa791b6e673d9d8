#include "sipc/buffer_table.h"

#include <algorithm>

#include "sipc/ranges.h"

namespace zerrow::sipc {
namespace {

// An unread head shorter than this isn't worth a record of its own.
constexpr int64_t kMinHeadBytes = 256;

// A copy takes as much of the message's body as this, and its check as long as one of a reference.
constexpr int64_t kTinyBytes = kBodyAlignment;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

bool BufferTable::WouldCopy(const arrow::Buffer& buffer) const {
  const auto reference = Refer(buffer, buffer.data(), buffer.size());
  return !reference || (movable_ != 0 && reference->segment == movable_);
}

// Where the bytes of a buffer are that is worth a reference.
std::optional<Reference> BufferTable::Refer(const arrow::Buffer& buffer, const uint8_t* begin,
                                            int64_t length) const {
  const bool small = buffer.size() < inline_below_bytes_;
  if (small && (staying_.empty() || buffer.size() < kTinyBytes)) return std::nullopt;
  auto reference = addresses_.Find(begin, length);
  if (small && reference && !staying_.contains(reference->segment)) reference.reset();
  return reference;
}

void BufferTable::DropMovableHeads() {
  const auto index = segment_index_.find(movable_);
  if (index == segment_index_.end()) return;
  std::erase_if(heads_, [&](const HeadRecord& head) {
    return records_[head.buffer].segment == index->second + 1;
  });
}

arrow::Status BufferTable::Move(const MoveFunction& move) {
  const auto index = segment_index_.find(movable_);
  if (index == segment_index_.end()) return arrow::Status::OK();
  const uint32_t segment = index->second + 1;
  std::vector<Reference> ranges = References();
  std::erase_if(ranges, [&](const Reference& range) { return range.segment != movable_; });
  ARROW_ASSIGN_OR_RAISE(const std::vector<int64_t> offsets, move(ranges));
  if (offsets.size() != ranges.size()) return arrow::Status::UnknownError("ranges weren't moved");
  uint64_t& size_bytes = segments_[index->second].size_bytes;
  size_bytes = 0;
  for (BufferRecord& record : records_) {
    if (record.segment != segment) continue;
    const auto address = static_cast<int64_t>(record.offset);
    const auto after = std::ranges::upper_bound(ranges, address, {}, &Reference::offset);
    const auto range = static_cast<size_t>(after - ranges.begin()) - 1;
    record.offset = static_cast<uint64_t>(offsets[range] + (address - ranges[range].offset));
    size_bytes = std::max(size_bytes, record.offset + record.length);
  }
  return arrow::Status::OK();
}

arrow::Result<uint32_t> BufferTable::Add(const Range& range) {
  return AddRecord(range, /*may_refer=*/true);
}

arrow::Result<uint32_t> BufferTable::AddOwned(std::shared_ptr<arrow::Buffer> buffer) {
  owned_.push_back(std::move(buffer));
  return AddRecord({owned_.back().get(), 0, owned_.back()->size(), 0}, /*may_refer=*/false);
}

arrow::Result<uint32_t> BufferTable::AddRecord(const Range& range, bool may_refer) {
  if (range.buffer == nullptr) return kNone;
  if (!range.buffer->is_cpu()) return arrow::Status::Invalid("a buffer lies on a device");
  if (range.end > range.buffer->size()) {
    return arrow::Status::Invalid("a buffer of ", range.buffer->size(),
                                  " bytes is too short for its array, which needs ", range.end);
  }
  if (records_.size() >= kNone - 1) {
    return arrow::Status::CapacityError("a table has more buffers than SIPC can count");
  }
  const auto index = static_cast<uint32_t>(records_.size());
  const uint8_t* begin = range.buffer->data() + range.begin;
  const int64_t length = range.end - range.begin;
  BufferRecord record = {
      .segment = 0, .reserved = 0, .offset = 0, .length = static_cast<uint64_t>(length)};
  std::optional<Reference> reference;
  if (may_refer && length > 0) reference = Refer(*range.buffer, begin, length);
  if (reference) {
    record.segment = SegmentIndex(*reference);
    record.offset = static_cast<uint64_t>(reference->offset);
    const int64_t head = range.used_begin - range.begin;
    if (head >= kMinHeadBytes) heads_.push_back({index, static_cast<uint64_t>(head)});
  } else {
    copies_.push_back({begin, length, index});
  }
  records_.push_back(record);
  return index;
}

arrow::Result<uint32_t> BufferTable::AddShared(const Range& range) {
  if (range.buffer == nullptr) return kNone;
  const std::array key = {range.buffer->address() + static_cast<uintptr_t>(range.begin),
                          static_cast<uintptr_t>(range.end - range.begin),
                          static_cast<uintptr_t>(range.used_begin - range.begin)};
  if (auto known = shared_.find(key); known != shared_.end()) return known->second;
  ARROW_ASSIGN_OR_RAISE(uint32_t index, Add(range));
  shared_.emplace(key, index);
  return index;
}

uint32_t BufferTable::SegmentIndex(const Reference& reference) {
  if (reference.segment != last_segment_) {
    auto [at, is_new] = segment_index_.emplace(reference.segment, segments_.size());
    if (is_new) segments_.push_back({.id = reference.segment, .size_bytes = 0});
    last_segment_ = reference.segment;
    last_segment_index_ = at->second;
  }
  uint64_t& size_bytes = segments_[last_segment_index_].size_bytes;
  size_bytes = std::max(size_bytes, static_cast<uint64_t>(reference.offset + reference.length));
  return last_segment_index_ + 1;
}

void BufferTable::Finish(int64_t body_offset) {
  regions_ = MergeCopies();
  auto region = regions_.begin();
  for (const Copy& copy : copies_) {
    BufferRecord& record = records_[copy.record];
    record.offset = static_cast<uint64_t>(body_offset);
    if (copy.length == 0) continue;
    while (region->begin + region->length <= copy.begin) ++region;
    record.offset += static_cast<uint64_t>(region->body_offset + (copy.begin - region->begin));
  }
}

// Sorts the copies and lays out what they cover.
std::vector<BufferTable::Region> BufferTable::MergeCopies() {
  std::sort(copies_.begin(), copies_.end(), [](const Copy& a, const Copy& b) {
    return std::pair(a.begin, a.length) < std::pair(b.begin, b.length);
  });
  std::vector<Region> regions;
  for (const Copy& copy : copies_) {
    if (copy.length == 0) continue;
    if (!regions.empty() && copy.begin - regions.back().begin <= regions.back().length) {
      Region& last = regions.back();
      last.length = std::max(last.length, copy.begin - last.begin + copy.length);
      last.is_one_buffer = last.is_one_buffer && copy.begin == last.begin;
    } else {
      regions.push_back({copy.begin, copy.length, 0, true});
    }
  }
  for (Region& region : regions) {
    region.body_offset = RoundUp(body_bytes_, kBodyAlignment);
    // Slices of one piece of memory must each keep the alignment that they have.
    if (!region.is_one_buffer) {
      const auto address = reinterpret_cast<uintptr_t>(region.begin);
      region.body_offset += static_cast<int64_t>(address % kBodyAlignment);
    }
    body_bytes_ = region.body_offset + region.length;
    copied_bytes_ += region.length;
  }
  body_bytes_ = RoundUp(body_bytes_, kBodyAlignment) + kBodyPadding;
  return regions;
}

std::vector<std::string_view> BufferTable::BodyParts() const {
  // A gap is less than an alignment, a place within one, and the padding at the end.
  static constexpr char kZeros[2 * kBodyAlignment + kBodyPadding] = {};
  std::vector<std::string_view> parts;
  parts.reserve(2 * regions_.size() + 1);
  int64_t end = 0;
  auto fill_up_to = [&](int64_t offset) {
    if (offset > end) parts.emplace_back(kZeros, static_cast<size_t>(offset - end));
  };
  for (const Region& region : regions_) {
    fill_up_to(region.body_offset);
    parts.emplace_back(reinterpret_cast<const char*>(region.begin),
                       static_cast<size_t>(region.length));
    end = region.body_offset + region.length;
  }
  fill_up_to(body_bytes_);
  return parts;
}

std::vector<Reference> BufferTable::References() const {
  std::vector<Reference> references;
  references.reserve(records_.size());
  size_t next_head = 0;
  for (size_t i = 0; i < records_.size(); ++i) {
    const BufferRecord& record = records_[i];
    int64_t head = 0;
    if (next_head < heads_.size() && heads_[next_head].buffer == i) {
      head = static_cast<int64_t>(heads_[next_head++].length);
    }
    if (record.segment == 0) continue;
    references.push_back({.segment = segments_[record.segment - 1].id,
                          .offset = static_cast<int64_t>(record.offset) + head,
                          .length = static_cast<int64_t>(record.length) - head});
  }
  return MergeReferences(std::move(references));
}

}  // namespace zerrow::sipc
