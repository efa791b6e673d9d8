#include "sipc/array_encoder.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "sipc/array_rebase.h"

namespace zerrow::sipc {
namespace {

using arrow::ArrayData;
using arrow::Status;

// Buffers are cut at multiples of this many rows: so bitmaps keep the alignment of 8 bytes that
// they had, and all else that of 64.
constexpr int64_t kCutRows = 64;

// Rows that are cut off a child in front of its first used one: so many that its offset stays what
// it is, mostly 0. Arrow's maps don't look at that of their entries (MapArray::keys), and others
// refuse one below a list.
constexpr int64_t WholeCuts(int64_t rows) { return rows - rows % kCutRows; }

// As many rows in front of a slice, which only keep the place of others, are read to find out what
// they refer to; of an array with more of them everything is kept.
constexpr int64_t kMaxReadUnused = 1024;

// A buffer may be this much longer than its array before it is taken for a parent's.
constexpr int64_t kPaddingBytes = 64;

constexpr int64_t kViewBytes = 16;

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
  int64_t start = WholeCuts(rows.first);
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

// True if `unused` values, in front of those that an array's offsets point to and about to be
// copied, cost more than to copy the offsets, counted from the first used value.
bool ArrayEncoder::ShouldRebase(const Item& item, size_t offsets, int64_t unused,
                                int64_t offset_bytes) const {
  constexpr int64_t kMinUnused = 64;
  if (unused < kMinUnused) return false;
  const arrow::Buffer* buffer = BufferOf(item.data, offsets);
  return (buffer != nullptr && buffers_.WouldCopy(*buffer)) ||
         unused > BytesFor(item.rows.end - item.start, 8 * offset_bytes);
}

bool ArrayEncoder::WouldCopyAny(const ArrayData& data) const {
  for (const auto& buffer : data.buffers) {
    if (buffer && buffer->size() > 0 && buffers_.WouldCopy(*buffer)) return true;
  }
  return std::any_of(data.child_data.begin(), data.child_data.end(),
                     [this](const auto& child) { return WouldCopyAny(*child); });
}

// The offsets of a binary, list or list view array, rewritten if `base` isn't 0.
Status ArrayEncoder::AddOffsets(const Item& item, int64_t extra_rows, int64_t base) {
  const int64_t width = OffsetBytes(item.kind);
  if (base == 0) return AddStructure(item, 1, 8 * width, extra_rows);
  ARROW_ASSIGN_OR_RAISE(
      auto offsets,
      RebaseOffsets(item.data, width, {item.start, item.rows.end + extra_rows}, base));
  ARROW_ASSIGN_OR_RAISE(uint32_t index, buffers_.AddOwned(std::move(offsets)));
  slots_.push_back(index);
  return Status::OK();
}

Status ArrayEncoder::AddBinary(const Item& item) {
  const int64_t width = OffsetBytes(item.kind);
  Extent used = {0, 0};
  if (item.rows.first < item.rows.end) {
    ARROW_ASSIGN_OR_RAISE(used, UsedByOffsets(item.data, width, {item.rows.used, item.rows.end}));
  }
  const arrow::Buffer* bytes = BufferOf(item.data, 2);
  if (bytes == nullptr && used.end > 0) return Status::Invalid("an array of text has no data");
  const bool rebase =
      bytes != nullptr && buffers_.WouldCopy(*bytes) && ShouldRebase(item, 1, used.begin, width);
  const int64_t base = rebase ? used.begin : 0;
  ARROW_RETURN_NOT_OK(AddOffsets(item, 1, base));
  if (item.rows.first == item.rows.end) bytes = nullptr;
  return AddSlot({bytes, base, used.end, used.begin});
}

Status ArrayEncoder::AddList(const Item& item) {
  const int64_t width = OffsetBytes(item.kind);
  Extent used = {0, 0};
  if (item.rows.first < item.rows.end) {
    ARROW_ASSIGN_OR_RAISE(used, UsedByOffsets(item.data, width, {item.rows.used, item.rows.end}));
  }
  const bool rebase =
      ShouldRebase(item, 1, used.begin, width) && WouldCopyAny(*item.data.child_data[0]);
  const int64_t base = rebase ? WholeCuts(used.begin) : 0;
  ARROW_RETURN_NOT_OK(AddOffsets(item, 1, base));
  return AddChild(item, 0, {base, used.end, used.begin});
}

Status ArrayEncoder::AddListView(const Item& item) {
  const int64_t width = OffsetBytes(item.kind);
  const Window& rows = item.rows;
  Extent used = {0, 0};
  if (rows.first < rows.end && (rows.used - rows.first > kMaxReadUnused ||
                                !IsPartOf(BufferOf(item.data, 1), rows.first, rows.end, width))) {
    // Unused rows may refer to anything too.
    used.end = item.data.child_data[0]->length;
  } else if (rows.first < rows.end) {
    ARROW_ASSIGN_OR_RAISE(used, UsedByListViews(item.data, width, {rows.first, rows.end}));
  }
  const bool rebase =
      ShouldRebase(item, 1, used.begin, width) && WouldCopyAny(*item.data.child_data[0]);
  const int64_t base = rebase ? WholeCuts(used.begin) : 0;
  ARROW_RETURN_NOT_OK(AddOffsets(item, 0, base));
  ARROW_RETURN_NOT_OK(AddStructure(item, 2, 8 * width));
  return AddChild(item, 0, {base, used.end, used.begin});
}

// What an array of views needs of each variadic buffer: all, unless it is but a part of another
// array or buffers have to be copied.
arrow::Result<std::vector<Extent>> ArrayEncoder::FindUsedByViews(const Item& item) const {
  const Window& rows = item.rows;
  std::vector<Extent> used;
  if (rows.first == rows.end || item.data.buffers.size() < 2) return used;
  bool scan = IsPartOf(BufferOf(item.data, 1), rows.first, rows.end, kViewBytes);
  for (size_t i = 2; i < item.data.buffers.size(); ++i) {
    const arrow::Buffer* bytes = BufferOf(item.data, i);
    if (bytes == nullptr) return Status::Invalid("an array of views lacks a buffer");
    used.push_back({0, bytes->size()});
    scan = scan || buffers_.WouldCopy(*bytes);
  }
  // Unused rows may refer to anything too.
  if (!scan || rows.used - rows.first > kMaxReadUnused) return used;
  ARROW_ASSIGN_OR_RAISE(used, UsedByViews(item.data, {rows.first, rows.end}));
  for (Extent& extent : used) extent.begin = std::min(extent.begin, extent.end);
  return used;
}

Status ArrayEncoder::AddView(const Item& item) {
  ARROW_ASSIGN_OR_RAISE(const std::vector<Extent> used, FindUsedByViews(item));
  std::vector<int64_t> bases(used.size());
  int64_t unused = 0;
  for (size_t i = 0; i < used.size(); ++i) {
    if (buffers_.WouldCopy(*item.data.buffers[i + 2])) unused += bases[i] = used[i].begin;
  }
  if (ShouldRebase(item, 1, unused, kViewBytes)) {
    ARROW_ASSIGN_OR_RAISE(auto views, RebaseViews(item.data, {item.start, item.rows.end}, bases));
    ARROW_ASSIGN_OR_RAISE(uint32_t index, buffers_.AddOwned(std::move(views)));
    slots_.push_back(index);
  } else {
    bases.assign(used.size(), 0);
    ARROW_RETURN_NOT_OK(AddValues(item, 1, 8 * kViewBytes));
  }
  slots_.push_back(static_cast<uint32_t>(lists_.size()));
  lists_.push_back(static_cast<uint32_t>(used.size()));
  for (size_t i = 0; i < used.size(); ++i) {
    ARROW_ASSIGN_OR_RAISE(
        uint32_t index,
        buffers_.AddShared({item.data.buffers[i + 2].get(), bases[i], used[i].end, used[i].begin}));
    lists_.push_back(index);
  }
  return Status::OK();
}

Status ArrayEncoder::AddDenseUnion(const Item& item) {
  const auto& type = static_cast<const arrow::UnionType&>(item.type);
  const Window& rows = item.rows;
  const auto& children = item.data.child_data;
  std::vector<Extent> used(children.size(), Extent{0, 0});
  if (rows.first < rows.end && IsPartOf(BufferOf(item.data, 1), rows.first, rows.end, 1)) {
    ARROW_ASSIGN_OR_RAISE(used, UsedByDenseUnion(type, item.data, {rows.first, rows.end}));
  } else if (rows.first < rows.end) {
    for (size_t i = 0; i < used.size(); ++i) used[i] = {0, children[i]->length};
  }
  std::vector<int64_t> bases(used.size());
  int64_t unused = 0;
  for (size_t i = 0; i < used.size(); ++i) {
    if (WouldCopyAny(*children[i])) unused += bases[i] = WholeCuts(used[i].begin);
  }
  ARROW_RETURN_NOT_OK(AddStructure(item, 1, 8));
  if (ShouldRebase(item, 2, unused, sizeof(int32_t))) {
    ARROW_ASSIGN_OR_RAISE(auto offsets,
                          RebaseDenseUnion(type, item.data, {item.start, rows.end}, bases));
    ARROW_ASSIGN_OR_RAISE(uint32_t index, buffers_.AddOwned(std::move(offsets)));
    slots_.push_back(index);
  } else {
    bases.assign(used.size(), 0);
    ARROW_RETURN_NOT_OK(AddStructure(item, 2, 32));
  }
  for (uint32_t i = 0; i < item.layout.num_children; ++i) {
    ARROW_RETURN_NOT_OK(AddChild(item, i, {bases[i], used[i].end, used[i].begin}));
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
  runs.begin = WholeCuts(runs.begin);
  ARROW_RETURN_NOT_OK(AddChild(item, 0, {runs.begin, runs.end, runs.begin}));
  return AddChild(item, 1, {runs.begin, runs.end, runs.begin});
}

}  // namespace zerrow::sipc
