// The values of a dictionary, which grow by what other dictionaries have besides.
//
// Indices stay valid: values are only appended. What it costs is what the others have, however many
// there are already. Thread safety: any thread.
#pragma once

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/result.h>

#include <memory>
#include <mutex>

namespace zerrow::worker {

class GrowingValues {
 public:
  /// Begins with values that are distinct and not null. Errors as Arrow's DictionaryUnifier.
  static arrow::Result<std::unique_ptr<GrowingValues>> Make(const arrow::Array& first);

  /// The rows of dictionary arrays as indices into these values, int32 in one array. TypeError:
  /// their values are of another type; Invalid: some are null.
  arrow::Result<std::shared_ptr<arrow::Array>> IndicesOf(const arrow::ChunkedArray& column);

  /// All values. Nothing can be done with this object afterwards.
  arrow::Result<std::shared_ptr<arrow::Array>> Finish();

 private:
  explicit GrowingValues(std::unique_ptr<arrow::DictionaryUnifier> unifier,
                         const std::shared_ptr<arrow::DataType>& type)
      : type_(arrow::dictionary(arrow::int32(), type)), unifier_(std::move(unifier)) {}

  const std::shared_ptr<arrow::DataType> type_;
  std::mutex mutex_;
  std::unique_ptr<arrow::DictionaryUnifier> unifier_;  // null once it is finished
};

}  // namespace zerrow::worker
