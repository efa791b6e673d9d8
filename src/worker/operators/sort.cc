#include <arrow/compute/api_vector.h>
#include <arrow/compute/cast.h>
#include <arrow/extension_type.h>
#include <arrow/util/parallel.h>

#include <utility>

#include "worker/operators/operators.h"

namespace zerrow::worker {

namespace {

namespace cp = arrow::compute;

// The type with the same order for which Arrow can sort a table; null if `type` is one itself.
std::shared_ptr<arrow::DataType> SortableType(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::DICTIONARY: {
      const auto& values = static_cast<const arrow::DictionaryType&>(type).value_type();
      const auto sortable = SortableType(*values);
      return sortable == nullptr ? values : sortable;
    }
    case arrow::Type::STRING_VIEW:
      return arrow::large_utf8();
    case arrow::Type::BINARY_VIEW:
      return arrow::large_binary();
    case arrow::Type::HALF_FLOAT:
      return arrow::float32();
    case arrow::Type::DECIMAL32:
    case arrow::Type::DECIMAL64: {
      const auto& decimal = static_cast<const arrow::DecimalType&>(type);
      return arrow::decimal128(decimal.precision(), decimal.scale());
    }
    case arrow::Type::RUN_END_ENCODED:
      return static_cast<const arrow::RunEndEncodedType&>(type).value_type();
    default:
      return nullptr;
  }
}

arrow::Result<std::shared_ptr<arrow::ChunkedArray>> SortKey(
    const std::shared_ptr<arrow::ChunkedArray>& column) {
  const auto sortable = SortableType(*column->type());
  if (sortable == nullptr) return column;
  arrow::Datum values(column);
  if (column->type()->id() == arrow::Type::RUN_END_ENCODED) {
    ARROW_ASSIGN_OR_RAISE(values, cp::RunEndDecode(values));
  } else if (column->type()->id() == arrow::Type::DICTIONARY) {
    // A cast decodes to the dictionary's own type only.
    const auto& type = static_cast<const arrow::DictionaryType&>(*column->type());
    ARROW_ASSIGN_OR_RAISE(values, cp::Cast(values, type.value_type()));
  }
  if (!values.type()->Equals(*sortable)) {
    ARROW_ASSIGN_OR_RAISE(values, cp::Cast(values, sortable));
  }
  return values.chunked_array();
}

}  // namespace

arrow::Result<TablePtr> SortTable(const TablePtr& table, const std::vector<SortColumn>& by) {
  arrow::FieldVector fields;
  arrow::ChunkedArrayVector keys;
  std::vector<cp::SortKey> order;
  for (size_t i = 0; i < by.size(); ++i) {
    const auto column = table->GetColumnByName(by[i].name);
    if (column == nullptr) {
      return arrow::Status::KeyError("there is no column '", by[i].name,
                                     "' to sort by, or several");
    }
    ARROW_ASSIGN_OR_RAISE(auto key, SortKey(column));
    const std::string name = std::to_string(i);  // the columns' own names may contain dots
    fields.push_back(arrow::field(name, key->type()));
    keys.push_back(std::move(key));
    order.emplace_back(arrow::FieldRef(name),
                       by[i].descending ? cp::SortOrder::Descending : cp::SortOrder::Ascending,
                       cp::NullPlacement::AtEnd);
  }
  const auto key_table = arrow::Table::Make(arrow::schema(fields), keys, table->num_rows());
  ARROW_ASSIGN_OR_RAISE(const auto indices, cp::SortIndices(arrow::Datum(key_table),
                                                            cp::SortOptions(std::move(order))));
  arrow::ChunkedArrayVector columns(table->num_columns());
  ARROW_RETURN_NOT_OK(
      arrow::internal::ParallelFor(table->num_columns(), [&](int i) -> arrow::Status {
        ARROW_ASSIGN_OR_RAISE(const arrow::Datum taken, cp::Take(table->column(i), indices,
                                                                 cp::TakeOptions::NoBoundsCheck()));
        columns[i] = taken.chunked_array();
        return arrow::Status::OK();
      }));
  return arrow::Table::Make(table->schema(), std::move(columns), table->num_rows());
}

}  // namespace zerrow::worker
