// Dictionary columns: indices are each row's own, the dictionary is what many rows, chunks and
// tables share. So operators rewrite indices and leave dictionaries in the very same memory.
//
// Pure functions, safe from any thread. A dictionary may have nulls and may have values twice;
// each function says what becomes of them. Errors: Invalid and NotImplemented, as Arrow words them.
#pragma once

#include <arrow/array/data.h>
#include <arrow/chunked_array.h>
#include <arrow/result.h>

#include <memory>
#include <vector>

namespace zerrow::worker {

using ColumnPtr = std::shared_ptr<arrow::ChunkedArray>;
using DataPtr = std::shared_ptr<arrow::ArrayData>;

/// Whether two arrays of one type are the same values in the same memory.
bool SameMemory(const arrow::ArrayData& left, const arrow::ArrayData& right);

/// The column with one dictionary for all chunks, at each place of its type (in structs, lists,
/// ...) that has dictionaries. Chunks whose dictionary is the longest one's beginning keep their
/// indices, and the longest stays where it is; otherwise the dictionaries are merged, without
/// values that are there twice. Indices too narrow for that become int32, which only a column
/// itself can, not a place within its type: Invalid there.
arrow::Result<ColumnPtr> ShareDictionaries(const ColumnPtr& column);

/// The values of a dictionary without any that is there twice and without null, and for each value
/// before its index among these (int32, null for a null). If no value was there twice these are the
/// values themselves, with `positions` null, and with a null among them if `may_keep_null`.
struct DistinctValues {
  DataPtr values;
  std::shared_ptr<arrow::Array> positions;
};
arrow::Result<DistinctValues> FindDistinct(const DataPtr& values, bool may_keep_null = true);

/// A dictionary array over other values: its indices become `positions` of what they were, or stay
/// where they are if there are none.
arrow::Result<DataPtr> WithDictionary(const arrow::ArrayData& array, DataPtr values,
                                      const std::shared_ptr<arrow::Array>& positions);

/// For each of these texts or bytes its rank among them as uint32: equal values have equal ranks,
/// nulls none. NotImplemented for other types.
arrow::Result<std::shared_ptr<arrow::Array>> RankValues(
    const std::shared_ptr<arrow::Array>& values);

/// The column as a dictionary one, with int32 indices and one dictionary for all chunks; of views
/// the dictionary is plain text. A dictionary column is left as it is.
arrow::Result<ColumnPtr> EncodeColumn(const ColumnPtr& column);

/// The type that an array of a dictionary type, or of an extension of one, is stored as.
const arrow::DictionaryType& DictionaryTypeOf(const arrow::DataType& type);

}  // namespace zerrow::worker
