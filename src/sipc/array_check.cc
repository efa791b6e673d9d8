#include "sipc/array_check.h"

#include <limits>
#include <utility>

namespace zerrow::sipc {
namespace {

template <typename... Args>
arrow::Status Malformed(Args&&... args) {
  return arrow::Status::SerializationError("SIPC message: ", std::forward<Args>(args)...);
}

// Rows that the array's buffers hold: all that lie before the offset, and its own. Both were
// checked not to overflow.
uint64_t Extent(const NodeRecord& node) {
  return static_cast<uint64_t>(node.offset) + static_cast<uint64_t>(node.length);
}

// Bytes of `count` values of `bits` bits, or the maximum if no memory could hold them.
uint64_t BytesFor(uint64_t count, uint64_t bits) {
  uint64_t total = 0;
  if (__builtin_mul_overflow(count, bits, &total) || total > UINT64_MAX - 7) return UINT64_MAX;
  return (total + 7) / 8;
}

bool IsRunEnds(const LayoutRecord& record) {
  return static_cast<LayoutKind>(record.kind) == LayoutKind::kFixed &&
         (record.parameter == 16 || record.parameter == 32 || record.parameter == 64);
}

}  // namespace

arrow::Status CheckLayoutShape(const LayoutRecord& record,
                               const std::function<LayoutRecord(uint32_t)>& child) {
  bool sound = false;
  const uint32_t children = record.num_children, parameter = record.parameter;
  switch (static_cast<LayoutKind>(record.kind)) {
    case LayoutKind::kNull:
    case LayoutKind::kBinary32:
    case LayoutKind::kBinary64:
    case LayoutKind::kView:
      sound = children == 0 && parameter == 0;
      break;
    case LayoutKind::kFixed:
      sound = children == 0 && (parameter == 1 || parameter % 8 == 0);
      break;
    case LayoutKind::kList32:
    case LayoutKind::kList64:
    case LayoutKind::kListView32:
    case LayoutKind::kListView64:
      sound = children == 1 && parameter == 0;
      break;
    case LayoutKind::kFixedSizeList:
      sound = children == 1 && parameter <= std::numeric_limits<int32_t>::max();
      break;
    case LayoutKind::kStruct:
    case LayoutKind::kSparseUnion:
    case LayoutKind::kDenseUnion:
      sound = parameter == 0;
      break;
    case LayoutKind::kDictionary:
      sound = children == 1 &&
              (parameter == 8 || parameter == 16 || parameter == 32 || parameter == 64);
      break;
    case LayoutKind::kRunEndEncoded:
      sound = children == 2 && parameter == 0 && IsRunEnds(child(0));
      break;
  }
  if (!sound) return Malformed("a layout of kind ", int{record.kind}, " has the wrong shape");
  return arrow::Status::OK();
}

arrow::Result<NodeRecord> ArrayChecker::CheckNext(uint32_t layout_index) {
  const LayoutRecord layout = view_.layout(layout_index);
  const uint64_t slot = slot_;
  const NodeRecord node = view_.node(node_);
  if (node.length < 0 || node.offset < 0 ||
      node.offset > std::numeric_limits<int64_t>::max() - node.length) {
    return Malformed("node ", node_, ": bad length or offset");
  }
  if (node.null_count < -1 || node.null_count > node.length) {
    return Malformed("node ", node_, ": bad null count");
  }
  ++node_;
  slot_ += NumSlots(static_cast<LayoutKind>(layout.kind));
  if (arrow::Status status = CheckSlots(layout, node, slot); !status.ok()) {
    return status.WithMessage(status.message(), " (node ", node_ - 1, ")");
  }
  ARROW_RETURN_NOT_OK(CheckChildren(layout, node));
  return node;
}

arrow::Status ArrayChecker::Finish() const {
  if (list_ != view_.count(kListsSection)) return Malformed("lists left over");
  return arrow::Status::OK();
}

arrow::Status ArrayChecker::CheckSlots(const LayoutRecord& layout, const NodeRecord& node,
                                       uint64_t slot) {
  const auto kind = static_cast<LayoutKind>(layout.kind);
  const auto width = static_cast<uint64_t>(OffsetBytes(kind));
  switch (kind) {
    case LayoutKind::kNull:
    case LayoutKind::kRunEndEncoded:
      return arrow::Status::OK();
    case LayoutKind::kSparseUnion:
      return CheckFixed(view_.slot(slot), node, 8);
    case LayoutKind::kDenseUnion:
      ARROW_RETURN_NOT_OK(CheckFixed(view_.slot(slot), node, 8));
      return CheckFixed(view_.slot(slot + 1), node, 32);
    default:
      ARROW_RETURN_NOT_OK(CheckValidity(node, view_.slot(slot)));
  }
  switch (kind) {
    case LayoutKind::kFixed:
      return CheckFixed(view_.slot(slot + 1), node, layout.parameter);
    case LayoutKind::kBinary32:
    case LayoutKind::kBinary64:
      ARROW_RETURN_NOT_OK(CheckBuffer(view_.slot(slot + 2), 0));
      return CheckOffsets(view_.slot(slot + 1), node, width);
    case LayoutKind::kList32:
    case LayoutKind::kList64:
      return CheckOffsets(view_.slot(slot + 1), node, width);
    case LayoutKind::kListView32:
    case LayoutKind::kListView64:
      ARROW_RETURN_NOT_OK(CheckFixed(view_.slot(slot + 1), node, 8 * width));
      return CheckFixed(view_.slot(slot + 2), node, 8 * width);
    case LayoutKind::kView:
      return CheckView(node, slot);
    case LayoutKind::kDictionary:
      return CheckDictionary(layout, node, slot);
    default:
      return arrow::Status::OK();
  }
}

arrow::Status ArrayChecker::CheckChildren(const LayoutRecord& layout, const NodeRecord& node) {
  const auto kind = static_cast<LayoutKind>(layout.kind);
  if (kind == LayoutKind::kDictionary) return arrow::Status::OK();
  uint64_t need = 0;
  if (kind == LayoutKind::kStruct || kind == LayoutKind::kSparseUnion) need = Extent(node);
  if (kind == LayoutKind::kFixedSizeList &&
      __builtin_mul_overflow(Extent(node), uint64_t{layout.parameter}, &need)) {
    return Malformed("a fixed-size list's values are more than can be");
  }
  int64_t previous_length = 0;
  for (uint32_t i = 0; i < layout.num_children; ++i) {
    ARROW_ASSIGN_OR_RAISE(NodeRecord child, CheckNext(view_.layout_child(layout, i)));
    if (static_cast<uint64_t>(child.length) < need) {
      return Malformed("node ", node_ - 1, " is shorter than its parent needs");
    }
    if (kind == LayoutKind::kRunEndEncoded && i == 1 && child.length < previous_length) {
      return Malformed("node ", node_ - 1, " has fewer values than run ends");
    }
    previous_length = child.length;
  }
  return arrow::Status::OK();
}

arrow::Status ArrayChecker::CheckView(const NodeRecord& node, uint64_t slot) {
  ARROW_RETURN_NOT_OK(CheckFixed(view_.slot(slot + 1), node, 128));
  // Lists follow each other in the order of their nodes: so none is used twice.
  if (view_.slot(slot + 2) != list_ || list_ >= view_.count(kListsSection)) {
    return Malformed("a list of buffers is out of order");
  }
  const uint32_t count = view_.list(list_++);
  if (count > view_.count(kListsSection) - list_) return Malformed("a list of buffers is too long");
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t buffer = view_.list(list_++);
    if (buffer == kNone) return Malformed("a variadic buffer is missing");
    ARROW_RETURN_NOT_OK(CheckBuffer(buffer, 0));
  }
  return arrow::Status::OK();
}

arrow::Status ArrayChecker::CheckDictionary(const LayoutRecord& layout, const NodeRecord& node,
                                            uint64_t slot) {
  ARROW_RETURN_NOT_OK(CheckFixed(view_.slot(slot + 1), node, layout.parameter));
  const uint32_t dictionary = view_.slot(slot + 2);
  if (dictionary >= view_.dictionaries().size()) return Malformed("no such dictionary");
  // Values' layouts stand before their dictionaries', so dictionaries can't form a cycle.
  if (view_.dictionaries()[dictionary].layout != view_.layout_child(layout, 0)) {
    return Malformed("a dictionary has another layout than its column says");
  }
  return arrow::Status::OK();
}

arrow::Status ArrayChecker::CheckValidity(const NodeRecord& node, uint32_t slot) const {
  if (slot != kNone) return CheckFixed(slot, node, 1);
  if (node.null_count > 0) return Malformed("nulls without a validity bitmap");
  return arrow::Status::OK();
}

arrow::Status ArrayChecker::CheckBuffer(uint32_t slot, uint64_t need_bytes) const {
  if (slot == kNone) {
    return need_bytes == 0 ? arrow::Status::OK() : Malformed("a buffer is missing");
  }
  if (slot >= view_.count(kBuffersSection)) return Malformed("no such buffer");
  if (view_.buffer(slot).length < need_bytes) return Malformed("a buffer is too short");
  return arrow::Status::OK();
}

arrow::Status ArrayChecker::CheckFixed(uint32_t slot, const NodeRecord& node, uint64_t bits) const {
  // As in Arrow, an array without rows needs no buffers, whatever its offset.
  return CheckBuffer(slot, node.length == 0 ? 0 : BytesFor(Extent(node), bits));
}

arrow::Status ArrayChecker::CheckOffsets(uint32_t slot, const NodeRecord& node,
                                         uint64_t width) const {
  // The sum can't overflow: an extent is below 2^63.
  return CheckBuffer(slot, node.length == 0 ? 0 : BytesFor(Extent(node) + 1, 8 * width));
}

}  // namespace zerrow::sipc
