// Turns Arrow arrays into a message's nodes, slots and lists.
//
// Each array is written as the slice that it is: its buffers are cut to the rows that it uses,
// so that a slice neither pins nor copies its whole parent, and its offset says where it starts in
// them. Offsets are rewritten only where memory would otherwise have to be copied that nothing
// uses. Part of the writer; one thread; arrays must outlive it unchanged.
#pragma once

#include <arrow/array/data.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "sipc/array_usage.h"
#include "sipc/buffer_table.h"
#include "sipc/format.h"
#include "sipc/layout.h"

namespace zerrow::sipc {

class ArrayEncoder {
 public:
  ArrayEncoder(const LayoutTable& layouts, BufferTable* buffers)
      : layouts_(layouts), buffers_(*buffers) {}

  /// Makes room for the columns' arrays, so that adding them needn't move what was added.
  void Reserve(const std::vector<ColumnRecord>& columns);

  /// Appends one array of `type`, whose layout is given. Invalid if it contradicts itself; errors
  /// as BufferTable::Add.
  arrow::Status Add(const arrow::DataType& type, uint32_t layout, const arrow::ArrayData& data);

  /// Appends the dictionaries that arrays refer to. Call once, after all arrays.
  arrow::Status AddDictionaries();

  const std::vector<NodeRecord>& nodes() const { return nodes_; }
  const std::vector<uint32_t>& slots() const { return slots_; }
  const std::vector<uint32_t>& lists() const { return lists_; }
  /// The layout of each dictionary's values.
  const std::vector<uint32_t>& dictionaries() const { return dictionary_layouts_; }

 private:
  // Rows of an array, counted from the start of its buffers as its offset is. The message's array
  // has rows [first, end); only those from `used` on are ever read, the others keep the place of
  // rows that a parent's offsets count.
  struct Window {
    int64_t first;
    int64_t end;
    int64_t used;
  };
  // An array that is being added.
  struct Item {
    const arrow::DataType& type;  // storage type
    LayoutRecord layout;
    LayoutKind kind;
    const arrow::ArrayData& data;
    Window rows;
    int64_t start;  // the row with which cut buffers start
  };

  arrow::Status AddRows(const arrow::DataType& type, uint32_t layout, const arrow::ArrayData& data,
                        Window rows);
  arrow::Status AddBuffersAndChildren(const Item& item);
  arrow::Status AddChild(const Item& item, uint32_t i, Window rows);
  arrow::Status AddChildRows(const Item& item, int64_t rows_per_row);
  arrow::Status AddValidity(const Item& item);
  arrow::Status AddValues(const Item& item, size_t buffer, int64_t bits);
  arrow::Status AddStructure(const Item& item, size_t buffer, int64_t bits, int64_t extra_rows = 0);
  arrow::Status AddFixed(const Item& item, size_t buffer, int64_t bits, int64_t end_row,
                         int64_t used_row);
  arrow::Status AddBinary(const Item& item);
  arrow::Status AddList(const Item& item);
  arrow::Status AddListView(const Item& item);
  arrow::Status AddView(const Item& item);
  arrow::Status AddDenseUnion(const Item& item);
  arrow::Status AddDictionary(const Item& item);
  arrow::Status AddRunEndEncoded(const Item& item);
  arrow::Status AddOffsets(const Item& item, int64_t extra_rows, int64_t base);
  arrow::Result<std::vector<Extent>> FindUsedByViews(const Item& item) const;
  bool ShouldRebase(const Item& item, size_t offsets, int64_t unused, int64_t offset_bytes) const;
  bool WouldCopyAny(const arrow::ArrayData& data) const;
  arrow::Status AddSlot(const BufferTable::Range& range);
  arrow::Result<uint32_t> FindDictionary(const arrow::DataType& type, uint32_t layout,
                                         const std::shared_ptr<arrow::ArrayData>& values);

  struct Dictionary {
    const arrow::DataType* type;
    const arrow::ArrayData* values;
  };

  const LayoutTable& layouts_;
  BufferTable& buffers_;
  std::vector<NodeRecord> nodes_;
  std::vector<uint32_t> slots_;
  std::vector<uint32_t> lists_;
  std::vector<Dictionary> dictionaries_;
  std::vector<uint32_t> dictionary_layouts_;
  std::unordered_multimap<const arrow::ArrayData*, uint32_t> dictionary_by_array_;
  std::multimap<std::vector<uint64_t>, uint32_t> dictionary_by_memory_;
};

}  // namespace zerrow::sipc
