#include "sipc/array_rebase.h"

#include <algorithm>
#include <cstring>

namespace zerrow::sipc {
namespace {

template <typename T>
T LoadAt(const uint8_t* bytes, int64_t i) {
  T value;
  std::memcpy(&value, bytes + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// A new buffer whose i-th value is change(row, value) of the row begin + i.
template <typename T, typename Change>
arrow::Result<std::shared_ptr<arrow::Buffer>> Rewrite(const arrow::Buffer& from, Rows rows,
                                                      Change&& change) {
  ARROW_ASSIGN_OR_RAISE(
      std::shared_ptr<arrow::Buffer> to,
      arrow::AllocateBuffer((rows.end - rows.begin) * static_cast<int64_t>(sizeof(T))));
  auto* out = reinterpret_cast<T*>(to->mutable_data());
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    *out++ = change(row, LoadAt<T>(from.data(), row));
  }
  return to;
}

}  // namespace

arrow::Result<std::shared_ptr<arrow::Buffer>> RebaseOffsets(const arrow::ArrayData& data,
                                                            int64_t offset_bytes, Rows rows,
                                                            int64_t base) {
  auto change = [base](int64_t, auto offset) {
    return static_cast<decltype(offset)>(std::max<int64_t>(offset - base, 0));
  };
  const arrow::Buffer& offsets = *data.buffers[1];
  return offset_bytes == 4 ? Rewrite<int32_t>(offsets, rows, change)
                           : Rewrite<int64_t>(offsets, rows, change);
}

arrow::Result<std::shared_ptr<arrow::Buffer>> RebaseViews(const arrow::ArrayData& data, Rows rows,
                                                          const std::vector<int64_t>& bases) {
  const ViewRows views(data);
  return Rewrite<View>(*data.buffers[1], rows, [&](int64_t row, View view) {
    if (!views.PointsToBuffer(row, view)) return view;
    // Rows in front of the array's own are cut along, and were never checked.
    const auto buffer = static_cast<size_t>(view.buffer);
    if (view.buffer >= 0 && buffer < bases.size()) {
      view.offset = static_cast<int32_t>(std::max<int64_t>(view.offset - bases[buffer], 0));
    }
    return view;
  });
}

arrow::Result<std::shared_ptr<arrow::Buffer>> RebaseDenseUnion(const arrow::UnionType& type,
                                                               const arrow::ArrayData& data,
                                                               Rows rows,
                                                               const std::vector<int64_t>& bases) {
  const uint8_t* codes = data.buffers[1]->data();
  return Rewrite<int32_t>(*data.buffers[2], rows, [&](int64_t row, int32_t offset) {
    const auto code = static_cast<int8_t>(codes[row]);
    const int child = code < 0 ? -1 : type.child_ids()[static_cast<size_t>(code)];
    if (child < 0) return 0;  // in front of the array's own rows
    return static_cast<int32_t>(std::max<int64_t>(offset - bases[static_cast<size_t>(child)], 0));
  });
}

}  // namespace zerrow::sipc
