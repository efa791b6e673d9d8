#include "worker/content_hash.h"

#include <arrow/array/array_base.h>
#include <arrow/chunked_array.h>
#include <arrow/compute/cast.h>
#include <arrow/ipc/writer.h>
#include <arrow/util/key_value_metadata.h>
#include <fmt/core.h>

#include "worker/content_nodes.h"

namespace zerrow::worker {

using arrow::Result;

namespace {

constexpr int64_t kDecodeRows = 1 << 16;  // of a marked dictionary, at once

// What the column counts as: without metadata, and plain if it is a dictionary that stands for it.
std::shared_ptr<arrow::Field> Meant(const arrow::Field& field) {
  const bool is_marked = field.type()->id() == arrow::Type::DICTIONARY && field.HasMetadata() &&
                         field.metadata()->Get("zerrow:dictionary").ValueOr("") == "auto";
  const auto type = is_marked
                        ? static_cast<const arrow::DictionaryType&>(*field.type()).value_type()
                        : field.type();
  return arrow::field(field.name(), type, field.nullable());
}

Result<ContentHash> HashColumn(const arrow::ChunkedArray& column,
                               const std::shared_ptr<arrow::DataType>& type) {
  ARROW_ASSIGN_OR_RAISE(const NodePtr node, MakeNode(type));
  for (const auto& chunk : column.chunks()) {
    if (type->Equals(*chunk->type())) {
      ARROW_RETURN_NOT_OK(node->Add(*chunk->data(), 0, chunk->length()));
      continue;
    }
    for (int64_t row = 0; row < chunk->length(); row += kDecodeRows) {
      ARROW_ASSIGN_OR_RAISE(const auto decoded,
                            arrow::compute::Cast(*chunk->Slice(row, kDecodeRows), type));
      ARROW_RETURN_NOT_OK(node->Add(*decoded->data(), 0, decoded->length()));
    }
  }
  return node->Take();
}

}  // namespace

Result<ContentHash> HashContent(const arrow::Table& table) {
  ARROW_RETURN_NOT_OK(table.Validate());
  arrow::FieldVector fields;
  for (const auto& field : table.schema()->fields()) fields.push_back(Meant(*field));
  ARROW_ASSIGN_OR_RAISE(const auto schema, arrow::ipc::SerializeSchema(*arrow::schema(fields)));
  Stream all;
  all.Add(schema->data(), schema->size());
  all.AddValue(table.num_rows());
  for (int i = 0; i < table.num_columns(); ++i) {
    ARROW_ASSIGN_OR_RAISE(const ContentHash column,
                          HashColumn(*table.column(i), fields[static_cast<size_t>(i)]->type()));
    all.AddValue(column);
  }
  return all.Take();
}

std::string ToString(const ContentHash& hash) {
  return fmt::format("{:016x}{:016x}", hash[1], hash[0]);
}

}  // namespace zerrow::worker
