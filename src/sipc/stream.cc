#include "sipc/stream.h"

#include <arrow/array/data.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>

#include <algorithm>
#include <utility>

#include "sipc/layout.h"

namespace zerrow::sipc {
namespace {

class BatchReader : public arrow::RecordBatchReader {
 public:
  explicit BatchReader(std::shared_ptr<const Reader> reader) : reader_(std::move(reader)) {}

  std::shared_ptr<arrow::Schema> schema() const override { return reader_->schema(); }

  arrow::Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    if (next_ >= reader_->num_batches()) {
      *batch = nullptr;
      return arrow::Status::OK();
    }
    return reader_->ReadBatch(next_++).Value(batch);
  }

 private:
  std::shared_ptr<const Reader> reader_;
  int64_t next_ = 0;
};

// Arrow's writer reads up to 63 bytes behind the type ids and offsets of unions that are slices, or
// children of slices. Ours may end where their mapping does, so the writer gets padded copies.
arrow::Result<std::shared_ptr<arrow::ArrayData>> PadUnions(
    const std::shared_ptr<arrow::ArrayData>& data) {
  auto padded = std::make_shared<arrow::ArrayData>(*data);
  for (auto& child : padded->child_data) {
    ARROW_ASSIGN_OR_RAISE(child, PadUnions(child));
  }
  if (padded->dictionary) {
    ARROW_ASSIGN_OR_RAISE(padded->dictionary, PadUnions(padded->dictionary));
  }
  if (!arrow::is_union(StorageOf(*data->type).id())) return padded;
  for (auto& buffer : padded->buffers) {
    if (!buffer) continue;
    ARROW_ASSIGN_OR_RAISE(buffer, buffer->CopySlice(0, buffer->size()));
  }
  return padded;
}

bool HasUnion(const arrow::DataType& type) {
  if (arrow::is_union(StorageOf(type).id())) return true;
  const auto children = LayoutChildren(type);
  return std::any_of(children.begin(), children.end(),
                     [](const arrow::DataType* child) { return HasUnion(*child); });
}

arrow::Result<std::shared_ptr<arrow::RecordBatch>> PadUnions(
    const std::shared_ptr<arrow::RecordBatch>& batch) {
  auto columns = batch->column_data();
  for (auto& column : columns) {
    if (!HasUnion(*column->type)) continue;
    ARROW_ASSIGN_OR_RAISE(column, PadUnions(column));
  }
  return arrow::RecordBatch::Make(batch->schema(), batch->num_rows(), std::move(columns));
}

}  // namespace

std::shared_ptr<arrow::RecordBatchReader> MakeRecordBatchReader(
    std::shared_ptr<const Reader> reader) {
  return std::make_shared<BatchReader>(std::move(reader));
}

arrow::Status WriteIpcStream(const std::shared_ptr<const Reader>& reader,
                             arrow::io::OutputStream* sink) {
  ARROW_ASSIGN_OR_RAISE(auto writer, arrow::ipc::MakeStreamWriter(sink, reader->schema()));
  for (int64_t i = 0; i < reader->num_batches(); ++i) {
    ARROW_ASSIGN_OR_RAISE(auto batch, reader->ReadBatch(i));
    // Arrow's writer follows offsets and type ids, and the stream leaves those who check them.
    ARROW_RETURN_NOT_OK(batch->ValidateFull());
    ARROW_ASSIGN_OR_RAISE(batch, PadUnions(batch));
    ARROW_RETURN_NOT_OK(writer->WriteRecordBatch(*batch));
  }
  return writer->Close();
}

arrow::Result<Encoded> EncodeIpcStream(arrow::io::InputStream* stream, const AddressMap& addresses,
                                       const EncodeOptions& options) {
  ARROW_ASSIGN_OR_RAISE(auto reader, arrow::ipc::RecordBatchStreamReader::Open(stream));
  ARROW_ASSIGN_OR_RAISE(auto table, reader->ToTable());
  return Encode(*table, addresses, options);
}

}  // namespace zerrow::sipc
