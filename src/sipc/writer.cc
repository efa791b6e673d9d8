#include "sipc/writer.h"

#include <arrow/array/array_base.h>
#include <arrow/ipc/writer.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>
#include <vector>

#include "sipc/array_encoder.h"
#include "sipc/buffer_table.h"
#include "sipc/format.h"
#include "sipc/layout.h"
#include "sipc/sections.h"

namespace zerrow::sipc {
namespace {

// Starts loading what encoding a column will look at. In a table of many small arrays nearly all
// of the time goes into waiting for these objects, one after the other; so it takes half.
void Prefetch(const arrow::ArrayVector& chunks) {
  std::vector<const arrow::ArrayData*> arrays;
  arrays.reserve(chunks.size());
  for (const auto& chunk : chunks) {
    const auto* bytes = reinterpret_cast<const char*>(chunk->data().get());
    for (size_t i = 0; i < sizeof(arrow::ArrayData); i += 64) __builtin_prefetch(bytes + i);
    arrays.push_back(chunk->data().get());
  }
  for (const arrow::ArrayData* array : arrays) __builtin_prefetch(array->buffers.data());
  for (const arrow::ArrayData* array : arrays) {
    for (const auto& buffer : array->buffers) __builtin_prefetch(buffer.get());
  }
}

// What goes into one message, before its bytes are laid out.
class MessageBuilder {
 public:
  MessageBuilder(const arrow::Table& table, const AddressMap& addresses,
                 const EncodeOptions& options)
      : table_(table),
        options_(options),
        buffers_(addresses, options.inline_below_bytes, options.staying,
                 options.movable ? options.movable->id : SegmentId{0}),
        arrays_(layouts_, &buffers_) {}

  /// First; then LayOut; then the body is to be copied, and Move comes before the rest.
  arrow::Status Collect();
  arrow::Status LayOut();

  int64_t head_bytes() const { return head_bytes_; }
  int64_t message_bytes() const { return message_bytes_; }
  /// The body's bytes, piece by piece.
  std::vector<std::string_view> BodyParts() const { return buffers_.BodyParts(); }
  arrow::Status Move();
  /// Writes the head_bytes() in front of the body.
  void WriteHead(uint8_t* message) const { sections_.WriteHead(message); }
  /// What is to be said of the message, which isn't in it.
  Encoded Summarize() const;

 private:
  arrow::Status CollectColumns();

  const arrow::Table& table_;
  const EncodeOptions& options_;
  std::shared_ptr<arrow::Buffer> schema_;
  LayoutTable layouts_;
  std::vector<ColumnRecord> columns_;
  BufferTable buffers_;
  ArrayEncoder arrays_;
  Sections sections_;
  int64_t head_bytes_ = 0;
  int64_t message_bytes_ = 0;
};

arrow::Status MessageBuilder::Collect() {
  for (const auto& field : table_.schema()->fields()) {
    ARROW_ASSIGN_OR_RAISE(uint32_t layout, layouts_.Add(*field->type()));
    const auto num_chunks = table_.column(static_cast<int>(columns_.size()))->num_chunks();
    columns_.push_back({layout, static_cast<uint32_t>(num_chunks)});
  }
  arrays_.Reserve(columns_);
  ARROW_ASSIGN_OR_RAISE(schema_, arrow::ipc::SerializeSchema(*table_.schema()));
  ARROW_RETURN_NOT_OK(CollectColumns());
  ARROW_RETURN_NOT_OK(arrays_.AddDictionaries());
  buffers_.DropMovableHeads();
  return arrow::Status::OK();
}

arrow::Status MessageBuilder::Move() {
  return options_.movable ? buffers_.Move(options_.movable->move) : arrow::Status::OK();
}

arrow::Status MessageBuilder::CollectColumns() {
  for (int i = 0; i < table_.num_columns(); ++i) {
    const arrow::Field& field = *table_.schema()->field(i);
    int64_t rows = 0;
    Prefetch(table_.column(i)->chunks());
    for (const auto& chunk : table_.column(i)->chunks()) {
      rows += chunk->length();
      arrow::Status status =
          arrays_.Add(*field.type(), columns_[static_cast<size_t>(i)].layout, *chunk->data());
      if (!status.ok()) {
        return status.WithMessage("column ", field.name(), ": ", status.message());
      }
    }
    if (rows != table_.num_rows()) {
      return arrow::Status::Invalid("column ", field.name(), " has ", rows, " rows, the table ",
                                    table_.num_rows());
    }
  }
  return arrow::Status::OK();
}

arrow::Status MessageBuilder::LayOut() {
  sections_.SetBytes(kSchemaSection,
                     std::span(schema_->data(), static_cast<size_t>(schema_->size())));
  sections_.Set(kSegmentsSection, buffers_.segments());
  sections_.Set(kLayoutsSection, layouts_.records());
  sections_.Set(kLayoutChildrenSection, layouts_.children());
  sections_.Set(kColumnsSection, columns_);
  sections_.Set(kDictionariesSection, arrays_.dictionaries());
  sections_.Set(kNodesSection, arrays_.nodes());
  sections_.Set(kSlotsSection, arrays_.slots());
  sections_.Set(kListsSection, arrays_.lists());
  sections_.Set(kBuffersSection, buffers_.records());
  sections_.Set(kHeadsSection, buffers_.heads());
  const arrow::Result<int64_t> body_offset = sections_.LayOut();
  if (!body_offset.ok()) {
    return body_offset.status().WithMessage(
        body_offset.status().message(),
        ": fewer and larger chunks help, as combine_chunks() makes them");
  }
  head_bytes_ = *body_offset;
  buffers_.Finish(head_bytes_);
  message_bytes_ = sections_.Finish(table_.num_rows(), buffers_.body_bytes());
  return arrow::Status::OK();
}

Encoded MessageBuilder::Summarize() const {
  Encoded encoded;
  for (const Reference& reference : buffers_.References()) {
    encoded.referenced_bytes += reference.length;
    encoded.referenced_per_segment[reference.segment] += reference.length;
  }
  encoded.copied_bytes = buffers_.copied_bytes();
  return encoded;
}

arrow::Status WritePartsAt(int fd, int64_t offset, std::vector<std::string_view> parts) {
  if (::lseek(fd, offset, SEEK_SET) < 0) return base::ErrnoStatus(errno, "seek");
  return base::WriteParts(fd, std::move(parts));
}

}  // namespace

arrow::Result<Encoded> Encode(const arrow::Table& table, const AddressMap& addresses,
                              const EncodeOptions& options) {
  MessageBuilder builder(table, addresses, options);
  ARROW_RETURN_NOT_OK(builder.Collect());
  ARROW_RETURN_NOT_OK(builder.LayOut());
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> message,
                        arrow::AllocateBuffer(builder.message_bytes()));
  uint8_t* at = message->mutable_data() + builder.head_bytes();
  for (const std::string_view part : builder.BodyParts()) {
    at = std::copy_n(part.data(), part.size(), at);
  }
  ARROW_RETURN_NOT_OK(builder.Move());
  builder.WriteHead(message->mutable_data());
  Encoded encoded = builder.Summarize();
  encoded.message = std::move(message);
  return encoded;
}

arrow::Result<EncodedFile> EncodeToMemfd(const std::string& name, const arrow::Table& table,
                                         const AddressMap& addresses,
                                         const EncodeOptions& options) {
  MessageBuilder builder(table, addresses, options);
  ARROW_RETURN_NOT_OK(builder.Collect());
  ARROW_RETURN_NOT_OK(builder.LayOut());
  EncodedFile file;
  // Written, not copied into a mapping: the kernel needn't zero pages first that a write covers.
  ARROW_ASSIGN_OR_RAISE(file.fd, base::MakeMemfd(name));
  ARROW_RETURN_NOT_OK(WritePartsAt(file.fd.get(), builder.head_bytes(), builder.BodyParts()));
  ARROW_RETURN_NOT_OK(builder.Move());
  std::string head(static_cast<size_t>(builder.head_bytes()), '\0');
  builder.WriteHead(reinterpret_cast<uint8_t*>(head.data()));
  ARROW_RETURN_NOT_OK(WritePartsAt(file.fd.get(), 0, {head}));
  ARROW_RETURN_NOT_OK(base::SealMemfd(file.fd.get()));
  file.encoded = builder.Summarize();
  return file;
}

}  // namespace zerrow::sipc
