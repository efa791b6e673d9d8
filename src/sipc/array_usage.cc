#include "sipc/array_usage.h"

#include <arrow/type.h>
#include <arrow/util/bit_util.h>

#include <algorithm>
#include <cstring>

namespace zerrow::sipc {
namespace {

using arrow::Status;

// The buffer's values, of which there must be `count`; unaligned ones can't be pointed at.
template <typename T>
class Values {
 public:
  static arrow::Result<Values> Of(const arrow::ArrayData& data, size_t buffer, int64_t count) {
    const arrow::Buffer* bytes =
        buffer < data.buffers.size() ? data.buffers[buffer].get() : nullptr;
    if (bytes == nullptr || !bytes->is_cpu() ||
        bytes->size() / static_cast<int64_t>(sizeof(T)) < count) {
      return Status::Invalid("a buffer of ", data.type->ToString(), " is too short for its array");
    }
    return Values(bytes->data());
  }

  T operator[](int64_t i) const {
    T value;
    std::memcpy(&value, bytes_ + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    return value;
  }

 private:
  explicit Values(const uint8_t* bytes) : bytes_(bytes) {}
  const uint8_t* bytes_;
};

template <typename T>
arrow::Result<Extent> ReadOffsets(const arrow::ArrayData& data, Rows rows) {
  ARROW_ASSIGN_OR_RAISE(auto offsets, Values<T>::Of(data, 1, rows.end + 1));
  const Extent extent = {offsets[rows.begin], offsets[rows.end]};
  if (extent.begin < 0 || extent.begin > extent.end) {
    return Status::Invalid("offsets of ", data.type->ToString(), " are out of order");
  }
  return extent;
}

template <typename T>
arrow::Result<Extent> ReadListViews(const arrow::ArrayData& data, Rows rows) {
  ARROW_ASSIGN_OR_RAISE(auto offsets, Values<T>::Of(data, 1, rows.end));
  ARROW_ASSIGN_OR_RAISE(auto sizes, Values<T>::Of(data, 2, rows.end));
  Extent extent;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t offset = offsets[i], size = sizes[i];
    if (offset < 0 || size < 0 || offset > INT64_MAX - size) {
      return Status::Invalid("a list view is out of bounds");
    }
    if (size > 0) extent.begin = std::min(extent.begin, offset);
    extent.end = std::max(extent.end, offset + size);
  }
  extent.begin = std::min(extent.begin, extent.end);
  return extent;
}

template <typename T>
arrow::Result<Extent> FindRuns(const arrow::ArrayData& data, Rows rows) {
  const arrow::ArrayData& ends = *data.child_data[0];
  if (ends.offset < 0 || ends.length < 0 || ends.offset > INT64_MAX - 1 - ends.length) {
    return Status::Invalid("run ends have a bad length or offset");
  }
  ARROW_ASSIGN_OR_RAISE(auto values, Values<T>::Of(ends, 1, ends.offset + ends.length));
  // The first run that ends behind `row`.
  auto find = [&](int64_t row) {
    int64_t low = 0, high = ends.length;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (static_cast<int64_t>(values[ends.offset + middle]) > row) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  };
  const Extent runs = {find(rows.begin), find(rows.end - 1) + 1};
  if (runs.end > ends.length) return Status::Invalid("run ends don't reach the array's end");
  if (runs.empty()) return Status::Invalid("run ends are out of order");
  return runs;
}

}  // namespace

void Extent::Include(int64_t from, int64_t to) {
  begin = std::min(begin, from);
  end = std::max(end, to);
}

ViewRows::ViewRows(const arrow::ArrayData& data) {
  if (data.buffers[0] && data.null_count.load() != 0) validity_ = data.buffers[0]->data();
}

bool ViewRows::PointsToBuffer(int64_t row, const View& view) const {
  constexpr int32_t kMaxInlineSize = 12;
  return view.size > kMaxInlineSize &&
         (validity_ == nullptr || arrow::bit_util::GetBit(validity_, row));
}

arrow::Result<Extent> UsedByOffsets(const arrow::ArrayData& data, int64_t offset_bytes, Rows rows) {
  return offset_bytes == 4 ? ReadOffsets<int32_t>(data, rows) : ReadOffsets<int64_t>(data, rows);
}

arrow::Result<Extent> UsedByListViews(const arrow::ArrayData& data, int64_t offset_bytes,
                                      Rows rows) {
  return offset_bytes == 4 ? ReadListViews<int32_t>(data, rows)
                           : ReadListViews<int64_t>(data, rows);
}

arrow::Result<std::vector<Extent>> UsedByViews(const arrow::ArrayData& data, Rows rows) {
  std::vector<Extent> extents(data.buffers.size() - 2);
  ARROW_ASSIGN_OR_RAISE(auto views, Values<View>::Of(data, 1, rows.end));
  if (data.buffers[0] && data.null_count.load() != 0) {
    ARROW_RETURN_NOT_OK(Values<uint8_t>::Of(data, 0, rows.end / 8 + (rows.end % 8 != 0)));
  }
  const ViewRows which(data);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const View view = views[i];
    if (!which.PointsToBuffer(i, view)) continue;
    if (view.buffer < 0 || static_cast<size_t>(view.buffer) >= extents.size() || view.offset < 0) {
      return Status::Invalid("a view of ", data.type->ToString(), " points outside its buffers");
    }
    extents[view.buffer].Include(view.offset, int64_t{view.offset} + view.size);
  }
  return extents;
}

arrow::Result<std::vector<Extent>> UsedByDenseUnion(const arrow::UnionType& type,
                                                    const arrow::ArrayData& data, Rows rows) {
  std::vector<Extent> extents(data.child_data.size());
  ARROW_ASSIGN_OR_RAISE(auto codes, Values<int8_t>::Of(data, 1, rows.end));
  ARROW_ASSIGN_OR_RAISE(auto offsets, Values<int32_t>::Of(data, 2, rows.end));
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int8_t code = codes[i];
    const int child = code < 0 ? -1 : type.child_ids()[static_cast<size_t>(code)];
    if (child < 0 || offsets[i] < 0) return Status::Invalid("a dense union's row is malformed");
    extents[static_cast<size_t>(child)].Include(offsets[i], int64_t{offsets[i]} + 1);
  }
  for (Extent& extent : extents) extent.begin = std::min(extent.begin, extent.end);
  return extents;
}

arrow::Result<Extent> UsedRuns(const arrow::ArrayData& data, Rows rows) {
  switch (data.child_data[0]->type->id()) {
    case arrow::Type::INT16:
      return FindRuns<int16_t>(data, rows);
    case arrow::Type::INT32:
      return FindRuns<int32_t>(data, rows);
    case arrow::Type::INT64:
      return FindRuns<int64_t>(data, rows);
    default:
      return Status::Invalid("run ends of type ", data.child_data[0]->type->ToString());
  }
}

}  // namespace zerrow::sipc
