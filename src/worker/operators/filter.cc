#include <arrow/array/array_primitive.h>
#include <arrow/compute/api_vector.h>
#include <arrow/util/bit_run_reader.h>
#include <arrow/util/parallel.h>

#include <utility>

#include "worker/operators/condition.h"
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

// Null if nothing is left.
arrow::Result<std::shared_ptr<RecordBatch>> FilterBatch(const std::shared_ptr<RecordBatch>& batch,
                                                        const Condition& condition) {
  ARROW_ASSIGN_OR_RAISE(const auto mask, condition.Evaluate(*batch));
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

arrow::Result<TablePtr> FilterTable(const TablePtr& table, const cp::Expression& expression) {
  ARROW_ASSIGN_OR_RAISE(const Condition condition, Condition::Make(expression, *table->schema()));
  arrow::TableBatchReader reader(table);
  reader.set_chunksize(kRowsPerTask);
  ARROW_ASSIGN_OR_RAISE(const auto batches, reader.ToRecordBatches());
  std::vector<std::shared_ptr<RecordBatch>> kept(batches.size());
  ARROW_RETURN_NOT_OK(arrow::internal::ParallelFor(static_cast<int>(batches.size()), [&](int i) {
    return FilterBatch(batches[i], condition).Value(&kept[i]);
  }));
  std::erase(kept, nullptr);
  return arrow::Table::FromRecordBatches(table->schema(), kept);
}

}  // namespace zerrow::worker
