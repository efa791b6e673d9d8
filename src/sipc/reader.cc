#include "sipc/reader.h"

#include <arrow/array/util.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/reader.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "sipc/decoder.h"
#include "sipc/message_view.h"

namespace zerrow::sipc {
namespace {

arrow::Result<std::shared_ptr<arrow::Schema>> ReadSchema(const MessageView& view) {
  const auto bytes = view.bytes(kSchemaSection);
  arrow::io::BufferReader stream(
      std::make_shared<arrow::Buffer>(bytes.data(), static_cast<int64_t>(bytes.size())));
  arrow::ipc::DictionaryMemo memo;
  auto schema = arrow::ipc::ReadSchema(&stream, &memo);
  if (schema.ok()) return schema;
  return arrow::Status::SerializationError("SIPC message: bad schema: ", schema.status().message());
}

// The message's own layouts were checked; what types say must be the same.
arrow::Status CheckLayoutFits(const MessageView& view, const arrow::DataType& type,
                              uint32_t layout) {
  const LayoutRecord record = view.layout(layout);
  ARROW_ASSIGN_OR_RAISE(auto kind_and_parameter, LayoutOf(type));
  const auto children = LayoutChildren(type);
  if (static_cast<uint8_t>(kind_and_parameter.first) != record.kind ||
      kind_and_parameter.second != record.parameter || children.size() != record.num_children) {
    return arrow::Status::SerializationError("SIPC message: the layout of ", type.ToString(),
                                             " isn't that type's");
  }
  for (uint32_t i = 0; i < record.num_children; ++i) {
    ARROW_RETURN_NOT_OK(CheckLayoutFits(view, *children[i], view.layout_child(record, i)));
  }
  return arrow::Status::OK();
}

arrow::Status CheckSchemaFits(const MessageView& view, const arrow::Schema& schema) {
  if (static_cast<size_t>(schema.num_fields()) != view.columns().size()) {
    return arrow::Status::SerializationError("SIPC message: ", view.columns().size(),
                                             " columns, but a schema of ", schema.num_fields());
  }
  for (int i = 0; i < schema.num_fields(); ++i) {
    ARROW_RETURN_NOT_OK(CheckLayoutFits(view, *schema.field(i)->type(), view.columns()[i].layout));
  }
  return arrow::Status::OK();
}

}  // namespace

struct Reader::Impl {
  explicit Impl(MessageView parsed) : view(std::move(parsed)) {}

  void FindBatches();
  /// The rows [begin, end) of a column, which are batch `batch` and lie within one of its chunks.
  arrow::Result<std::shared_ptr<arrow::ArrayData>> ReadRows(size_t column, int64_t batch,
                                                            int64_t begin, int64_t end) const;

  MessageView view;
  std::shared_ptr<arrow::Schema> schema;
  std::vector<int64_t> batch_ends;
  // Where each chunk of a column ends; empty if its chunks are the batches.
  std::vector<std::vector<int64_t>> chunk_ends;
  std::unique_ptr<Decoder> decoder;

 private:
  std::vector<int64_t> ChunkEnds(size_t column) const;
  bool ChunksEndAt(size_t column, const std::vector<int64_t>& ends) const;
};

std::vector<int64_t> Reader::Impl::ChunkEnds(size_t column) const {
  const auto& run = view.columns()[column];
  std::vector<int64_t> ends(run.num_arrays);
  int64_t end = 0;
  for (uint64_t i = 0; i < run.num_arrays; ++i) {
    ends[i] = end += view.node(run.first_node + i * view.nodes_per_array(run.layout)).length;
  }
  return ends;
}

bool Reader::Impl::ChunksEndAt(size_t column, const std::vector<int64_t>& ends) const {
  const auto& run = view.columns()[column];
  if (run.num_arrays != ends.size()) return false;
  int64_t end = 0;
  for (uint64_t i = 0; i < run.num_arrays; ++i) {
    end += view.node(run.first_node + i * view.nodes_per_array(run.layout)).length;
    if (end != ends[i]) return false;
  }
  return true;
}

void Reader::Impl::FindBatches() {
  const size_t num_columns = view.columns().size();
  if (num_columns == 0 && view.num_rows() > 0) batch_ends.push_back(view.num_rows());
  if (num_columns == 0) return;
  std::vector<int64_t> common = ChunkEnds(0);
  std::vector<size_t> others;
  batch_ends = common;
  for (size_t i = 1; i < num_columns; ++i) {
    if (ChunksEndAt(i, common)) continue;
    others.push_back(i);
    const std::vector<int64_t> ends = ChunkEnds(i);
    batch_ends.insert(batch_ends.end(), ends.begin(), ends.end());
  }
  std::sort(batch_ends.begin(), batch_ends.end());
  batch_ends.erase(std::unique(batch_ends.begin(), batch_ends.end()), batch_ends.end());
  if (!batch_ends.empty() && batch_ends.front() == 0) batch_ends.erase(batch_ends.begin());
  chunk_ends.resize(num_columns);
  if (common != batch_ends) {
    for (size_t i = 0; i < num_columns; ++i) chunk_ends[i] = ChunkEnds(i);
  } else {
    for (size_t i : others) chunk_ends[i] = ChunkEnds(i);
  }
}

arrow::Result<std::shared_ptr<arrow::ArrayData>> Reader::Impl::ReadRows(size_t column,
                                                                        int64_t batch,
                                                                        int64_t begin,
                                                                        int64_t end) const {
  const std::vector<int64_t>& ends = chunk_ends[column];
  // Empty chunks end where the chunk before them does, so none is found.
  const auto chunk =
      ends.empty() ? batch : std::upper_bound(ends.begin(), ends.end(), begin) - ends.begin();
  ARROW_ASSIGN_OR_RAISE(auto data,
                        decoder->Decode(schema->field(static_cast<int>(column))->type(),
                                        view.columns()[column], static_cast<uint64_t>(chunk)));
  if (data->length == end - begin) return data;
  return data->Slice(begin - (ends[chunk] - data->length), end - begin);
}

Reader::Reader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Reader::~Reader() = default;

arrow::Result<std::shared_ptr<Reader>> Reader::Open(std::shared_ptr<arrow::Buffer> message,
                                                    SegmentResolver resolver) {
  std::span<const uint8_t> bytes(message->data(), static_cast<size_t>(message->size()));
  ARROW_ASSIGN_OR_RAISE(MessageView view, MessageView::Parse(bytes));
  auto impl = std::make_unique<Impl>(std::move(view));
  ARROW_ASSIGN_OR_RAISE(impl->schema, ReadSchema(impl->view));
  ARROW_RETURN_NOT_OK(CheckSchemaFits(impl->view, *impl->schema));
  impl->FindBatches();
  impl->decoder = std::make_unique<Decoder>(impl->view, std::move(message), std::move(resolver));
  return std::shared_ptr<Reader>(new Reader(std::move(impl)));
}

const std::shared_ptr<arrow::Schema>& Reader::schema() const { return impl_->schema; }
int64_t Reader::num_rows() const { return impl_->view.num_rows(); }
int64_t Reader::num_batches() const { return static_cast<int64_t>(impl_->batch_ends.size()); }

arrow::Result<std::shared_ptr<arrow::RecordBatch>> Reader::ReadBatch(int64_t i) const {
  if (i < 0 || i >= num_batches()) return arrow::Status::Invalid("no batch ", i);
  const int64_t begin = i == 0 ? 0 : impl_->batch_ends[i - 1];
  const int64_t end = impl_->batch_ends[i];
  std::vector<std::shared_ptr<arrow::ArrayData>> columns(impl_->view.columns().size());
  for (size_t column = 0; column < columns.size(); ++column) {
    ARROW_ASSIGN_OR_RAISE(columns[column], impl_->ReadRows(column, i, begin, end));
  }
  return arrow::RecordBatch::Make(impl_->schema, end - begin, std::move(columns));
}

arrow::Result<std::shared_ptr<arrow::ChunkedArray>> Reader::ReadColumn(int i) const {
  if (i < 0 || i >= impl_->schema->num_fields()) return arrow::Status::Invalid("no column ", i);
  const auto& type = impl_->schema->field(i)->type();
  const auto& run = impl_->view.columns()[i];
  arrow::ArrayVector chunks(run.num_arrays);
  for (uint64_t chunk = 0; chunk < run.num_arrays; ++chunk) {
    ARROW_ASSIGN_OR_RAISE(auto data, impl_->decoder->Decode(type, run, chunk));
    chunks[chunk] = arrow::MakeArray(data);
  }
  return std::make_shared<arrow::ChunkedArray>(std::move(chunks), type);
}

arrow::Result<std::shared_ptr<arrow::Table>> Reader::ReadTable() const {
  std::vector<std::shared_ptr<arrow::ChunkedArray>> columns(impl_->view.columns().size());
  for (size_t i = 0; i < columns.size(); ++i) {
    ARROW_ASSIGN_OR_RAISE(columns[i], ReadColumn(static_cast<int>(i)));
  }
  return arrow::Table::Make(impl_->schema, std::move(columns), num_rows());
}

}  // namespace zerrow::sipc
