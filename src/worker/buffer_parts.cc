#include "worker/buffer_parts.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "sipc/layout.h"

namespace zerrow::worker {

namespace {

using sipc::LayoutKind;

class Parts {
 public:
  explicit Parts(const arrow::ArrayData& data) : data_(data) {}

  /// Rows of `bits` bits each, `extra_rows` more than the array has.
  void AddRows(size_t buffer, int64_t bits, int64_t extra_rows = 0) {
    int64_t first = 0;
    int64_t count = 0;
    if (__builtin_mul_overflow(data_.offset, bits, &first) ||
        __builtin_mul_overflow(data_.length + extra_rows, bits, &count) || first % 8 != 0) {
      return;
    }
    const int64_t width = std::max<int64_t>(bits / 8, 1);
    AddBytes(buffer, first / 8, {count / 8, static_cast<int>(count % 8)}, width & -width);
  }

  void AddBytes(size_t buffer, int64_t begin, PartSize size, int64_t alignment = 1) {
    if (buffer >= data_.buffers.size() || data_.buffers[buffer] == nullptr) return;
    const arrow::Buffer& memory = *data_.buffers[buffer];
    if (!memory.is_cpu() || begin < 0 || size.bytes < 0 || begin > memory.size() ||
        size.bytes + (size.bits > 0) > memory.size() - begin) {
      return;
    }
    parts_.push_back({buffer, begin, size, alignment});
  }

  /// Text: its offsets and what they span.
  template <typename Offset>
  void AddText() {
    const size_t before = parts_.size();
    AddRows(1, 8 * sizeof(Offset), 1);
    if (parts_.size() == before) return;
    const BufferPart& offsets = parts_.back();
    const uint8_t* first = data_.buffers[1]->data() + offsets.begin;
    Offset begin = 0;
    Offset end = 0;
    std::memcpy(&begin, first, sizeof(Offset));
    std::memcpy(&end, first + data_.length * static_cast<int64_t>(sizeof(Offset)), sizeof(Offset));
    if (begin <= end) AddBytes(2, begin, {end - begin, 0});
  }

  void AddViews() {
    AddRows(1, 128);
    for (size_t i = 2; i < data_.buffers.size(); ++i) {
      if (data_.buffers[i] != nullptr) AddBytes(i, 0, {data_.buffers[i]->size(), 0});
    }
  }

  std::vector<BufferPart> Take() { return std::move(parts_); }

 private:
  const arrow::ArrayData& data_;
  std::vector<BufferPart> parts_;
};

}  // namespace

std::vector<BufferPart> BufferPartsOf(const arrow::ArrayData& data) {
  const auto layout = sipc::LayoutOf(sipc::StorageOf(*data.type));
  if (!layout.ok() || data.length <= 0 || data.offset < 0) return {};
  const auto [kind, parameter] = *layout;
  const int64_t offset_bits = 8 * sipc::OffsetBytes(kind);
  Parts parts(data);
  // Unions have no validity bitmap, and their first buffer is null.
  parts.AddRows(0, 1);
  switch (kind) {
    case LayoutKind::kFixed:
    case LayoutKind::kDictionary:
      parts.AddRows(1, parameter);
      break;
    case LayoutKind::kBinary32:
      parts.AddText<int32_t>();
      break;
    case LayoutKind::kBinary64:
      parts.AddText<int64_t>();
      break;
    case LayoutKind::kView:
      parts.AddViews();
      break;
    case LayoutKind::kList32:
    case LayoutKind::kList64:
      parts.AddRows(1, offset_bits, 1);
      break;
    case LayoutKind::kListView32:
    case LayoutKind::kListView64:
      parts.AddRows(1, offset_bits);
      parts.AddRows(2, offset_bits);
      break;
    case LayoutKind::kDenseUnion:
      parts.AddRows(2, 32);
      [[fallthrough]];
    case LayoutKind::kSparseUnion:
      parts.AddRows(1, 8);
      break;
    case LayoutKind::kNull:
    case LayoutKind::kFixedSizeList:
    case LayoutKind::kStruct:
    case LayoutKind::kRunEndEncoded:
      break;
  }
  return parts.Take();
}

}  // namespace zerrow::worker
