#include "sipc/join.h"

#include <arrow/ipc/writer.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>
#include <utility>

#include "sipc/layout.h"
#include "sipc/message_view.h"
#include "sipc/sections.h"

namespace zerrow::sipc {
namespace {

using SlotKind = ColumnPiece::SlotKind;

arrow::Status Malformed(const char* what) {
  return arrow::Status::SerializationError("a column's message ", what);
}

template <typename Record>
std::vector<Record> CopyRecords(const MessageView& view, SectionId section) {
  const auto bytes = view.bytes(section);
  std::vector<Record> records(view.count(section));
  if (!records.empty()) std::memcpy(records.data(), bytes.data(), bytes.size());
  return records;
}

// The kinds of one array's slots, children included: in the order in which they stand.
void AppendSlotKinds(const MessageView& view, uint32_t layout, std::vector<SlotKind>* kinds) {
  const LayoutRecord record = view.layout(layout);
  const auto kind = static_cast<LayoutKind>(record.kind);
  kinds->insert(kinds->end(), NumSlots(kind), SlotKind::kBuffer);
  if (kind == LayoutKind::kView) kinds->back() = SlotKind::kList;
  if (kind == LayoutKind::kDictionary) {
    kinds->back() = SlotKind::kDictionary;
    return;
  }
  for (uint32_t i = 0; i < record.num_children; ++i) {
    AppendSlotKinds(view, view.layout_child(record, i), kinds);
  }
}

template <typename T>
void Append(const std::vector<T>& from, std::vector<T>* to) {
  to->insert(to->end(), from.begin(), from.end());
}

// Moves what stands behind the first `count` to a vector of its own.
template <typename T>
std::vector<T> SplitOff(std::vector<T>* from, uint64_t count) {
  std::vector<T> rest(from->begin() + static_cast<ptrdiff_t>(count), from->end());
  from->resize(count);
  return rest;
}

}  // namespace

arrow::Result<ColumnPiece> ColumnPiece::Read(std::span<const uint8_t> message, SegmentId id) {
  if (id == 0) return arrow::Status::Invalid("0 is no segment");
  ARROW_ASSIGN_OR_RAISE(const MessageView view, MessageView::Parse(message));
  if (view.columns().size() != 1) return Malformed("hasn't one column");
  if (view.count(kSegmentsSection) != 0) return Malformed("refers to other segments");
  const MessageView::ArrayRun& column = view.columns().front();
  ColumnPiece piece;
  piece.segment_ = id;
  piece.size_bytes_ = static_cast<int64_t>(message.size());
  piece.rows_ = view.num_rows();
  piece.data_bytes_ = static_cast<int64_t>(view.count(kBodySection));
  piece.num_chunks_ = static_cast<uint32_t>(column.num_arrays);
  piece.layout_ = column.layout;
  piece.layouts_ = CopyRecords<LayoutRecord>(view, kLayoutsSection);
  piece.layout_children_ = CopyRecords<uint32_t>(view, kLayoutChildrenSection);
  piece.dictionaries_ = CopyRecords<uint32_t>(view, kDictionariesSection);
  piece.buffers_ = CopyRecords<BufferRecord>(view, kBuffersSection);
  piece.chunks_.nodes = CopyRecords<NodeRecord>(view, kNodesSection);
  piece.chunks_.slots = CopyRecords<uint32_t>(view, kSlotsSection);
  piece.chunks_.lists = CopyRecords<uint32_t>(view, kListsSection);
  for (uint64_t i = 0; i < column.num_arrays; ++i) {
    AppendSlotKinds(view, column.layout, &piece.chunks_.slot_kinds);
  }
  for (const MessageView::ArrayRun& run : view.dictionaries()) {
    AppendSlotKinds(view, run.layout, &piece.values_.slot_kinds);
  }
  piece.SplitOffValues(column.num_arrays * view.nodes_per_array(column.layout));
  return piece;
}

// The dictionaries' arrays stand behind the chunks', and in a joined message behind everybody's.
void ColumnPiece::SplitOffValues(uint64_t chunk_nodes) {
  values_.nodes = SplitOff(&chunks_.nodes, chunk_nodes);
  values_.slots = SplitOff(&chunks_.slots, chunks_.slot_kinds.size());
  // Lists stand in the order of their slots.
  uint32_t chunk_lists = 0;
  for (const SlotKind kind : chunks_.slot_kinds) {
    if (kind == SlotKind::kList) chunk_lists += 1 + chunks_.lists[chunk_lists];
  }
  values_.lists = SplitOff(&chunks_.lists, chunk_lists);
  for (size_t i = 0; i < values_.slots.size(); ++i) {
    if (values_.slot_kinds[i] == SlotKind::kList) values_.slots[i] -= chunk_lists;
  }
}

// What goes into a joined message. Its pieces must outlive it.
class Joiner {
 public:
  arrow::Status AddColumn(const arrow::Field& field, int64_t num_rows,
                          const std::vector<JoinedPart>& parts);
  /// After the last column: the arrays of dictionaries.
  void AddValues();
  arrow::Result<std::shared_ptr<arrow::Buffer>> Write(const arrow::Schema& schema,
                                                      int64_t num_rows);

 private:
  // Where a piece's records begin in the joined message.
  struct Place {
    const ColumnPiece* piece;
    bool is_values;   // then its column's array is the dictionary
    uint32_t layout;  // its column's
    uint32_t first_buffer;
    uint32_t first_dictionary;
  };

  size_t PlaceOf(const ColumnPiece& piece, bool is_values);
  arrow::Status AddPart(const arrow::Field& field, uint32_t layout, const JoinedPart& part);
  void AddIndices(const ColumnPiece& piece, const Place& place, uint32_t dictionary);
  uint32_t SegmentIndex(const ColumnPiece& piece);
  std::vector<uint32_t> AddLayouts(const ColumnPiece& piece);
  void AddArrays(const ColumnPiece::Arrays& arrays, const Place& place);

  LayoutTable layouts_;
  std::vector<Place> places_;
  std::map<std::pair<const ColumnPiece*, bool>, size_t> place_index_;
  std::unordered_map<SegmentId, uint32_t> segment_index_;
  std::vector<SegmentRecord> segments_;
  std::vector<ColumnRecord> columns_;
  std::vector<uint32_t> dictionaries_;
  std::vector<NodeRecord> nodes_;
  std::vector<uint32_t> slots_;
  std::vector<uint32_t> lists_;
  std::vector<BufferRecord> buffers_;
};

arrow::Status Joiner::AddColumn(const arrow::Field& field, int64_t num_rows,
                                const std::vector<JoinedPart>& parts) {
  ARROW_ASSIGN_OR_RAISE(const uint32_t layout, layouts_.Add(*field.type()));
  ColumnRecord column = {layout, 0};
  int64_t rows = 0;
  for (const JoinedPart& part : parts) {
    if (__builtin_add_overflow(column.num_chunks, part.piece->num_chunks_, &column.num_chunks)) {
      return arrow::Status::CapacityError("column ", field.name(), " has too many chunks");
    }
    if (__builtin_add_overflow(rows, part.piece->rows_, &rows)) rows = -1;
    if (rows < 0 || rows > num_rows) break;
    ARROW_RETURN_NOT_OK(AddPart(field, layout, part));
  }
  if (rows != num_rows) {
    return arrow::Status::Invalid("column ", field.name(), "'s pieces don't add up to ", num_rows,
                                  " rows");
  }
  columns_.push_back(column);
  return arrow::Status::OK();
}

arrow::Status Joiner::AddPart(const arrow::Field& field, uint32_t layout, const JoinedPart& part) {
  const Place place = places_[PlaceOf(*part.piece, /*is_values=*/false)];
  uint32_t lies_as = place.layout;
  if (part.values != nullptr) {
    const Place values = places_[PlaceOf(*part.values, /*is_values=*/true)];
    const LayoutRecord indices = layouts_.records()[place.layout];
    const bool is_plain = static_cast<LayoutKind>(indices.kind) == LayoutKind::kFixed &&
                          part.values->num_chunks_ == 1 && part.values->dictionaries_.empty();
    if (!is_plain) {
      return arrow::Status::Invalid("column ", field.name(), ": a piece isn't indices and values");
    }
    lies_as = layouts_.Add(LayoutKind::kDictionary, indices.parameter, {&values.layout, 1});
    if (lies_as == layout) AddIndices(*part.piece, place, values.first_dictionary);
  } else if (lies_as == layout) {
    AddArrays(part.piece->chunks_, place);
  }
  if (lies_as == layout) return arrow::Status::OK();
  return arrow::Status::Invalid("column ", field.name(), ": a piece doesn't lie in memory as ",
                                field.type()->ToString());
}

// A piece that occurs again shares buffers and dictionaries with the first time.
size_t Joiner::PlaceOf(const ColumnPiece& piece, bool is_values) {
  const auto [known, is_new] = place_index_.emplace(std::pair(&piece, is_values), places_.size());
  if (!is_new) return known->second;
  const std::vector<uint32_t> layouts = AddLayouts(piece);
  const Place place = {.piece = &piece,
                       .is_values = is_values,
                       .layout = layouts[piece.layout_],
                       .first_buffer = static_cast<uint32_t>(buffers_.size()),
                       .first_dictionary = static_cast<uint32_t>(dictionaries_.size())};
  const uint32_t segment = SegmentIndex(piece) + 1;
  for (BufferRecord buffer : piece.buffers_) {
    buffer.segment = segment;
    buffers_.push_back(buffer);
  }
  if (is_values) {
    dictionaries_.push_back(place.layout);
  } else {
    for (const uint32_t layout : piece.dictionaries_) dictionaries_.push_back(layouts[layout]);
  }
  places_.push_back(place);
  return known->second;
}

uint32_t Joiner::SegmentIndex(const ColumnPiece& piece) {
  const auto [known, is_new] =
      segment_index_.emplace(piece.segment_, static_cast<uint32_t>(segments_.size()));
  if (is_new) segments_.push_back({.id = piece.segment_, .size_bytes = 0});
  uint64_t& size_bytes = segments_[known->second].size_bytes;
  size_bytes = std::max(size_bytes, static_cast<uint64_t>(piece.size_bytes_));
  return known->second;
}

// The joined message's indexes of the piece's layouts.
std::vector<uint32_t> Joiner::AddLayouts(const ColumnPiece& piece) {
  std::vector<uint32_t> indexes;
  std::vector<uint32_t> children;
  for (const LayoutRecord& record : piece.layouts_) {
    children.clear();
    for (uint32_t i = 0; i < record.num_children; ++i) {
      children.push_back(indexes[piece.layout_children_[record.first_child + i]]);
    }
    indexes.push_back(
        layouts_.Add(static_cast<LayoutKind>(record.kind), record.parameter, children));
  }
  return indexes;
}

void Joiner::AddValues() {
  for (const Place& place : places_) {
    AddArrays(place.is_values ? place.piece->chunks_ : place.piece->values_, place);
  }
}

// The slots of a dictionary array are those of its indices, and the dictionary.
void Joiner::AddIndices(const ColumnPiece& piece, const Place& place, uint32_t dictionary) {
  Append(piece.chunks_.nodes, &nodes_);
  const uint32_t per_array = NumSlots(LayoutKind::kFixed);
  for (size_t i = 0; i < piece.chunks_.slots.size(); ++i) {
    const uint32_t slot = piece.chunks_.slots[i];
    slots_.push_back(slot == kNone ? kNone : slot + place.first_buffer);
    if (i % per_array == per_array - 1) slots_.push_back(dictionary);
  }
}

void Joiner::AddArrays(const ColumnPiece::Arrays& arrays, const Place& place) {
  const auto first_list = static_cast<uint32_t>(lists_.size());
  Append(arrays.nodes, &nodes_);
  for (size_t i = 0; i < arrays.slots.size(); ++i) {
    uint32_t slot = arrays.slots[i];
    switch (arrays.slot_kinds[i]) {
      case SlotKind::kBuffer:
        if (slot != kNone) slot += place.first_buffer;
        break;
      case SlotKind::kList:
        slot += first_list;
        break;
      case SlotKind::kDictionary:
        slot += place.first_dictionary;
        break;
    }
    slots_.push_back(slot);
  }
  for (size_t i = 0; i < arrays.lists.size();) {
    uint32_t count = arrays.lists[i++];
    lists_.push_back(count);
    for (; count > 0; --count) lists_.push_back(arrays.lists[i++] + place.first_buffer);
  }
}

arrow::Result<std::shared_ptr<arrow::Buffer>> Joiner::Write(const arrow::Schema& schema,
                                                            int64_t num_rows) {
  ARROW_ASSIGN_OR_RAISE(const auto schema_bytes, arrow::ipc::SerializeSchema(schema));
  Sections sections;
  sections.SetBytes(kSchemaSection,
                    std::span(schema_bytes->data(), static_cast<size_t>(schema_bytes->size())));
  sections.Set(kSegmentsSection, segments_);
  sections.Set(kLayoutsSection, layouts_.records());
  sections.Set(kLayoutChildrenSection, layouts_.children());
  sections.Set(kColumnsSection, columns_);
  sections.Set(kDictionariesSection, dictionaries_);
  sections.Set(kNodesSection, nodes_);
  sections.Set(kSlotsSection, slots_);
  sections.Set(kListsSection, lists_);
  sections.Set(kBuffersSection, buffers_);
  ARROW_RETURN_NOT_OK(sections.LayOut().status());
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> message,
                        arrow::AllocateBuffer(sections.Finish(num_rows, /*body_bytes=*/0)));
  sections.WriteHead(message->mutable_data());
  return message;
}

arrow::Result<std::shared_ptr<arrow::Buffer>> Join(
    const arrow::Schema& schema, int64_t num_rows,
    const std::vector<std::vector<JoinedPart>>& columns) {
  if (num_rows < 0) return arrow::Status::Invalid("a table of ", num_rows, " rows");
  if (columns.size() != static_cast<size_t>(schema.num_fields())) {
    return arrow::Status::Invalid(columns.size(), " columns for ", schema.num_fields(), " fields");
  }
  Joiner joiner;
  for (size_t i = 0; i < columns.size(); ++i) {
    ARROW_RETURN_NOT_OK(joiner.AddColumn(*schema.field(static_cast<int>(i)), num_rows, columns[i]));
  }
  joiner.AddValues();
  return joiner.Write(schema, num_rows);
}

}  // namespace zerrow::sipc
