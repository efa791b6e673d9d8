#include "sipc/check.h"

#include "sipc/message_view.h"
#include "sipc/ranges.h"

namespace zerrow::sipc {
namespace {

arrow::Status CheckGranted(const MessageView& view, const std::map<SegmentId, int64_t>& granted) {
  for (uint64_t i = 0; i < view.count(kSegmentsSection); ++i) {
    const SegmentRecord segment = view.segment(i);
    auto grant = granted.find(segment.id);
    if (grant == granted.end()) {
      return arrow::Status::SerializationError("SIPC message refers to segment ", segment.id,
                                               ", which wasn't granted");
    }
    if (static_cast<int64_t>(segment.size_bytes) > grant->second) {
      return arrow::Status::SerializationError("SIPC message needs ", segment.size_bytes,
                                               " bytes of segment ", segment.id, ", which has ",
                                               grant->second);
    }
  }
  return arrow::Status::OK();
}

}  // namespace

arrow::Result<Summary> Check(std::span<const uint8_t> message,
                             const std::map<SegmentId, int64_t>& granted) {
  ARROW_ASSIGN_OR_RAISE(MessageView view, MessageView::Parse(message));
  ARROW_RETURN_NOT_OK(CheckGranted(view, granted));
  std::vector<Reference> references;
  references.reserve(view.count(kBuffersSection));
  uint64_t next_head = 0;
  for (uint64_t i = 0; i < view.count(kBuffersSection); ++i) {
    const BufferRecord buffer = view.buffer(i);
    int64_t head = 0;
    if (next_head < view.count(kHeadsSection) && view.head(next_head).buffer == i) {
      head = static_cast<int64_t>(view.head(next_head++).length);
    }
    if (buffer.segment == 0) continue;
    references.push_back({.segment = view.segment(buffer.segment - 1).id,
                          .offset = static_cast<int64_t>(buffer.offset) + head,
                          .length = static_cast<int64_t>(buffer.length) - head});
  }
  Summary summary;
  summary.num_rows = view.num_rows();
  summary.num_columns = static_cast<int64_t>(view.columns().size());
  summary.num_arrays = static_cast<int64_t>(view.count(kNodesSection));
  summary.references = MergeReferences(std::move(references));
  summary.referenced_bytes = TotalBytes(summary.references);
  summary.inline_bytes = static_cast<int64_t>(view.count(kBodySection));
  return summary;
}

}  // namespace zerrow::sipc
