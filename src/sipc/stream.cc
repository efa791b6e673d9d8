#include "sipc/stream.h"

#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>

#include <utility>

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
    // The stream's writer follows offsets and indices, so they must be right, not only in place.
    ARROW_RETURN_NOT_OK(batch->Validate());
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
