#include <arrow/array/util.h>
#include <arrow/compute/exec.h>

#include <utility>

#include "worker/operators/operators.h"

namespace zerrow::worker {

namespace {

namespace cp = arrow::compute;

using Batches = std::vector<std::shared_ptr<arrow::RecordBatch>>;

// The column as it is, if that is all that the expression asks for.
std::shared_ptr<arrow::ChunkedArray> UnchangedColumn(const arrow::Table& table,
                                                     const cp::Expression& bound) {
  const arrow::FieldRef* ref = bound.field_ref();
  if (ref == nullptr) return nullptr;
  const auto path = ref->FindOneOrNone(*table.schema());
  if (!path.ok() || path->indices().size() != 1) return nullptr;
  return table.column(path->indices()[0]);
}

arrow::Result<std::shared_ptr<arrow::ChunkedArray>> Compute(const Batches& batches,
                                                            const cp::Expression& bound) {
  arrow::ArrayVector chunks;
  for (const auto& batch : batches) {
    ARROW_ASSIGN_OR_RAISE(const arrow::Datum value,
                          cp::ExecuteScalarExpression(bound, cp::ExecBatch(*batch)));
    if (value.is_scalar()) {
      ARROW_ASSIGN_OR_RAISE(auto repeated,
                            arrow::MakeArrayFromScalar(*value.scalar(), batch->num_rows()));
      chunks.push_back(std::move(repeated));
    } else {
      chunks.push_back(value.make_array());
    }
  }
  return arrow::ChunkedArray::Make(std::move(chunks), bound.type()->GetSharedPtr());
}

}  // namespace

arrow::Result<TablePtr> ProjectTable(const TablePtr& table,
                                     const std::vector<NamedExpression>& columns) {
  ARROW_ASSIGN_OR_RAISE(const Batches batches, arrow::TableBatchReader(table).ToRecordBatches());
  arrow::FieldVector fields;
  arrow::ChunkedArrayVector values;
  for (const auto& [name, expression] : columns) {
    ARROW_ASSIGN_OR_RAISE(const cp::Expression bound, expression.Bind(*table->schema()));
    auto column = UnchangedColumn(*table, bound);
    if (column == nullptr) {
      ARROW_ASSIGN_OR_RAISE(column, Compute(batches, bound));
    }
    fields.push_back(arrow::field(name, column->type()));
    values.push_back(std::move(column));
  }
  return arrow::Table::Make(arrow::schema(std::move(fields)), std::move(values), table->num_rows());
}

}  // namespace zerrow::worker
