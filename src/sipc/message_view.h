// The parsed structure of a SIPC message, shared by the checker and the reader.
//
// Parse checks everything that can be known without the segments' and buffers' bytes; after it,
// the accessors need no further checks, for indices in range. A view borrows the message's bytes,
// which must not change while it is used. Any number of threads may use one view.
#pragma once

#include <arrow/result.h>

#include <cstdint>
#include <span>
#include <vector>

#include "sipc/format.h"
#include "sipc/layout.h"

namespace zerrow::sipc {

class MessageView {
 public:
  /// Where the nodes and slots of arrays of one layout begin; each array takes the same number.
  struct ArrayRun {
    uint32_t layout = 0;
    uint64_t num_arrays = 0;
    uint64_t first_node = 0;
    uint64_t first_slot = 0;
  };

  /// SerializationError if the structure isn't sound; NotImplemented for a later version.
  static arrow::Result<MessageView> Parse(std::span<const uint8_t> message);

  std::span<const uint8_t> message() const { return message_; }
  const HeaderRecord& header() const { return header_; }
  int64_t num_rows() const { return static_cast<int64_t>(header_.num_rows); }
  uint64_t count(SectionId section) const { return header_.sections[section].count; }
  std::span<const uint8_t> bytes(SectionId section) const;

  SegmentRecord segment(uint64_t i) const { return At<SegmentRecord>(kSegmentsSection, i); }
  LayoutRecord layout(uint64_t i) const { return At<LayoutRecord>(kLayoutsSection, i); }
  uint32_t layout_child(const LayoutRecord& parent, uint32_t i) const {
    return At<uint32_t>(kLayoutChildrenSection, uint64_t{parent.first_child} + i);
  }
  NodeRecord node(uint64_t i) const { return At<NodeRecord>(kNodesSection, i); }
  uint32_t slot(uint64_t i) const { return At<uint32_t>(kSlotsSection, i); }
  uint32_t list(uint64_t i) const { return At<uint32_t>(kListsSection, i); }
  BufferRecord buffer(uint64_t i) const { return At<BufferRecord>(kBuffersSection, i); }
  HeadRecord head(uint64_t i) const { return At<HeadRecord>(kHeadsSection, i); }

  const std::vector<ArrayRun>& columns() const { return columns_; }
  const std::vector<ArrayRun>& dictionaries() const { return dictionaries_; }
  /// Nodes and slots of one array of a layout, children included.
  uint64_t nodes_per_array(uint32_t layout) const { return layout_sizes_[layout].nodes; }
  uint64_t slots_per_array(uint32_t layout) const { return layout_sizes_[layout].slots; }

 private:
  explicit MessageView(std::span<const uint8_t> message) : message_(message) {}

  template <typename Record>
  Record At(SectionId section, uint64_t i) const {
    return Load<Record>(message_.data() + header_.sections[section].offset + i * sizeof(Record));
  }

  arrow::Status ParseHeader();
  arrow::Status ParseLayouts();
  arrow::Status CheckLayout(uint64_t i);
  arrow::Status ParseArrayRuns();
  arrow::Status CheckSegments() const;
  arrow::Status CheckBuffers() const;
  arrow::Status CheckHeads() const;
  arrow::Status CheckArrays() const;

  std::span<const uint8_t> message_;
  HeaderRecord header_ = {};
  std::vector<LayoutSize> layout_sizes_;
  std::vector<ArrayRun> columns_;
  std::vector<ArrayRun> dictionaries_;
};

}  // namespace zerrow::sipc
