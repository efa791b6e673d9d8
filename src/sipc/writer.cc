#include "sipc/writer.h"

#include <arrow/array/array_base.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/writer.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/mapping.h"
#include "sipc/array_encoder.h"
#include "sipc/buffer_table.h"
#include "sipc/format.h"
#include "sipc/layout.h"
#include "sipc/ranges.h"

namespace zerrow::sipc {
namespace {

uint64_t RoundUp(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

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

  arrow::Status Collect();
  arrow::Result<Encoded> Write();

 private:
  arrow::Status CollectColumns();
  arrow::Result<uint64_t> LayOut();
  void SetSection(SectionId id, uint64_t count, uint64_t* end);
  template <typename Record>
  void WriteSection(SectionId id, const std::vector<Record>& records, uint8_t* message) const;

  const arrow::Table& table_;
  const EncodeOptions& options_;
  std::shared_ptr<arrow::Buffer> schema_;
  LayoutTable layouts_;
  std::vector<ColumnRecord> columns_;
  BufferTable buffers_;
  ArrayEncoder arrays_;
  HeaderRecord header_ = {};
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

void MessageBuilder::SetSection(SectionId id, uint64_t count, uint64_t* end) {
  const auto alignment = id == kBodySection ? kBodyAlignment : kSectionAlignment;
  const uint64_t offset = RoundUp(*end, static_cast<uint64_t>(alignment));
  header_.sections[id] = {offset, count};
  *end = offset + count * kRecordBytes[id];
}

// Gives every section its place; the message's size.
arrow::Result<uint64_t> MessageBuilder::LayOut() {
  uint64_t end = sizeof(HeaderRecord);
  SetSection(kSchemaSection, static_cast<uint64_t>(schema_->size()), &end);
  SetSection(kSegmentsSection, buffers_.segments().size(), &end);
  SetSection(kLayoutsSection, layouts_.records().size(), &end);
  SetSection(kLayoutChildrenSection, layouts_.children().size(), &end);
  SetSection(kColumnsSection, columns_.size(), &end);
  SetSection(kDictionariesSection, arrays_.dictionaries().size(), &end);
  SetSection(kNodesSection, arrays_.nodes().size(), &end);
  SetSection(kSlotsSection, arrays_.slots().size(), &end);
  SetSection(kListsSection, arrays_.lists().size(), &end);
  SetSection(kBuffersSection, buffers_.records().size(), &end);
  SetSection(kHeadsSection, buffers_.heads().size(), &end);
  buffers_.Finish(static_cast<int64_t>(RoundUp(end, kBodyAlignment)));
  SetSection(kBodySection, static_cast<uint64_t>(buffers_.body_bytes()), &end);
  for (int i = 0; i < kNumSections; ++i) {
    if (header_.sections[i].count <= kMaxRecords[i]) continue;
    return arrow::Status::CapacityError(
        "a table with ", header_.sections[i].count, " ", kRecordNames[i], ", and ", kMaxRecords[i],
        " can be handed over: fewer and larger chunks help, as combine_chunks() makes them");
  }
  std::memcpy(header_.magic, kMagic, sizeof(kMagic));
  header_.version = kVersion;
  header_.header_bytes = sizeof(HeaderRecord);
  header_.message_bytes = end;
  header_.num_rows = static_cast<uint64_t>(table_.num_rows());
  return end;
}

// Also zeroes the gap up to the next section.
template <typename Record>
void MessageBuilder::WriteSection(SectionId id, const std::vector<Record>& records,
                                  uint8_t* message) const {
  const uint64_t offset = header_.sections[id].offset;
  const uint64_t bytes = records.size() * sizeof(Record);
  if (bytes > 0) std::memcpy(message + offset, records.data(), bytes);
  const uint64_t next = header_.sections[id + 1].offset;
  std::memset(message + offset + bytes, 0, next - (offset + bytes));
}

arrow::Result<Encoded> MessageBuilder::Write() {
  ARROW_ASSIGN_OR_RAISE(const uint64_t size, LayOut());
  Encoded encoded;
  if (options_.allocate) {
    ARROW_ASSIGN_OR_RAISE(encoded.message, options_.allocate(static_cast<int64_t>(size)));
  } else {
    ARROW_ASSIGN_OR_RAISE(encoded.message, arrow::AllocateBuffer(static_cast<int64_t>(size)));
  }
  uint8_t* message = encoded.message->mutable_data();
  std::memcpy(message, &header_, sizeof(header_));
  const auto* schema = schema_->data();
  WriteSection(kSchemaSection, std::vector<uint8_t>(schema, schema + schema_->size()), message);
  WriteSection(kSegmentsSection, buffers_.segments(), message);
  WriteSection(kLayoutsSection, layouts_.records(), message);
  WriteSection(kLayoutChildrenSection, layouts_.children(), message);
  WriteSection(kColumnsSection, columns_, message);
  WriteSection(kDictionariesSection, arrays_.dictionaries(), message);
  WriteSection(kNodesSection, arrays_.nodes(), message);
  WriteSection(kSlotsSection, arrays_.slots(), message);
  WriteSection(kListsSection, arrays_.lists(), message);
  WriteSection(kBuffersSection, buffers_.records(), message);
  WriteSection(kHeadsSection, buffers_.heads(), message);
  buffers_.WriteBody(message + header_.sections[kBodySection].offset);

  for (const Reference& reference : buffers_.References()) {
    encoded.referenced_bytes += reference.length;
    encoded.referenced_per_segment[reference.segment] += reference.length;
  }
  encoded.copied_bytes = buffers_.copied_bytes();
  return encoded;
}

}  // namespace

arrow::Result<Encoded> Encode(const arrow::Table& table, const AddressMap& addresses,
                              const EncodeOptions& options) {
  MessageBuilder builder(table, addresses, options);
  ARROW_RETURN_NOT_OK(builder.Collect());
  return builder.Write();
}

arrow::Result<EncodedFile> EncodeToMemfd(const std::string& name, const arrow::Table& table,
                                         const AddressMap& addresses, EncodeOptions options) {
  EncodedFile file;
  base::Mapping mapping;
  options.allocate = [&](int64_t size) -> arrow::Result<std::shared_ptr<arrow::Buffer>> {
    ARROW_ASSIGN_OR_RAISE(file.fd, base::MakeMemfd(name, size));
    ARROW_ASSIGN_OR_RAISE(
        mapping, base::Mapping::Map(file.fd.get(), size, base::Mapping::Access::kReadWrite));
    return std::make_shared<arrow::MutableBuffer>(mapping.data(), size);
  };
  ARROW_ASSIGN_OR_RAISE(file.encoded, Encode(table, addresses, options));
  file.encoded.message.reset();
  mapping = base::Mapping();  // a writable mapping would forbid the seal
  ARROW_RETURN_NOT_OK(base::SealMemfd(file.fd.get()));
  return file;
}

}  // namespace zerrow::sipc
