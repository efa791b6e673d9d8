#include "sipc/array_encoder.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "sipc/array_usage.h"

namespace zerrow::sipc {
namespace {

using arrow::ArrayData;
using arrow::Status;

// Buffers are cut at multiples of this many rows: so bitmaps are cut between bytes, and everything
// keeps the alignment of 64 bytes that it had.
constexpr int64_t kCutRows = 512;

// A buffer may be this much longer than its array before it is taken for a parent's.
constexpr int64_t kPaddingBytes = 64;

// Bytes of `rows` values, or the maximum, which no buffer has.
int64_t BytesFor(int64_t rows, int64_t bits) {
  int64_t total = 0;
  if (__builtin_mul_overflow(rows, bits, &total)) return std::numeric_limits<int64_t>::max();
  return total / 8 + (total % 8 != 0);
}

const arrow::Buffer* BufferOf(const ArrayData& data, size_t i) {
  return i < data.buffers.size() ? data.buffers[i].get() : nullptr;
}

bool HasValidity(LayoutKind kind) {
  return kind != LayoutKind::kNull && kind != LayoutKind::kSparseUnion &&
         kind != LayoutKind::kDenseUnion && kind != LayoutKind::kRunEndEncoded;
}

// True if the array uses but a part of the buffer, one of whose values belongs to each row.
bool IsPartOf(const arrow::Buffer* buffer, int64_t first_row, int64_t end_row, int64_t width) {
  return first_row > 0 || buffer == nullptr ||
         buffer->size() - kPaddingBytes > BytesFor(end_row, 8 * width);
}

// Everything by which a dictionary's values can be told to be the same memory.
void AppendMemory(const ArrayData& data, std::vector<uint64_t>* key) {
  key->push_back(static_cast<uint64_t>(data.length));
  key->push_back(static_cast<uint64_t>(data.offset));
  key->push_back(data.buffers.size());
  for (const auto& buffer : data.buffers) {
    key->push_back(buffer ? buffer->address() : 0);
    key->push_back(buffer ? static_cast<uint64_t>(buffer->size()) : 0);
  }
  key->push_back(data.child_data.size());
  for (const auto& child : data.child_data) AppendMemory(*child, key);
  if (data.dictionary) AppendMemory(*data.dictionary, key);
}

}  // namespace

void ArrayEncoder::Reserve(const std::vector<ColumnRecord>& columns) {
  uint64_t num_nodes = 0, num_slots = 0;
  for (const ColumnRecord& column : columns) {
    const LayoutSize size = layouts_.size(column.layout);
    num_nodes += size.nodes * column.num_chunks;
    num_slots += size.slots * column.num_chunks;
  }
  // Types that repeat themselves can be larger than any table of them will be.
  constexpr uint64_t kMost = 1 << 24;
  nodes_.reserve(std::min(num_nodes, kMost));
  slots_.reserve(std::min(num_slots, kMost));
  buffers_.Reserve(std::min(num_slots, kMost));
}

Status ArrayEncoder::Add(const arrow::DataType& type, uint32_t layout, const ArrayData& data) {
  return AddRows(type, layout, data, {data.offset, data.offset + data.length, data.offset});
}

Status ArrayEncoder::AddDictionaries() {
  // Dictionaries of dictionaries are found, and appended, on the way.
  for (size_t i = 0; i < dictionaries_.size(); ++i) {
    const Dictionary dictionary = dictionaries_[i];
    ARROW_RETURN_NOT_OK(Add(*dictionary.type, dictionary_layouts_[i], *dictionary.values));
  }
  return Status::OK();
}

Status ArrayEncoder::AddRows(const arrow::DataType& type, uint32_t layout, const ArrayData& data,
                             Window rows) {
  if (data.length < 0 || data.offset < 0 ||
      data.offset > std::numeric_limits<int64_t>::max() - data.length) {
    return Status::Invalid("an array of ", type.ToString(), " has a bad length or offset");
  }
  if (rows.end > data.offset + data.length) {
    return Status::Invalid("an array of ", type.ToString(), " is shorter than its parent needs");
  }
  const LayoutRecord& record = layouts_.records()[layout];
  const auto kind = static_cast<LayoutKind>(record.kind);
  if (kind != LayoutKind::kDictionary && data.child_data.size() != record.num_children) {
    return Status::Invalid("an array of ", type.ToString(), " has the wrong number of children");
  }
  const int64_t length = rows.end - rows.first;
  if (length == 0) rows.first = rows.end = rows.used = 0;  // no buffers either: any rows will do
  int64_t start = rows.first - rows.first % kCutRows;
  if (kind == LayoutKind::kRunEndEncoded) start = 0;  // run ends count rows from the parent's start
  // Rows that are not used may come to be zeros, which isn't a union's type.
  if (kind == LayoutKind::kDenseUnion) rows.used = rows.first;
  NodeRecord node = {length, kind == LayoutKind::kNull ? 0 : rows.first - start, 0};
  if (kind == LayoutKind::kNull) node.null_count = length;
  if (HasValidity(kind) && length > 0 && BufferOf(data, 0) != nullptr) {
    const int64_t known = data.null_count.load();
    if (known > data.length) return Status::Invalid("an array has more nulls than rows");
    node.null_count = known == 0 || length == data.length ? std::max<int64_t>(known, -1) : -1;
  }
  nodes_.push_back(node);
  return AddBuffersAndChildren(Item{StorageOf(type), record, kind, data, rows, start});
}

Status ArrayEncoder::AddBuffersAndChildren(const Item& item) {
  if (HasValidity(item.kind)) ARROW_RETURN_NOT_OK(AddValidity(item));
  switch (item.kind) {
    case LayoutKind::kNull:
      return Status::OK();
    case LayoutKind::kFixed:
      return AddValues(item, 1, item.layout.parameter);
    case LayoutKind::kBinary32:
    case LayoutKind::kBinary64:
      return AddBinary(item);
    case LayoutKind::kView:
      return AddView(item);
    case LayoutKind::kList32:
    case LayoutKind::kList64:
      return AddList(item);
    case LayoutKind::kListView32:
    case LayoutKind::kListView64:
      return AddListView(item);
    case LayoutKind::kFixedSizeList:
      return AddChildRows(item, item.layout.parameter);
    case LayoutKind::kStruct:
      return AddChildRows(item, 1);
    case LayoutKind::kSparseUnion:
      ARROW_RETURN_NOT_OK(AddStructure(item, 1, 8));
      return AddChildRows(item, 1);
    case LayoutKind::kDenseUnion:
      return AddDenseUnion(item);
    case LayoutKind::kDictionary:
      return AddDictionary(item);
    case LayoutKind::kRunEndEncoded:
      return AddRunEndEncoded(item);
  }
  return Status::OK();
}

// `rows` counts from the child's own offset.
Status ArrayEncoder::AddChild(const Item& item, uint32_t i, Window rows) {
  const arrow::DataType& type = *item.type.field(static_cast<int>(i))->type();
  const ArrayData& child = *item.data.child_data[i];
  const uint32_t layout = layouts_.children()[item.layout.first_child + i];
  if (child.offset < 0 || rows.end > std::numeric_limits<int64_t>::max() - child.offset) {
    return Status::Invalid("an array of ", type.ToString(), " has a bad offset");
  }
  return AddRows(type, layout, child,
                 {rows.first + child.offset, rows.end + child.offset, rows.used + child.offset});
}

// Children of which each row has the same number of rows, found by counting.
Status ArrayEncoder::AddChildRows(const Item& item, int64_t rows_per_row) {
  Window rows = {item.start, item.rows.end, item.rows.used};
  for (int64_t* row : {&rows.first, &rows.end, &rows.used}) {
    if (__builtin_mul_overflow(*row, rows_per_row, row)) {
      return Status::Invalid("an array of ", item.type.ToString(), " is too long");
    }
  }
  for (uint32_t i = 0; i < item.layout.num_children; ++i) {
    ARROW_RETURN_NOT_OK(AddChild(item, i, rows));
  }
  return Status::OK();
}

Status ArrayEncoder::AddSlot(const BufferTable::Range& range) {
  ARROW_ASSIGN_OR_RAISE(uint32_t index, buffers_.Add(range));
  slots_.push_back(index);
  return Status::OK();
}

Status ArrayEncoder::AddValidity(const Item& item) {
  if (nodes_.back().null_count != 0) return AddStructure(item, 0, 1);
  slots_.push_back(kNone);
  return Status::OK();
}

// A buffer with values of `bits` bits. Those of unused rows may become zeros: that is a value too.
Status ArrayEncoder::AddValues(const Item& item, size_t buffer, int64_t bits) {
  return AddFixed(item, buffer, bits, item.rows.end, bits < 8 ? item.start : item.rows.used);
}

// A buffer of offsets, type ids or bits that must stay as they are where rows aren't used: zeros
// in between would be offsets out of order, types that a union doesn't have or forbidden nulls.
Status ArrayEncoder::AddStructure(const Item& item, size_t buffer, int64_t bits,
                                  int64_t extra_rows) {
  return AddFixed(item, buffer, bits, item.rows.end + extra_rows, item.start);
}

Status ArrayEncoder::AddFixed(const Item& item, size_t buffer, int64_t bits, int64_t end_row,
                              int64_t used_row) {
  if (item.rows.first == item.rows.end) {
    slots_.push_back(kNone);
    return Status::OK();
  }
  const int64_t end = BytesFor(end_row, bits);
  const arrow::Buffer* bytes = BufferOf(item.data, buffer);
  if (bytes == nullptr && end > 0) {
    return Status::Invalid("an array of ", item.type.ToString(), " has no values");
  }
  // What is below `end` can't overflow once that didn't, and Add refuses it if it did.
  return AddSlot({bytes, BytesFor(item.start, bits), end, BytesFor(used_row, bits)});
}

Status ArrayEncoder::AddBinary(const Item& item) {
  const int64_t width = OffsetBytes(item.kind);
  ARROW_RETURN_NOT_OK(AddStructure(item, 1, 8 * width, 1));
  if (item.rows.first == item.rows.end) {
    slots_.push_back(kNone);
    return Status::OK();
  }
  ARROW_ASSIGN_OR_RAISE(Extent used,
                        UsedByOffsets(item.data, width, {item.rows.used, item.rows.end}));
  const arrow::Buffer* bytes = BufferOf(item.data, 2);
  if (bytes == nullptr && used.end > 0) return Status::Invalid("an array of text has no data");
  return AddSlot({bytes, 0, used.end, used.begin});
}

Status ArrayEncoder::AddList(const Item& item) {
  const int64_t width = OffsetBytes(item.kind);
  ARROW_RETURN_NOT_OK(AddStructure(item, 1, 8 * width, 1));
  if (item.rows.first == item.rows.end) return AddChild(item, 0, {0, 0, 0});
  ARROW_ASSIGN_OR_RAISE(Extent used,
                        UsedByOffsets(item.data, width, {item.rows.used, item.rows.end}));
  return AddChild(item, 0, {0, used.end, used.begin});
}

Status ArrayEncoder::AddListView(const Item& item) {
  const int64_t width = OffsetBytes(item.kind);
  ARROW_RETURN_NOT_OK(AddStructure(item, 1, 8 * width));
  ARROW_RETURN_NOT_OK(AddStructure(item, 2, 8 * width));
  const Window& rows = item.rows;
  if (rows.first == rows.end) return AddChild(item, 0, {0, 0, 0});
  // Unused rows may refer to anything, so all of it has to stay.
  if (rows.used > rows.first || !IsPartOf(BufferOf(item.data, 1), rows.first, rows.end, width)) {
    return AddChild(item, 0, {0, item.data.child_data[0]->length, 0});
  }
  ARROW_ASSIGN_OR_RAISE(Extent used, UsedByListViews(item.data, width, {rows.first, rows.end}));
  return AddChild(item, 0, {0, used.end, used.begin});
}

Status ArrayEncoder::AddView(const Item& item) {
  ARROW_RETURN_NOT_OK(AddValues(item, 1, 128));
  slots_.push_back(static_cast<uint32_t>(lists_.size()));
  const Window& rows = item.rows;
  const auto& buffers = item.data.buffers;
  const size_t num_variadic = rows.first == rows.end || buffers.size() < 2 ? 0 : buffers.size() - 2;
  lists_.push_back(static_cast<uint32_t>(num_variadic));
  if (num_variadic == 0) return Status::OK();
  bool scan = IsPartOf(BufferOf(item.data, 1), rows.first, rows.end, 16);
  for (size_t i = 0; i < num_variadic; ++i) {
    if (!buffers[i + 2]) return Status::Invalid("an array of views lacks a buffer");
    scan = scan || buffers_.WouldCopy(*buffers[i + 2]);
  }
  // Unused rows may refer to anything too. If they are many, rather keep all than read them all.
  scan = scan && rows.used - rows.first < kCutRows;
  std::vector<Extent> used;
  if (scan) {
    ARROW_ASSIGN_OR_RAISE(used, UsedByViews(item.data, {rows.first, rows.end}));
  }
  for (size_t i = 0; i < num_variadic; ++i) {
    const arrow::Buffer* bytes = buffers[i + 2].get();
    BufferTable::Range range = {bytes, 0, bytes->size(), 0};
    if (scan) range = {bytes, 0, used[i].end, std::min(used[i].begin, used[i].end)};
    ARROW_ASSIGN_OR_RAISE(uint32_t index, buffers_.AddShared(range));
    lists_.push_back(index);
  }
  return Status::OK();
}

Status ArrayEncoder::AddDenseUnion(const Item& item) {
  ARROW_RETURN_NOT_OK(AddStructure(item, 1, 8));
  ARROW_RETURN_NOT_OK(AddStructure(item, 2, 32));
  const Window& rows = item.rows;
  const auto& children = item.data.child_data;
  const bool is_empty = rows.first == rows.end;
  std::vector<Extent> used(children.size());
  if (!is_empty && IsPartOf(BufferOf(item.data, 1), rows.first, rows.end, 1)) {
    const auto& type = static_cast<const arrow::UnionType&>(item.type);
    ARROW_ASSIGN_OR_RAISE(used, UsedByDenseUnion(type, item.data, {rows.first, rows.end}));
  } else if (!is_empty) {
    for (size_t i = 0; i < used.size(); ++i) used[i] = {0, children[i]->length};
  }
  for (uint32_t i = 0; i < item.layout.num_children; ++i) {
    ARROW_RETURN_NOT_OK(AddChild(item, i, {0, used[i].end, std::min(used[i].begin, used[i].end)}));
  }
  return Status::OK();
}

Status ArrayEncoder::AddDictionary(const Item& item) {
  ARROW_RETURN_NOT_OK(AddValues(item, 1, item.layout.parameter));
  if (!item.data.dictionary)
    return Status::Invalid("an array of ", item.type.ToString(), " has no dictionary");
  const auto& type = static_cast<const arrow::DictionaryType&>(item.type);
  const uint32_t layout = layouts_.children()[item.layout.first_child];
  ARROW_ASSIGN_OR_RAISE(uint32_t index,
                        FindDictionary(*type.value_type(), layout, item.data.dictionary));
  slots_.push_back(index);
  return Status::OK();
}

arrow::Result<uint32_t> ArrayEncoder::FindDictionary(const arrow::DataType& type, uint32_t layout,
                                                     const std::shared_ptr<ArrayData>& values) {
  auto is_of_type = [&](const auto& entry) {
    const arrow::DataType* known = dictionaries_[entry.second].type;
    if (dictionary_layouts_[entry.second] != layout) return false;
    return known == &type || known->Equals(type, /*check_metadata=*/true);
  };
  auto [same, same_end] = dictionary_by_array_.equal_range(values.get());
  same = std::find_if(same, same_end, is_of_type);
  if (same != same_end) return same->second;

  // The same memory may come in other ArrayData objects: a table that crossed a C interface has
  // one for every chunk.
  std::vector<uint64_t> memory;
  AppendMemory(*values, &memory);
  auto [alike, alike_end] = dictionary_by_memory_.equal_range(memory);
  alike = std::find_if(alike, alike_end, is_of_type);
  uint32_t index = static_cast<uint32_t>(dictionaries_.size());
  if (alike != alike_end) {
    index = alike->second;
  } else {
    dictionaries_.push_back({&type, values.get()});
    dictionary_layouts_.push_back(layout);
    dictionary_by_memory_.emplace(std::move(memory), index);
  }
  dictionary_by_array_.emplace(values.get(), index);
  return index;
}

Status ArrayEncoder::AddRunEndEncoded(const Item& item) {
  const Window& rows = item.rows;
  Extent runs = {0, 0};
  if (rows.first < rows.end) {
    // Even if none is used, there are rows, and they need a run.
    const int64_t used = std::min(rows.used, rows.end - 1);
    ARROW_ASSIGN_OR_RAISE(runs, UsedRuns(item.data, {used, rows.end}));
  }
  ARROW_RETURN_NOT_OK(AddChild(item, 0, {runs.begin, runs.end, runs.begin}));
  return AddChild(item, 1, {runs.begin, runs.end, runs.begin});
}

}  // namespace zerrow::sipc
