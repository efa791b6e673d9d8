#include <arrow/array/util.h>
#include <arrow/compute/cast.h>

#include <algorithm>
#include <utility>

#include "worker/operators/dictionaries.h"
#include "worker/operators/operators.h"

namespace zerrow::worker {

namespace {

namespace cp = arrow::compute;
using TypePtr = std::shared_ptr<arrow::DataType>;

bool IsDictionary(const TypePtr& type) { return type->id() == arrow::Type::DICTIONARY; }

TypePtr ValueType(const TypePtr& type) {
  return IsDictionary(type) ? static_cast<const arrow::DictionaryType&>(*type).value_type() : type;
}

// What the values are, in whichever of its forms Arrow holds them.
TypePtr PlainType(const TypePtr& type) {
  TypePtr values = ValueType(type);
  switch (values->id()) {
    case arrow::Type::STRING_VIEW:
    case arrow::Type::LARGE_STRING:
      return arrow::utf8();
    case arrow::Type::BINARY_VIEW:
    case arrow::Type::LARGE_BINARY:
      return arrow::binary();
    default:
      return values;
  }
}

// Both have the same plain type. The dictionary of a mixture has the values' type of its first one.
TypePtr CommonType(const TypePtr& left, const TypePtr& right) {
  if (left->Equals(*right)) return left;
  if (IsDictionary(left) || IsDictionary(right)) {
    return arrow::dictionary(arrow::int32(), ValueType(IsDictionary(left) ? left : right));
  }
  const bool left_wins =
      arrow::is_binary_view_like(left->id()) ||
      (arrow::is_large_binary_like(left->id()) && !arrow::is_binary_view_like(right->id()));
  return left_wins ? left : right;
}

arrow::Result<DataPtr> CastData(const DataPtr& data, const TypePtr& type) {
  ARROW_ASSIGN_OR_RAISE(const arrow::Datum cast, cp::Cast(data, type));
  return cast.array();
}

// Indices and values each get their type; one dictionary of several chunks is cast once.
arrow::Result<ColumnPtr> CastDictionary(const ColumnPtr& column, const TypePtr& to) {
  const auto& type = static_cast<const arrow::DictionaryType&>(*to);
  const auto& given = static_cast<const arrow::DictionaryType&>(*column->type());
  DataPtr before;
  DataPtr values;
  arrow::ArrayVector chunks;
  for (const auto& chunk : column->chunks()) {
    const DataPtr& dictionary = chunk->data()->dictionary;
    if (before == nullptr || !SameMemory(*before, *dictionary)) {
      ARROW_ASSIGN_OR_RAISE(values, CastData(dictionary, type.value_type()));
      before = dictionary;
    }
    DataPtr data = chunk->data()->Copy();
    data->type = given.index_type();
    data->dictionary = nullptr;
    ARROW_ASSIGN_OR_RAISE(data, CastData(data, type.index_type()));
    data = data->Copy();
    data->type = to;
    data->dictionary = values;
    chunks.push_back(arrow::MakeArray(data));
  }
  return arrow::ChunkedArray::Make(std::move(chunks), to);
}

arrow::Result<ColumnPtr> Convert(const ColumnPtr& column, const TypePtr& type) {
  if (column->type()->Equals(*type)) return column;
  if (!IsDictionary(type)) {
    ARROW_ASSIGN_OR_RAISE(const arrow::Datum cast, cp::Cast(column, type));
    return cast.chunked_array();
  }
  ARROW_ASSIGN_OR_RAISE(const ColumnPtr encoded, EncodeColumn(column));
  return CastDictionary(encoded, type);
}

arrow::Status CheckNames(const NamedTable& first, const NamedTable& other) {
  for (const std::string& name : first.table->ColumnNames()) {
    const auto found = other.table->schema()->GetAllFieldIndices(name);
    if (found.size() == 1) continue;
    return arrow::Status::Invalid("column '", name, "' of '", first.name, "' is there ",
                                  found.size(), " times in '", other.name, "'");
  }
  for (const std::string& name : other.table->ColumnNames()) {
    if (first.table->schema()->GetFieldIndex(name) >= 0) continue;
    return arrow::Status::Invalid("column '", name, "' of '", other.name, "' isn't in '",
                                  first.name, "'");
  }
  return arrow::Status::OK();
}

arrow::Result<ColumnPtr> ConcatColumn(const std::vector<NamedTable>& tables, int i) {
  const std::string& name = tables[0].table->schema()->field(i)->name();
  const TypePtr first = tables[0].table->column(i)->type();
  TypePtr type = first;
  for (const auto& [table_name, table] : tables) {
    const TypePtr& given = table->GetColumnByName(name)->type();
    if (!PlainType(given)->Equals(*PlainType(first))) {
      return arrow::Status::TypeError("column '", name, "' is ", first->ToString(), " in '",
                                      tables[0].name, "' and ", given->ToString(), " in '",
                                      table_name, "'");
    }
    type = CommonType(type, given);
  }
  arrow::ArrayVector chunks;
  for (const NamedTable& input : tables) {
    ARROW_ASSIGN_OR_RAISE(const ColumnPtr column,
                          Convert(input.table->GetColumnByName(name), type));
    chunks.insert(chunks.end(), column->chunks().begin(), column->chunks().end());
  }
  std::erase_if(chunks, [](const auto& chunk) { return chunk->length() == 0; });
  return arrow::ChunkedArray::Make(std::move(chunks), type);
}

}  // namespace

arrow::Result<TablePtr> ConcatTables(const std::vector<NamedTable>& tables) {
  if (tables.empty()) return arrow::Status::Invalid("no table is given");
  int64_t rows = 0;
  for (const NamedTable& input : tables) {
    ARROW_RETURN_NOT_OK(CheckNames(tables[0], input));
    rows += input.table->num_rows();
  }
  const auto& schema = *tables[0].table->schema();
  arrow::ChunkedArrayVector columns;
  arrow::FieldVector fields;
  for (int i = 0; i < schema.num_fields(); ++i) {
    ARROW_ASSIGN_OR_RAISE(ColumnPtr column, ConcatColumn(tables, i));
    fields.push_back(arrow::field(schema.field(i)->name(), column->type()));
    columns.push_back(std::move(column));
  }
  return arrow::Table::Make(arrow::schema(std::move(fields), schema.metadata()), std::move(columns),
                            rows);
}

arrow::Result<TablePtr> EncodeColumns(const TablePtr& table,
                                      const std::vector<std::string>& columns) {
  TablePtr result = table;
  for (const std::string& name : columns) {
    const int i = table->schema()->GetFieldIndex(name);
    if (i < 0) return arrow::Status::KeyError("there is no column '", name, "', or several");
    ARROW_ASSIGN_OR_RAISE(ColumnPtr column, EncodeColumn(table->column(i)));
    const auto field = table->schema()->field(i)->WithType(column->type());
    ARROW_ASSIGN_OR_RAISE(result, result->SetColumn(i, field, std::move(column)));
  }
  return result;
}

}  // namespace zerrow::worker
