#include "worker/operators/view_parts.h"

#include <arrow/array/data.h>
#include <arrow/buffer.h>
#include <arrow/type.h>
#include <arrow/util/binary_view_util.h>

#include <cstring>
#include <utility>

namespace zerrow::worker {

namespace {

using View = arrow::BinaryViewType::c_type;

int64_t SizeAt(const int64_t* offsets, int64_t i) { return offsets[i + 1] - offsets[i]; }

}  // namespace

arrow::Result<DataPtr> ViewParts(const DataPtr& views, const arrow::ArrayData& rests,
                                 const arrow::ArrayData& parts) {
  const int64_t offset = views->offset;
  const int64_t bytes = (offset + views->length) * static_cast<int64_t>(sizeof(View));
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> buffer, arrow::AllocateBuffer(bytes));
  std::memset(buffer->mutable_data(), 0, static_cast<size_t>(offset) * sizeof(View));
  auto* out = buffer->mutable_data_as<View>() + offset;
  const auto* given = views->GetValues<View>(1);
  const std::shared_ptr<arrow::Buffer>* texts = views->buffers.data() + 2;
  const auto* rest_offsets = rests.GetValues<int64_t>(1);
  const auto* part_offsets = parts.GetValues<int64_t>(1);
  bool points_to_text = false;
  for (int64_t i = 0; i < views->length; ++i) {
    out[i] = View{};
    if (views->IsNull(i)) continue;
    const auto whole = arrow::util::FromBinaryView(given[i], texts);
    const auto begin = std::ssize(whole) - SizeAt(rest_offsets, i);
    const auto part =
        whole.substr(static_cast<size_t>(begin), static_cast<size_t>(SizeAt(part_offsets, i)));
    if (part.size() <= arrow::BinaryViewType::kInlineSize) {
      out[i] = arrow::util::ToInlineBinaryView(part);
    } else {
      const auto& ref = given[i].ref;
      out[i] = arrow::util::ToNonInlineBinaryView(part.data(), static_cast<int32_t>(part.size()),
                                                  ref.buffer_index,
                                                  ref.offset + static_cast<int32_t>(begin));
      points_to_text = true;
    }
  }
  DataPtr result = views->Copy();
  result->buffers[1] = std::move(buffer);
  if (!points_to_text) result->buffers.resize(2);
  return result;
}

}  // namespace zerrow::worker
