#include <arrow/array/util.h>
#include <arrow/compute/api_vector.h>
#include <arrow/compute/cast.h>
#include <arrow/extension_type.h>

#include <utility>

#include "worker/operators/dictionaries.h"
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

bool HasTextDictionary(const arrow::DataType& type) {
  if (type.id() != arrow::Type::DICTIONARY) return false;
  const auto& values = static_cast<const arrow::DictionaryType&>(type).value_type();
  return arrow::is_base_binary_like(values->id()) || arrow::is_binary_view_like(values->id());
}

// The ranks of the rows' values: only the dictionary's texts are compared, none is decoded.
arrow::Result<ColumnPtr> RankedColumn(const ColumnPtr& column) {
  ARROW_ASSIGN_OR_RAISE(const ColumnPtr shared, ShareDictionaries(column));
  const auto& type = static_cast<const arrow::DictionaryType&>(*shared->type());
  std::shared_ptr<arrow::Array> ranks;
  arrow::ArrayVector chunks;
  for (const auto& chunk : shared->chunks()) {
    if (ranks == nullptr) {
      ARROW_ASSIGN_OR_RAISE(ranks, RankValues(arrow::MakeArray(chunk->data()->dictionary)));
    }
    const DataPtr indices = chunk->data()->Copy();
    indices->type = type.index_type();
    indices->dictionary = nullptr;
    ARROW_ASSIGN_OR_RAISE(const auto ranked, cp::Take(*ranks, *arrow::MakeArray(indices)));
    chunks.push_back(ranked);
  }
  return arrow::ChunkedArray::Make(std::move(chunks), arrow::uint32());
}

arrow::Result<ColumnPtr> SortKey(const ColumnPtr& column) {
  if (HasTextDictionary(*column->type())) return RankedColumn(column);
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
  return TakeRows(table, std::make_shared<arrow::ChunkedArray>(indices), /*check_bounds=*/false);
}

}  // namespace zerrow::worker
