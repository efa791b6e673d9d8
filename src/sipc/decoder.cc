#include "sipc/decoder.h"

#include <arrow/type.h>

#include <utility>

namespace zerrow::sipc {

Decoder::Decoder(const MessageView& view, std::shared_ptr<arrow::Buffer> message,
                 SegmentResolver resolver)
    : view_(view),
      message_(std::move(message)),
      resolver_(std::move(resolver)),
      segments_(view.count(kSegmentsSection)),
      segment_ready_(std::make_unique<std::atomic<bool>[]>(view.count(kSegmentsSection))),
      dictionaries_(view.dictionaries().size()) {}

arrow::Result<std::shared_ptr<arrow::ArrayData>> Decoder::Decode(
    const std::shared_ptr<arrow::DataType>& type, const MessageView::ArrayRun& run, uint64_t i) {
  Cursor at = {.node = run.first_node + i * view_.nodes_per_array(run.layout),
               .slot = run.first_slot + i * view_.slots_per_array(run.layout)};
  return DecodeNext(type, run.layout, &at);
}

arrow::Result<Decoder::Data> Decoder::DecodeNext(const std::shared_ptr<arrow::DataType>& type,
                                                 uint32_t layout_index, Cursor* at) {
  const LayoutRecord layout = view_.layout(layout_index);
  const auto kind = static_cast<LayoutKind>(layout.kind);
  const NodeRecord node = view_.node(at->node++);
  const uint64_t slot = at->slot;
  at->slot += NumSlots(kind);
  auto data = std::make_shared<arrow::ArrayData>(type, node.length, node.null_count, node.offset);
  ARROW_RETURN_NOT_OK(DecodeBuffers(kind, slot, data.get()));
  const arrow::DataType& storage = StorageOf(*type);
  if (kind == LayoutKind::kDictionary) {
    const auto& value_type = static_cast<const arrow::DictionaryType&>(storage).value_type();
    ARROW_ASSIGN_OR_RAISE(data->dictionary, Dictionary(value_type, view_.slot(slot + 2)));
    return data;
  }
  data->child_data.reserve(layout.num_children);
  for (uint32_t i = 0; i < layout.num_children; ++i) {
    ARROW_ASSIGN_OR_RAISE(auto child, DecodeNext(storage.field(static_cast<int>(i))->type(),
                                                 view_.layout_child(layout, i), at));
    data->child_data.push_back(std::move(child));
  }
  return data;
}

arrow::Status Decoder::DecodeBuffers(LayoutKind kind, uint64_t slot, arrow::ArrayData* data) {
  auto& buffers = data->buffers;
  uint32_t num_buffers = NumSlots(kind);
  switch (kind) {
    case LayoutKind::kNull:
    case LayoutKind::kRunEndEncoded:
      buffers.resize(1);
      return arrow::Status::OK();
    case LayoutKind::kSparseUnion:
    case LayoutKind::kDenseUnion:
      buffers.reserve(num_buffers + 1);
      buffers.emplace_back();  // unions have no validity, but Arrow keeps its place
      break;
    case LayoutKind::kView:
    case LayoutKind::kDictionary:
      --num_buffers;  // the last slot isn't a buffer
      [[fallthrough]];
    default:
      buffers.reserve(num_buffers);
  }
  for (uint32_t i = 0; i < num_buffers; ++i) {
    ARROW_ASSIGN_OR_RAISE(auto buffer, DecodeBuffer(view_.slot(slot + i)));
    // Only the validity bitmap may be missing in Arrow. Of an array without rows there is still
    // one offset, since not all implementations do without it.
    if (!buffer && !buffers.empty()) {
      const int64_t size = i == 1 ? OffsetBytes(kind) : 0;
      buffer = std::make_shared<arrow::Buffer>(message_, kZerosOffset, size);
    }
    buffers.push_back(std::move(buffer));
  }
  if (kind == LayoutKind::kView) return DecodeVariadic(view_.slot(slot + 2), data);
  return arrow::Status::OK();
}

arrow::Status Decoder::DecodeVariadic(uint64_t list, arrow::ArrayData* data) {
  const uint32_t count = view_.list(list);
  data->buffers.reserve(data->buffers.size() + count);
  for (uint32_t i = 0; i < count; ++i) {
    ARROW_ASSIGN_OR_RAISE(auto buffer, DecodeBuffer(view_.list(list + 1 + i)));
    data->buffers.push_back(std::move(buffer));
  }
  return arrow::Status::OK();
}

arrow::Result<std::shared_ptr<arrow::Buffer>> Decoder::DecodeBuffer(uint32_t slot) {
  if (slot == kNone) return nullptr;
  const BufferRecord record = view_.buffer(slot);
  const auto offset = static_cast<int64_t>(record.offset);
  const auto length = static_cast<int64_t>(record.length);
  if (record.segment == 0) return std::make_shared<arrow::Buffer>(message_, offset, length);
  ARROW_ASSIGN_OR_RAISE(const auto* segment, Segment(record.segment - 1));
  return std::make_shared<arrow::Buffer>(*segment, offset, length);
}

arrow::Result<Decoder::Data> Decoder::Dictionary(const std::shared_ptr<arrow::DataType>& value_type,
                                                 uint32_t i) {
  Data data;
  {
    std::lock_guard lock(dictionaries_lock_);
    data = dictionaries_[i];
  }
  if (!data) {
    // Not under the lock, as a dictionary's values may have dictionaries themselves. If another
    // thread was faster its array is taken, so that all arrays share one.
    ARROW_ASSIGN_OR_RAISE(data, Decode(value_type, view_.dictionaries()[i], 0));
    std::lock_guard lock(dictionaries_lock_);
    if (!dictionaries_[i]) dictionaries_[i] = data;
    data = dictionaries_[i];
  }
  if (!data->type->Equals(*value_type)) {
    return arrow::Status::SerializationError("SIPC message: one dictionary is both ",
                                             data->type->ToString(), " and ",
                                             value_type->ToString());
  }
  return data;
}

arrow::Result<const std::shared_ptr<arrow::Buffer>*> Decoder::Segment(uint32_t i) {
  if (segment_ready_[i].load(std::memory_order_acquire)) return &segments_[i];
  std::lock_guard lock(segments_lock_);
  if (segment_ready_[i].load(std::memory_order_relaxed)) return &segments_[i];
  const SegmentRecord record = view_.segment(i);
  ARROW_ASSIGN_OR_RAISE(auto buffer, resolver_(record.id));
  if (!buffer || buffer->size() < static_cast<int64_t>(record.size_bytes)) {
    return arrow::Status::SerializationError("segment ", record.id, " is smaller than the ",
                                             record.size_bytes, " bytes that the message needs");
  }
  segments_[i] = std::move(buffer);
  segment_ready_[i].store(true, std::memory_order_release);
  return &segments_[i];
}

}  // namespace zerrow::sipc
