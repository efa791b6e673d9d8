#include <arrow/array/util.h>
#include <arrow/compute/api_vector.h>
#include <arrow/util/parallel.h>

#include <utility>

#include "worker/operators/dictionaries.h"
#include "worker/operators/operators.h"

namespace zerrow::worker {

namespace {

namespace cp = arrow::compute;

// Indices without their dictionary: Arrow would compare the chunks' dictionaries value by value.
ColumnPtr IndicesOf(const arrow::ChunkedArray& column) {
  const auto& type = static_cast<const arrow::DictionaryType&>(*column.type());
  arrow::ArrayVector chunks;
  for (const auto& chunk : column.chunks()) {
    const DataPtr indices = chunk->data()->Copy();
    indices->type = type.index_type();
    indices->dictionary = nullptr;
    chunks.push_back(arrow::MakeArray(indices));
  }
  return std::make_shared<arrow::ChunkedArray>(std::move(chunks), type.index_type());
}

arrow::Result<ColumnPtr> TakeColumn(const ColumnPtr& given, const ColumnPtr& rows,
                                    const cp::TakeOptions& options) {
  ARROW_ASSIGN_OR_RAISE(const ColumnPtr column, ShareDictionaries(given));
  if (column->type()->id() != arrow::Type::DICTIONARY || column->num_chunks() == 0) {
    ARROW_ASSIGN_OR_RAISE(const arrow::Datum taken, cp::Take(column, rows, options));
    return taken.chunked_array();
  }
  ARROW_ASSIGN_OR_RAISE(const arrow::Datum taken, cp::Take(IndicesOf(*column), rows, options));
  arrow::ArrayVector chunks;
  for (const auto& chunk : taken.chunked_array()->chunks()) {
    const DataPtr data = chunk->data()->Copy();
    data->type = column->type();
    data->dictionary = column->chunk(0)->data()->dictionary;
    chunks.push_back(arrow::MakeArray(data));
  }
  return arrow::ChunkedArray::Make(std::move(chunks), column->type());
}

}  // namespace

arrow::Result<TablePtr> TakeRows(const TablePtr& table, const ColumnPtr& rows, bool check_bounds) {
  const cp::TakeOptions options(check_bounds);
  arrow::ChunkedArrayVector columns(table->num_columns());
  ARROW_RETURN_NOT_OK(arrow::internal::ParallelFor(table->num_columns(), [&](int i) {
    return TakeColumn(table->column(i), rows, options).Value(&columns[i]);
  }));
  arrow::FieldVector fields;
  for (int i = 0; i < table->num_columns(); ++i) {
    fields.push_back(table->schema()->field(i)->WithType(columns[i]->type()));
  }
  return arrow::Table::Make(arrow::schema(std::move(fields), table->schema()->metadata()),
                            std::move(columns), rows->length());
}

arrow::Result<TablePtr> TakeTable(const TablePtr& table, const ColumnPtr& rows) {
  if (!arrow::is_integer(rows->type()->id())) {
    return arrow::Status::TypeError("rows are chosen by integers, not by ",
                                    rows->type()->ToString());
  }
  return TakeRows(table, rows, /*check_bounds=*/true);
}

}  // namespace zerrow::worker
