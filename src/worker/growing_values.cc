#include "worker/growing_values.h"

#include <arrow/array/concatenate.h>

#include <utility>

namespace zerrow::worker {

arrow::Result<std::unique_ptr<GrowingValues>> GrowingValues::Make(const arrow::Array& first) {
  ARROW_ASSIGN_OR_RAISE(auto unifier, arrow::DictionaryUnifier::Make(first.type()));
  ARROW_RETURN_NOT_OK(unifier->Unify(first));
  return std::unique_ptr<GrowingValues>(new GrowingValues(std::move(unifier), first.type()));
}

arrow::Result<std::shared_ptr<arrow::Array>> GrowingValues::IndicesOf(
    const arrow::ChunkedArray& column) {
  if (column.type()->id() != arrow::Type::DICTIONARY) {
    return arrow::Status::TypeError(column.type()->ToString(), " is no dictionary");
  }
  arrow::ArrayVector indices;
  for (const auto& chunk : column.chunks()) {
    const auto& own = static_cast<const arrow::DictionaryArray&>(*chunk);
    std::shared_ptr<arrow::Buffer> places;  // of its values among these
    {
      const std::lock_guard lock(mutex_);
      if (!unifier_) return arrow::Status::Invalid("these values grow no more");
      ARROW_RETURN_NOT_OK(unifier_->Unify(*own.dictionary(), &places));
    }
    // Whatever values it is given: the indices are taken out again.
    ARROW_ASSIGN_OR_RAISE(
        const auto transposed,
        own.Transpose(type_, own.dictionary(), reinterpret_cast<const int32_t*>(places->data())));
    indices.push_back(static_cast<const arrow::DictionaryArray&>(*transposed).indices());
  }
  if (indices.empty()) return arrow::MakeEmptyArray(arrow::int32());
  return indices.size() == 1 ? indices.front() : arrow::Concatenate(indices);
}

arrow::Result<std::shared_ptr<arrow::Array>> GrowingValues::Finish() {
  const std::lock_guard lock(mutex_);
  if (!unifier_) return arrow::Status::Invalid("these values grow no more");
  std::shared_ptr<arrow::Array> values;
  ARROW_RETURN_NOT_OK(unifier_->GetResultWithIndexType(arrow::int32(), &values));
  unifier_.reset();
  return values;
}

}  // namespace zerrow::worker
