#include "sipc/message_view.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "sipc/array_check.h"

namespace zerrow::sipc {
namespace {

constexpr uint64_t kMaxSigned = std::numeric_limits<int64_t>::max();

template <typename... Args>
arrow::Status Malformed(Args&&... args) {
  return arrow::Status::SerializationError("SIPC message: ", std::forward<Args>(args)...);
}

}  // namespace

arrow::Result<MessageView> MessageView::Parse(std::span<const uint8_t> message) {
  MessageView view(message);
  ARROW_RETURN_NOT_OK(view.ParseHeader());
  ARROW_RETURN_NOT_OK(view.ParseLayouts());
  ARROW_RETURN_NOT_OK(view.ParseArrayRuns());
  ARROW_RETURN_NOT_OK(view.CheckSegments());
  ARROW_RETURN_NOT_OK(view.CheckBuffers());
  ARROW_RETURN_NOT_OK(view.CheckHeads());
  ARROW_RETURN_NOT_OK(view.CheckArrays());
  return view;
}

std::span<const uint8_t> MessageView::bytes(SectionId section) const {
  const SectionRecord& record = header_.sections[section];
  return message_.subspan(record.offset, record.count * kRecordBytes[section]);
}

arrow::Status MessageView::ParseHeader() {
  if (message_.size() < sizeof(HeaderRecord)) return Malformed("shorter than its header");
  header_ = Load<HeaderRecord>(message_.data());
  if (std::memcmp(header_.magic, kMagic, sizeof(kMagic)) != 0) return Malformed("no SIPC magic");
  if (header_.version != kVersion) {
    return arrow::Status::NotImplemented("SIPC version ", header_.version, "; known is ", kVersion);
  }
  if (header_.header_bytes != sizeof(HeaderRecord)) return Malformed("wrong header size");
  if (header_.message_bytes != message_.size()) {
    return Malformed("has ", message_.size(), " bytes, says ", header_.message_bytes);
  }
  for (uint8_t zero : header_.zeros) {
    if (zero != 0) return Malformed("its header's zeros aren't");
  }
  if (header_.num_rows > kMaxSigned) return Malformed("too many rows");
  uint64_t end = sizeof(HeaderRecord);
  for (int i = 0; i < kNumSections; ++i) {
    const SectionRecord& section = header_.sections[i];
    const int64_t alignment = i == kBodySection ? kBodyAlignment : kSectionAlignment;
    if (section.offset % alignment != 0) return Malformed("section ", i, " is unaligned");
    if (section.offset < end || section.offset > message_.size()) {
      return Malformed("section ", i, " is out of place");
    }
    if (section.count > (message_.size() - section.offset) / kRecordBytes[i]) {
      return Malformed("section ", i, " is longer than the message");
    }
    if (section.count > kMaxRecords[i]) {
      return Malformed(section.count, " ", kRecordNames[i], ", and ", kMaxRecords[i], " may be");
    }
    end = section.offset + section.count * kRecordBytes[i];
  }
  return arrow::Status::OK();
}

arrow::Status MessageView::ParseLayouts() {
  layout_sizes_.resize(count(kLayoutsSection));
  uint64_t next_child = 0;
  for (uint64_t i = 0; i < count(kLayoutsSection); ++i) {
    const LayoutRecord record = layout(i);
    if (record.first_child != next_child) return Malformed("layout ", i, ": children out of order");
    next_child += record.num_children;
    if (next_child > count(kLayoutChildrenSection)) return Malformed("layout ", i, ": no children");
    ARROW_RETURN_NOT_OK(CheckLayout(i));
  }
  if (next_child != count(kLayoutChildrenSection)) return Malformed("layout children left over");
  return arrow::Status::OK();
}

arrow::Status MessageView::CheckLayout(uint64_t i) {
  const LayoutRecord record = layout(i);
  if (record.kind >= kNumLayoutKinds) return Malformed("layout ", i, ": unknown kind");
  const auto kind = static_cast<LayoutKind>(record.kind);
  for (uint32_t c = 0; c < record.num_children; ++c) {
    if (layout_child(record, c) >= i) {
      return Malformed("layout ", i, ": child doesn't stand before it");
    }
  }
  const LayoutSize size = SizeOfLayout(kind, record.num_children, [&](uint32_t c) {
    return layout_sizes_[layout_child(record, c)];
  });
  if (size.depth > kMaxDepth) return Malformed("layout ", i, " is nested too deeply");
  ARROW_RETURN_NOT_OK(
      CheckLayoutShape(record, [&](uint32_t c) { return layout(layout_child(record, c)); }));
  layout_sizes_[i] = size;
  return arrow::Status::OK();
}

arrow::Status MessageView::ParseArrayRuns() {
  uint64_t node = 0, slot = 0;
  auto add = [&](uint32_t layout, uint64_t num_arrays, std::vector<ArrayRun>* runs) {
    if (layout >= layout_sizes_.size()) return Malformed("no layout ", layout);
    const LayoutSize& size = layout_sizes_[layout];
    runs->push_back({layout, num_arrays, node, slot});
    if (num_arrays == 0) return arrow::Status::OK();
    if (size.nodes > (count(kNodesSection) - node) / num_arrays ||
        size.slots > (count(kSlotsSection) - slot) / num_arrays) {
      return Malformed("fewer nodes or slots than arrays need");
    }
    node += num_arrays * size.nodes;
    slot += num_arrays * size.slots;
    return arrow::Status::OK();
  };
  columns_.reserve(count(kColumnsSection));
  for (uint64_t i = 0; i < count(kColumnsSection); ++i) {
    const auto record = At<ColumnRecord>(kColumnsSection, i);
    ARROW_RETURN_NOT_OK(add(record.layout, record.num_chunks, &columns_));
  }
  dictionaries_.reserve(count(kDictionariesSection));
  for (uint64_t i = 0; i < count(kDictionariesSection); ++i) {
    ARROW_RETURN_NOT_OK(add(At<uint32_t>(kDictionariesSection, i), 1, &dictionaries_));
  }
  if (node != count(kNodesSection) || slot != count(kSlotsSection)) {
    return Malformed("nodes or slots left over");
  }
  return arrow::Status::OK();
}

arrow::Status MessageView::CheckSegments() const {
  std::vector<uint64_t> ids;
  ids.reserve(count(kSegmentsSection));
  for (uint64_t i = 0; i < count(kSegmentsSection); ++i) {
    const SegmentRecord record = segment(i);
    if (record.id == 0 || record.size_bytes > kMaxSigned) return Malformed("bad segment ", i);
    ids.push_back(record.id);
  }
  std::sort(ids.begin(), ids.end());
  if (std::adjacent_find(ids.begin(), ids.end()) != ids.end()) {
    return Malformed("a segment is listed twice");
  }
  return arrow::Status::OK();
}

arrow::Status MessageView::CheckBuffers() const {
  const uint64_t num_segments = count(kSegmentsSection);
  const uint64_t num_buffers = count(kBuffersSection);
  const SectionRecord& body = header_.sections[kBodySection];
  for (uint64_t i = 0; i < num_buffers; ++i) {
    const BufferRecord record = buffer(i);
    if (record.segment > num_segments) return Malformed("buffer ", i, ": no such segment");
    uint64_t begin = 0, end = 0;
    if (record.segment == 0) {
      begin = body.offset;
      end = body.offset + body.count;
    } else {
      end = segment(record.segment - 1).size_bytes;
    }
    if (record.offset < begin || record.offset > end || record.length > end - record.offset) {
      return Malformed("buffer ", i, " is out of bounds");
    }
  }
  return arrow::Status::OK();
}

arrow::Status MessageView::CheckHeads() const {
  uint64_t next = 0;
  for (uint64_t i = 0; i < count(kHeadsSection); ++i) {
    const HeadRecord record = head(i);
    if (record.buffer < next || record.buffer >= count(kBuffersSection)) {
      return Malformed("head ", i, " is out of order");
    }
    if (record.length > buffer(record.buffer).length) return Malformed("head ", i, " is too long");
    next = record.buffer + 1;
  }
  return arrow::Status::OK();
}

arrow::Status MessageView::CheckArrays() const {
  ArrayChecker checker(*this);
  for (size_t i = 0; i < columns_.size(); ++i) {
    uint64_t rows = 0;
    for (uint64_t chunk = 0; chunk < columns_[i].num_arrays; ++chunk) {
      ARROW_ASSIGN_OR_RAISE(NodeRecord root, checker.CheckNext(columns_[i].layout));
      rows += static_cast<uint64_t>(root.length);  // < 2^63 + 2^63
      if (rows > header_.num_rows) break;
    }
    if (rows != header_.num_rows) return Malformed("column ", i, ": wrong number of rows");
  }
  for (const ArrayRun& dictionary : dictionaries_) {
    ARROW_RETURN_NOT_OK(checker.CheckNext(dictionary.layout).status());
  }
  return checker.Finish();
}

}  // namespace zerrow::sipc
