// Checks the nodes, slots and lists of a message in the order in which they lie in it.
//
// Part of MessageView::Parse, which has checked sections, layouts and buffers by then. Every node
// is visited once and in order, so that no two arrays can claim the same records and the work is
// bounded by the message's size. One thread; borrows the view.
#pragma once

#include <arrow/result.h>

#include <cstdint>
#include <functional>

#include "sipc/message_view.h"

namespace zerrow::sipc {

/// SerializationError unless a layout's parameter and number of children are what its kind asks
/// for. `child(i)` is its i-th child's record.
arrow::Status CheckLayoutShape(const LayoutRecord& record,
                               const std::function<LayoutRecord(uint32_t)>& child);

class ArrayChecker {
 public:
  explicit ArrayChecker(const MessageView& view) : view_(view) {}

  /// Checks the next array, children included, and returns its own node.
  arrow::Result<NodeRecord> CheckNext(uint32_t layout);

  /// Call when all arrays are checked: nothing may be left over.
  arrow::Status Finish() const;

 private:
  arrow::Status CheckSlots(const LayoutRecord& layout, const NodeRecord& node, uint64_t slot);
  arrow::Status CheckChildren(const LayoutRecord& layout, const NodeRecord& node);
  arrow::Status CheckView(const NodeRecord& node, uint64_t slot);
  arrow::Status CheckDictionary(const LayoutRecord& layout, const NodeRecord& node, uint64_t slot);
  arrow::Status CheckValidity(const NodeRecord& node, uint32_t slot) const;
  arrow::Status CheckBuffer(uint32_t slot, uint64_t need_bytes) const;
  arrow::Status CheckFixed(uint32_t slot, const NodeRecord& node, uint64_t bits) const;
  arrow::Status CheckOffsets(uint32_t slot, const NodeRecord& node, uint64_t width) const;

  const MessageView& view_;
  uint64_t node_ = 0;
  uint64_t slot_ = 0;
  uint64_t list_ = 0;
};

}  // namespace zerrow::sipc
