#include <arrow/array/array_base.h>
#include <arrow/buffer.h>
#include <arrow/type_traits.h>
#include <arrow/util/bit_util.h>

#include <algorithm>
#include <cstring>

#include "sipc/layout.h"
#include "sipc/testing/random_table.h"

namespace zerrow::sipc::testing {

using arrow::ArrayData;
using arrow::Type;

RandomTables::Buffer RandomTables::Bytes(int64_t size) {
  arrow::MemoryPool* pool =
      options_
          .pools[static_cast<size_t>(Between(0, static_cast<int64_t>(options_.pools.size()) - 1))];
  // Buffers often start in the middle of somebody else's memory.
  const int64_t before = OneIn(4) ? 64 * Between(0, 4) : 0;
  const int64_t after = OneIn(4) ? Between(0, 200) : 0;
  Buffer buffer = arrow::AllocateBuffer(before + size + after, pool).ValueOrDie();
  for (int64_t i = 0; i < buffer->size(); ++i) {
    buffer->mutable_data()[i] = static_cast<uint8_t>(random_());
  }
  if (before == 0 && after == 0) return buffer;
  if (before == 0 && OneIn(2)) return buffer;  // longer than its array needs
  return arrow::SliceMutableBuffer(buffer, before, size);
}

template <typename T>
RandomTables::Buffer RandomTables::Values(const std::vector<T>& values) {
  Buffer buffer = Bytes(static_cast<int64_t>(values.size() * sizeof(T)));
  if (!values.empty()) {
    std::memcpy(buffer->mutable_data(), values.data(), values.size() * sizeof(T));
  }
  return buffer;
}

RandomTables::Buffer RandomTables::Bitmap(int64_t length, int nulls_of_ten) {
  Buffer buffer = Bytes(arrow::bit_util::BytesForBits(length));
  for (int64_t i = 0; i < length; ++i) {
    arrow::bit_util::SetBitTo(buffer->mutable_data(), i, Between(1, 10) > nulls_of_ten);
  }
  return buffer;
}

RandomTables::Data RandomTables::Array(const std::shared_ptr<arrow::DataType>& type,
                                       int64_t length) {
  if (OneIn(4)) {
    for (const Data& made : made_) {
      // Arrow takes some types for equal that aren't (run-end encoded extension types).
      if (made->length >= length && made->type == type) {
        return made->Slice(Between(0, made->length - length), length);
      }
    }
  }
  if (OneIn(2)) return NewArray(type, length);
  const int64_t before = OneIn(6) ? Between(500, 1500) : Between(0, 20);
  Data parent = NewArray(type, before + length + Between(0, 20));
  if (before >= 8 && OneIn(3)) parent = CutAtStart(parent);
  made_.push_back(parent);
  return parent->Slice(std::min(before, parent->length - length), length);
}

// The same array without its first eight rows, by moving buffers' starts and not its offset, as
// tables do that come through Arrow's C interface.
RandomTables::Data RandomTables::CutAtStart(const Data& data) {
  const auto layout = LayoutOf(*data->type).ValueOrDie();
  const int64_t offset_bytes = OffsetBytes(layout.first);
  if (data->offset != 0 || (layout.first != LayoutKind::kFixed && offset_bytes == 0)) return data;
  auto cut = std::make_shared<ArrayData>(*data);
  if (cut->buffers[0]) cut->buffers[0] = arrow::SliceBuffer(cut->buffers[0], 1);
  const int64_t skip = layout.first == LayoutKind::kFixed ? layout.second : 8 * offset_bytes;
  cut->buffers[1] = arrow::SliceBuffer(cut->buffers[1], skip);
  if (layout.first == LayoutKind::kListView32 || layout.first == LayoutKind::kListView64) {
    cut->buffers[2] = arrow::SliceBuffer(cut->buffers[2], skip);
  }
  cut->length -= 8;
  cut->SetNullCount(arrow::kUnknownNullCount);
  return cut;
}

RandomTables::Data RandomTables::NewArray(const std::shared_ptr<arrow::DataType>& type,
                                          int64_t length) {
  Data data;
  const arrow::DataType& storage = StorageOf(*type);
  switch (LayoutOf(storage).ValueOrDie().first) {
    case LayoutKind::kNull:
      return ArrayData::Make(type, length, {nullptr}, length);
    case LayoutKind::kFixed:
      data = FixedArray(type, length);
      break;
    case LayoutKind::kBinary32:
      data = BinaryArray<int32_t>(type, length);
      break;
    case LayoutKind::kBinary64:
      data = BinaryArray<int64_t>(type, length);
      break;
    case LayoutKind::kView:
      data = ViewArray(type, length);
      break;
    case LayoutKind::kList32:
      data = ListArray<int32_t>(type, length);
      break;
    case LayoutKind::kList64:
      data = ListArray<int64_t>(type, length);
      break;
    case LayoutKind::kListView32:
      data = ListViewArray<int32_t>(type, length);
      break;
    case LayoutKind::kListView64:
      data = ListViewArray<int64_t>(type, length);
      break;
    case LayoutKind::kFixedSizeList:
    case LayoutKind::kStruct:
      data = StructArray(type, length);
      break;
    case LayoutKind::kSparseUnion:
    case LayoutKind::kDenseUnion:
      return UnionArray(type, length);
    case LayoutKind::kDictionary:
      data = DictionaryArray(type, length);
      break;
    case LayoutKind::kRunEndEncoded:
      return RunEndEncodedArray(type, length);
  }
  if (OneIn(2)) {
    data->buffers[0] = Bitmap(length, static_cast<int>(Between(0, 10)));
    data->SetNullCount(arrow::kUnknownNullCount);
    if (OneIn(2)) (void)data->GetNullCount();
  }
  return data;
}

RandomTables::Data RandomTables::ArrayWithoutNulls(const std::shared_ptr<arrow::DataType>& type,
                                                   int64_t length) {
  Data data = NewArray(type, length);
  data->buffers[0] = nullptr;
  data->SetNullCount(0);
  return data;
}

RandomTables::Data RandomTables::FixedArray(const std::shared_ptr<arrow::DataType>& type,
                                            int64_t length) {
  const arrow::DataType& storage = StorageOf(*type);
  const int64_t bits = LayoutOf(storage).ValueOrDie().second;
  Buffer values = Bytes(arrow::bit_util::BytesForBits(bits * length));
  const int64_t width = bits / 8;
  uint8_t* bytes = values->mutable_data();
  // Values of these types have rules, or aren't equal to themselves: small numbers always work.
  const bool is_small = arrow::is_decimal(storage.id()) || arrow::is_floating(storage.id()) ||
                        arrow::is_temporal(storage.id());
  for (int64_t i = 0; is_small && i < length; ++i) {
    std::memset(bytes + i * width, 0, static_cast<size_t>(width));
    int64_t value = Between(0, 100);
    if (storage.id() == Type::DATE64) value *= 86400000;
    std::memcpy(bytes + i * width, &value, static_cast<size_t>(std::min<int64_t>(width, 8)));
  }
  return ArrayData::Make(type, length, {nullptr, values}, 0);
}

// Ascending offsets of `length` rows into `limit` values, not always starting with the first.
template <typename Offset>
RandomTables::Buffer RandomTables::Offsets(int64_t length, int64_t limit) {
  std::vector<Offset> offsets(static_cast<size_t>(length) + 1);
  for (Offset& offset : offsets) offset = static_cast<Offset>(Between(0, limit));
  std::sort(offsets.begin(), offsets.end());
  if (OneIn(2)) offsets.front() = 0;
  return Values(offsets);
}

template <typename Offset>
RandomTables::Data RandomTables::BinaryArray(const std::shared_ptr<arrow::DataType>& type,
                                             int64_t length) {
  const int64_t limit = length * Between(0, 12);
  Buffer bytes = Bytes(limit);
  for (int64_t i = 0; i < bytes->size(); ++i) bytes->mutable_data()[i] &= 0x7f;  // as UTF-8 has it
  return ArrayData::Make(type, length, {nullptr, Offsets<Offset>(length, limit), bytes}, 0);
}

RandomTables::Data RandomTables::ViewArray(const std::shared_ptr<arrow::DataType>& type,
                                           int64_t length) {
  std::vector<Buffer> buffers = {nullptr, nullptr};
  const int64_t num_variadic = Between(0, 4);
  for (int64_t i = 0; i < num_variadic; ++i) {
    buffers.push_back(Bytes(Between(100, 5000)));
    uint8_t* bytes = buffers.back()->mutable_data();
    for (int64_t j = 0; j < buffers.back()->size(); ++j) bytes[j] &= 0x7f;
  }
  struct View {
    int32_t size;
    uint8_t rest[12];
  };
  std::vector<View> views(static_cast<size_t>(length));
  for (View& view : views) {
    view = {.size = static_cast<int32_t>(Between(0, num_variadic > 0 ? 60 : 12)), .rest = {}};
    if (view.size <= 12) {
      for (int32_t i = 0; i < view.size; ++i) view.rest[i] = static_cast<uint8_t>('a' + i);
      continue;
    }
    const auto buffer = static_cast<int32_t>(Between(0, num_variadic - 1));
    const auto& bytes = buffers[static_cast<size_t>(buffer) + 2];
    const auto offset = static_cast<int32_t>(Between(0, bytes->size() - view.size));
    std::memcpy(view.rest, bytes->data() + offset, 4);
    std::memcpy(view.rest + 4, &buffer, 4);
    std::memcpy(view.rest + 8, &offset, 4);
  }
  buffers[1] = Values(views);
  return ArrayData::Make(type, length, buffers, 0);
}

template <typename Offset>
RandomTables::Data RandomTables::ListArray(const std::shared_ptr<arrow::DataType>& type,
                                           int64_t length) {
  const arrow::DataType& storage = StorageOf(*type);
  const int64_t limit = Between(0, 2) * length;
  Data values;
  if (storage.id() == Type::MAP) {
    // Neither entries nor keys may be null.
    const auto& entries = storage.field(0)->type();
    values = ArrayData::Make(entries, limit, {nullptr},
                             {ArrayWithoutNulls(entries->field(0)->type(), limit),
                              Array(entries->field(1)->type(), limit)},
                             0);
  } else {
    values = Array(storage.field(0)->type(), limit);
  }
  return ArrayData::Make(type, length, {nullptr, Offsets<Offset>(length, limit)}, {values}, 0);
}

template <typename Offset>
RandomTables::Data RandomTables::ListViewArray(const std::shared_ptr<arrow::DataType>& type,
                                               int64_t length) {
  const int64_t limit = Between(0, 2) * length;
  std::vector<Offset> offsets, sizes;
  for (int64_t i = 0; i < length; ++i) {
    const int64_t size = Between(0, std::min<int64_t>(limit, 5));
    sizes.push_back(static_cast<Offset>(size));
    offsets.push_back(static_cast<Offset>(Between(0, limit - size)));
  }
  Data values = Array(StorageOf(*type).field(0)->type(), limit);
  return ArrayData::Make(type, length, {nullptr, Values(offsets), Values(sizes)}, {values}, 0);
}

RandomTables::Data RandomTables::StructArray(const std::shared_ptr<arrow::DataType>& type,
                                             int64_t length) {
  const arrow::DataType& storage = StorageOf(*type);
  int64_t child_length = length;
  if (storage.id() == Type::FIXED_SIZE_LIST) {
    child_length *= static_cast<const arrow::FixedSizeListType&>(storage).list_size();
  }
  arrow::ArrayDataVector children;
  for (const auto& field : storage.fields()) {
    // Fixed-size lists and structs may have children that are longer than they need.
    children.push_back(Array(field->type(), child_length + (OneIn(4) ? Between(0, 9) : 0)));
  }
  return ArrayData::Make(type, length, {nullptr}, children, 0);
}

RandomTables::Data RandomTables::UnionArray(const std::shared_ptr<arrow::DataType>& type,
                                            int64_t length) {
  const auto& storage = static_cast<const arrow::UnionType&>(StorageOf(*type));
  const bool is_dense = storage.id() == Type::DENSE_UNION;
  std::vector<int8_t> codes;
  std::vector<int32_t> offsets;
  std::vector<int32_t> lengths(static_cast<size_t>(storage.num_fields()));
  for (int64_t i = 0; i < length; ++i) {
    const auto child = static_cast<size_t>(Between(0, storage.num_fields() - 1));
    codes.push_back(storage.type_codes()[child]);
    offsets.push_back(lengths[child]++);
  }
  arrow::ArrayDataVector children;
  for (int i = 0; i < storage.num_fields(); ++i) {
    children.push_back(
        Array(storage.field(i)->type(), is_dense ? lengths[static_cast<size_t>(i)] : length));
  }
  std::vector<Buffer> buffers = {nullptr, Values(codes)};
  if (is_dense) buffers.push_back(Values(offsets));
  return ArrayData::Make(type, length, buffers, children, 0);
}

RandomTables::Data RandomTables::DictionaryArray(const std::shared_ptr<arrow::DataType>& type,
                                                 int64_t length) {
  const auto& storage = static_cast<const arrow::DictionaryType&>(StorageOf(*type));
  Data dictionary;
  for (const Data& made : dictionaries_) {
    if (made->type == storage.value_type() && !OneIn(4)) dictionary = made;
  }
  if (!dictionary) {
    dictionary = Array(storage.value_type(), Between(1, 100));
    dictionaries_.push_back(dictionary);
  }
  const int64_t width = storage.bit_width() / 8;
  Buffer indices = Bytes(width * length);
  for (int64_t i = 0; i < length; ++i) {
    const int64_t index = Between(0, dictionary->length - 1);
    std::memcpy(indices->mutable_data() + i * width, &index, static_cast<size_t>(width));
  }
  return ArrayData::Make(type, length, {nullptr, indices}, {}, dictionary, 0);
}

RandomTables::Data RandomTables::RunEndEncodedArray(const std::shared_ptr<arrow::DataType>& type,
                                                    int64_t length) {
  const auto& storage = static_cast<const arrow::RunEndEncodedType&>(StorageOf(*type));
  std::vector<int64_t> ends;
  for (int64_t end = 0; end < length;) ends.push_back(end += Between(1, 9));
  const auto runs = static_cast<int64_t>(ends.size());
  const int64_t width = storage.run_end_type()->bit_width() / 8;
  Buffer bytes = Bytes(runs * width);
  for (int64_t i = 0; i < runs; ++i) {
    std::memcpy(bytes->mutable_data() + i * width, &ends[static_cast<size_t>(i)],
                static_cast<size_t>(width));
  }
  Data run_ends = ArrayData::Make(storage.run_end_type(), runs, {nullptr, bytes}, 0);
  return ArrayData::Make(type, length, {nullptr}, {run_ends, Array(storage.value_type(), runs)}, 0);
}

}  // namespace zerrow::sipc::testing
