#include <arrow/array/array_primitive.h>
#include <arrow/array/util.h>
#include <arrow/compute/api_vector.h>
#include <arrow/compute/exec.h>
#include <arrow/util/bit_run_reader.h>
#include <arrow/util/parallel.h>

#include <utility>

#include "worker/operators/operators.h"

namespace zerrow::worker {

namespace {

namespace cp = arrow::compute;
using arrow::RecordBatch;

// One contiguous piece of a batch is kept as a slice of it, without copying, unless it is so small
// that keeping the whole batch's memory alive for it would be worse.
constexpr int64_t kSliceFromFraction = 4;
constexpr int64_t kRowsPerTask = 1 << 20;

struct Selected {
  int64_t rows = 0;
  int64_t first = 0;  // if contiguous
  bool contiguous = true;
};

Selected Count(const arrow::BooleanArray& mask) {
  // A null counts as false: it is cleared before.
  Selected selected;
  arrow::internal::SetBitRunReader runs(mask.values()->data(), mask.offset(), mask.length());
  for (auto run = runs.NextRun(); run.length > 0; run = runs.NextRun()) {
    if (selected.rows == 0) {
      selected.first = run.position;
    } else {
      selected.contiguous = false;
    }
    selected.rows += run.length;
  }
  return selected;
}

arrow::Result<std::shared_ptr<arrow::BooleanArray>> Evaluate(const cp::Expression& condition,
                                                             const RecordBatch& batch) {
  ARROW_ASSIGN_OR_RAISE(arrow::Datum truth,
                        cp::ExecuteScalarExpression(condition, cp::ExecBatch(batch)));
  std::shared_ptr<arrow::Array> mask;
  if (truth.is_scalar()) {
    ARROW_ASSIGN_OR_RAISE(mask, arrow::MakeArrayFromScalar(*truth.scalar(), batch.num_rows()));
  } else {
    mask = truth.make_array();
  }
  if (mask->null_count() > 0) {
    ARROW_ASSIGN_OR_RAISE(truth, cp::CallFunction("coalesce", {mask, arrow::Datum(false)}));
    mask = truth.make_array();
  }
  return std::static_pointer_cast<arrow::BooleanArray>(mask);
}

// Null if nothing is left.
arrow::Result<std::shared_ptr<RecordBatch>> FilterBatch(const std::shared_ptr<RecordBatch>& batch,
                                                        const cp::Expression& condition) {
  ARROW_ASSIGN_OR_RAISE(const auto mask, Evaluate(condition, *batch));
  const Selected selected = Count(*mask);
  if (selected.rows == 0) return nullptr;
  if (selected.rows == batch->num_rows()) return batch;
  if (selected.contiguous && selected.rows * kSliceFromFraction >= batch->num_rows()) {
    return batch->Slice(selected.first, selected.rows);
  }
  arrow::ArrayVector columns;
  for (const auto& column : batch->columns()) {
    ARROW_ASSIGN_OR_RAISE(const arrow::Datum kept, cp::Filter(column, mask));
    columns.push_back(kept.make_array());
  }
  return RecordBatch::Make(batch->schema(), selected.rows, std::move(columns));
}

}  // namespace

arrow::Result<TablePtr> FilterTable(const TablePtr& table, const cp::Expression& condition) {
  ARROW_ASSIGN_OR_RAISE(const cp::Expression bound, condition.Bind(*table->schema()));
  if (bound.type()->id() != arrow::Type::BOOL) {
    return arrow::Status::TypeError("a condition must be true or false, ", condition.ToString(),
                                    " is of type ", bound.type()->ToString());
  }
  arrow::TableBatchReader reader(table);
  reader.set_chunksize(kRowsPerTask);
  ARROW_ASSIGN_OR_RAISE(const auto batches, reader.ToRecordBatches());
  std::vector<std::shared_ptr<RecordBatch>> kept(batches.size());
  ARROW_RETURN_NOT_OK(arrow::internal::ParallelFor(static_cast<int>(batches.size()), [&](int i) {
    return FilterBatch(batches[i], bound).Value(&kept[i]);
  }));
  std::erase(kept, nullptr);
  return arrow::Table::FromRecordBatches(table->schema(), kept);
}

}  // namespace zerrow::worker
