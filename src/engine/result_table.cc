#include "engine/result_table.h"

#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>

#include <utility>

#include "base/exceptions.h"
#include "base/mapping.h"
#include "shm/segment.h"
#include "sipc/reader.h"

namespace zerrow::engine {

namespace {

// A mapping as a buffer that keeps whatever the bytes belong to.
class MappedBuffer : public arrow::Buffer {
 public:
  MappedBuffer(base::Mapping mapping, std::shared_ptr<const void> owner)
      : arrow::Buffer(mapping.data(), mapping.size()),
        mapping_(std::move(mapping)),
        owner_(std::move(owner)) {}

 private:
  base::Mapping mapping_;
  std::shared_ptr<const void> owner_;
};

arrow::Result<std::shared_ptr<arrow::Buffer>> Map(int fd, int64_t size_bytes,
                                                  std::shared_ptr<const void> owner) {
  ARROW_ASSIGN_OR_RAISE(auto mapping,
                        base::Mapping::Map(fd, size_bytes, base::Mapping::Access::kReadOnly));
  return std::make_shared<MappedBuffer>(std::move(mapping), std::move(owner));
}

arrow::Result<std::shared_ptr<arrow::Table>> ReadStream(std::shared_ptr<arrow::Buffer> message) {
  auto options = arrow::ipc::IpcReadOptions::Defaults();
  options.use_threads = false;
  ARROW_ASSIGN_OR_RAISE(
      const auto reader,
      arrow::ipc::RecordBatchStreamReader::Open(
          std::make_shared<arrow::io::BufferReader>(std::move(message)), options));
  return reader->ToTable();
}

arrow::Result<std::shared_ptr<arrow::Buffer>> MapSegment(
    const std::shared_ptr<const ResultTable>& table, SegmentId id) {
  ARROW_ASSIGN_OR_RAISE(const auto segment, table->Find(id));
  ARROW_ASSIGN_OR_RAISE(const base::UniqueFd fd, segment->Open());
  return Map(fd.get(), segment->size_bytes(), table);
}

arrow::Result<std::shared_ptr<arrow::Table>> ReadReferences(
    std::shared_ptr<arrow::Buffer> message, const std::shared_ptr<const ResultTable>& table) {
  const auto resolve = [table](SegmentId id) { return MapSegment(table, id); };
  ARROW_ASSIGN_OR_RAISE(const auto reader, sipc::Reader::Open(std::move(message), resolve));
  return reader->ReadTable();
}

arrow::Result<std::shared_ptr<arrow::Table>> Open(const std::shared_ptr<const ResultTable>& table) {
  ARROW_ASSIGN_OR_RAISE(auto message, MapSegment(table, table->table().message.id));
  const bool stream = table->table().format == PublishedTable::Format::kArrowFile;
  ARROW_ASSIGN_OR_RAISE(auto opened, stream ? ReadStream(std::move(message))
                                            : ReadReferences(std::move(message), table));
  ARROW_RETURN_NOT_OK(opened->ValidateFull());
  return opened;
}

}  // namespace

arrow::Result<std::shared_ptr<const shm::Segment>> ResultTable::Find(SegmentId id) const {
  const std::lock_guard lock(mutex_);
  const auto found = segments_.find(id);
  if (found == segments_.end()) {
    return arrow::Status::SerializationError("a segment that the table doesn't hold");
  }
  Held& held = found->second;
  if (held.segment == nullptr && held.copy != nullptr) {
    ARROW_ASSIGN_OR_RAISE(base::UniqueFd file, held.copy->LoadFile());
    ARROW_ASSIGN_OR_RAISE(held.segment, shm::Segment::FromElsewhere(id, std::move(file)));
  }
  if (held.segment == nullptr) return arrow::Status::IOError("a segment of the table is gone");
  return held.segment;
}

arrow::Result<std::shared_ptr<arrow::Table>> OpenTable(
    const std::shared_ptr<const ResultTable>& table) {
  return base::CatchExceptions([&] { return Open(table); });
}

}  // namespace zerrow::engine
