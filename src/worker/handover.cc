#include "worker/handover.h"

#include <arrow/io/file.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/mapping.h"
#include "sipc/address_map.h"
#include "sipc/ranges.h"
#include "sipc/reader.h"
#include "sipc/writer.h"
#include "worker/table_buffers.h"

namespace zerrow::worker {

namespace {

class MappedBuffer : public arrow::Buffer {
 public:
  explicit MappedBuffer(base::Mapping mapping)
      : arrow::Buffer(mapping.data(), mapping.size()), mapping_(std::move(mapping)) {}

 private:
  base::Mapping mapping_;
};

arrow::Result<std::shared_ptr<arrow::Buffer>> MapFile(int fd, int64_t size_bytes) {
  ARROW_ASSIGN_OR_RAISE(auto mapping,
                        base::Mapping::Map(fd, size_bytes, base::Mapping::Access::kReadOnly));
  return std::make_shared<MappedBuffer>(std::move(mapping));
}

arrow::Result<std::shared_ptr<arrow::Buffer>> ReadIntoHeap(int fd, int64_t size_bytes) {
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> buffer, arrow::AllocateBuffer(size_bytes));
  for (int64_t done = 0; done < size_bytes;) {
    const ssize_t got =
        ::pread(fd, buffer->mutable_data() + done, static_cast<size_t>(size_bytes - done), done);
    if (got > 0) {
      done += got;
    } else if (got == 0) {
      return arrow::Status::IOError("a message shorter than its size");
    } else if (errno != EINTR) {
      return base::ErrnoStatus(errno, "reading a message");
    }
  }
  return buffer;
}

// Below this, moving costs more than copying (docs/decisions/0006-kernelzero-in-workers.md).
int64_t MoveFromBytes(shm::KernelZero::Leaves leaves) {
  return leaves == shm::KernelZero::Leaves::kZeros ? 16 * 1024 : 32 * 1024;
}

// A segment that is kept for less costs more than the bytes: a descriptor, a mapping, a page.
constexpr int64_t kMinKeptBytes = 4096;

arrow::Result<std::vector<int64_t>> MoveRanges(const shm::KernelZero& kernelzero,
                                               std::span<const shm::MemoryRange> ranges,
                                               shm::KernelZero::Leaves leaves,
                                               std::optional<shm::MovedFile>* file,
                                               arrow::Status* status) {
  auto moved = kernelzero.Move(ranges, leaves);
  *status = moved.status();
  ARROW_RETURN_NOT_OK(*status);
  *file = std::move(*moved);
  return (*file)->offsets;
}

arrow::Result<std::shared_ptr<arrow::Table>> ReadArrowStream(
    std::shared_ptr<arrow::Buffer> message) {
  auto input = std::make_shared<arrow::io::BufferReader>(std::move(message));
  ARROW_ASSIGN_OR_RAISE(auto reader, arrow::ipc::RecordBatchStreamReader::Open(std::move(input)));
  return reader->ToTable();
}

arrow::Result<std::shared_ptr<arrow::Table>> CopyToHeap(const arrow::Table& table) {
  ARROW_ASSIGN_OR_RAISE(auto sink, arrow::io::BufferOutputStream::Create());
  ARROW_ASSIGN_OR_RAISE(auto writer, arrow::ipc::MakeStreamWriter(sink, table.schema()));
  ARROW_RETURN_NOT_OK(writer->WriteTable(table));
  ARROW_RETURN_NOT_OK(writer->Close());
  ARROW_ASSIGN_OR_RAISE(auto copy, sink->Finish());
  return ReadArrowStream(std::move(copy));
}

}  // namespace

std::string_view ToString(Format format) {
  switch (format) {
    case Format::kSipc:
      return "sipc";
    case Format::kArrowFile:
      return "arrow_file";
    case Format::kArrowFileHeap:
      return "arrow_file_heap";
    case Format::kSipcHeap:
      return "sipc_heap";
  }
  return "";
}

arrow::Result<Format> ParseFormat(std::string_view name) {
  for (Format format :
       {Format::kSipc, Format::kArrowFile, Format::kArrowFileHeap, Format::kSipcHeap}) {
    if (name == ToString(format)) return format;
  }
  return arrow::Status::Invalid("no such table format: '", name, "'");
}

arrow::Result<std::shared_ptr<arrow::Table>> Handover::Open(
    Format format, int message_fd, std::span<const GrantedSegment> segments, SegmentId message_id) {
  ARROW_ASSIGN_OR_RAISE(const int64_t size_bytes, base::FileSize(message_fd));
  std::shared_ptr<arrow::Table> table;
  if (format == Format::kArrowFileHeap) {
    ARROW_ASSIGN_OR_RAISE(auto file, ReadIntoHeap(message_fd, size_bytes));
    ARROW_ASSIGN_OR_RAISE(table, ReadArrowStream(std::move(file)));
  } else {
    ARROW_ASSIGN_OR_RAISE(auto message, MapFile(message_fd, size_bytes));
    if (format == Format::kSipc || format == Format::kSipcHeap) {
      if (message_id != 0) message = segments_.try_emplace(message_id, message).first->second;
      ARROW_ASSIGN_OR_RAISE(table, ReadSipc(std::move(message), segments));
    } else {
      ARROW_ASSIGN_OR_RAISE(table, ReadArrowStream(std::move(message)));
    }
  }
  ARROW_RETURN_NOT_OK(table->Validate());
  if (format == Format::kSipcHeap) {
    ARROW_ASSIGN_OR_RAISE(table, CopyToHeap(*table));
  }
  opened_.push_back(table);
  return table;
}

arrow::Result<std::shared_ptr<arrow::Table>> Handover::ReadSipc(
    std::shared_ptr<arrow::Buffer> message, std::span<const GrantedSegment> segments) {
  // A segment that several inputs lie in is mapped once: it is one place for the address map.
  std::map<SegmentId, std::shared_ptr<arrow::Buffer>> granted;
  for (const GrantedSegment& segment : segments) {
    auto& mapped = segments_[segment.id];
    if (mapped == nullptr) {
      ARROW_ASSIGN_OR_RAISE(mapped, MapFile(segment.fd, segment.size_bytes));
    }
    granted.emplace(segment.id, mapped);
  }
  auto resolve = [granted = std::move(granted)](
                     SegmentId id) -> arrow::Result<std::shared_ptr<arrow::Buffer>> {
    const auto found = granted.find(id);
    if (found == granted.end()) {
      return arrow::Status::SerializationError("segment ", id, " wasn't granted with this table");
    }
    return found->second;
  };
  ARROW_ASSIGN_OR_RAISE(auto reader, sipc::Reader::Open(std::move(message), std::move(resolve)));
  return reader->ReadTable();
}

sipc::AddressMap Handover::InputSegments() const {
  sipc::AddressMap addresses;
  for (const auto& [id, mapped] : segments_) addresses.Add(id, mapped->data(), mapped->size());
  return addresses;
}

Reshared Handover::ReshareContent(const std::shared_ptr<arrow::Table>& table, bool split) const {
  return worker::ReshareContent(table, opened_, InputSegments(), split);
}

int64_t Handover::CountDuplicates(const std::shared_ptr<arrow::Table>& table) const {
  return CountDuplicateBytes(table, opened_);
}

// The inputs' segments that the output keeps anyway, as larger buffers lie there, and those that
// hold little else than what it has of them in buffers of less than `small_bytes`: a reference
// keeps all of a segment, which must not be more than twice of what copies would be.
std::set<SegmentId> Handover::StayingSegments(const arrow::Table& table,
                                              int64_t small_bytes) const {
  std::set<SegmentId> staying;
  if (segments_.empty()) return staying;
  const sipc::AddressMap inputs = InputSegments();
  std::vector<Reference> small;
  ForEachUse(table, [&](const arrow::Buffer& buffer) {
    const auto reference = inputs.Find(buffer.data(), buffer.size());
    if (!reference || staying.contains(reference->segment)) return;
    if (buffer.size() < small_bytes) {
      small.push_back(*reference);
    } else {
      staying.insert(reference->segment);
    }
  });
  std::map<SegmentId, int64_t> used_bytes;
  for (const Reference& reference : sipc::MergeReferences(std::move(small))) {
    used_bytes[reference.segment] += reference.length;
  }
  for (const auto& [id, bytes] : used_bytes) {
    if (bytes >= kMinKeptBytes && bytes >= segments_.at(id)->size() / 2) staying.insert(id);
  }
  return staying;
}

arrow::Result<Published> Handover::Publish(const arrow::Table& table, sipc::AddressMap addresses,
                                           sipc::EncodeOptions options) {
  options.staying = StayingSegments(table, options.inline_below_bytes);
  for (const auto& [id, mapped] : segments_) addresses.Add(id, mapped->data(), mapped->size());
  ARROW_ASSIGN_OR_RAISE(auto file, sipc::EncodeToMemfd("zerrow-table", table, addresses, options));
  Published published;
  published.format = Format::kSipc;
  published.message = std::move(file.fd);
  published.rows = table.num_rows();
  ByteCounts& counts = published.bytes;
  counts.copied_bytes = file.encoded.copied_bytes;
  for (const auto& [id, bytes] : file.encoded.referenced_per_segment) {
    (segments_.contains(id) ? counts.reshared_bytes : counts.new_bytes) += bytes;
  }
  return published;
}

arrow::Result<Published> Handover::PublishByReference(const arrow::Table& table,
                                                      std::span<const ShareableRange> shareable) {
  sipc::AddressMap addresses;
  for (const ShareableRange& range : shareable) {
    addresses.Add(range.segment, range.address, range.size_bytes, range.offset);
  }
  return Publish(table, std::move(addresses), {});
}

arrow::Result<Published> Handover::PublishByMoving(const arrow::Table& table, SegmentId segment,
                                                   shm::KernelZero::Leaves leaves) {
  ARROW_ASSIGN_OR_RAISE(const auto kernelzero, shm::KernelZero::Open());
  sipc::EncodeOptions options;
  options.inline_below_bytes = MoveFromBytes(leaves);
  ARROW_ASSIGN_OR_RAISE(const auto movable, shm::MovableMemory(options.inline_below_bytes));
  sipc::AddressMap addresses;
  for (const auto& [address, length] : movable) {
    addresses.Add(segment, reinterpret_cast<const uint8_t*>(address), length,
                  static_cast<int64_t>(address));
  }
  std::optional<shm::MovedFile> file;
  arrow::Status moved;
  options.movable = {segment, [&](std::span<const Reference> ranges) {
                       std::vector<shm::MemoryRange> memory;
                       for (const auto& [id, address, length] : ranges) {
                         memory.push_back({static_cast<uintptr_t>(address), length});
                       }
                       return MoveRanges(kernelzero, memory, leaves, &file, &moved);
                     }};
  auto published = Publish(table, std::move(addresses), options);
  // Locked memory, for instance, can't be moved: then all is copied, if it's there still.
  if (!published.ok() && moved.IsIOError()) {
    published = Publish(table, {}, {});
    if (published.ok()) published->not_moved = moved;
    return published;
  }
  if (!published.ok() || !file) return published;
  published->bytes.new_bytes -= file->copied_bytes;
  published->bytes.copied_bytes += file->copied_bytes;
  published->moved = std::move(file->fd);
  return published;
}

void Handover::LetGo() const {
  for (const auto& [id, mapped] : segments_) {
    ::munmap(const_cast<uint8_t*>(mapped->data()), static_cast<size_t>(mapped->size()));
  }
}

arrow::Result<Published> Handover::PublishByCopy(const arrow::Table& table) {
  Published published;
  published.format = Format::kArrowFile;
  ARROW_ASSIGN_OR_RAISE(published.message, base::MakeMemfd("zerrow-table"));
  ARROW_ASSIGN_OR_RAISE(base::UniqueFd sink, base::Duplicate(published.message.get()));
  // Plain write(2) from Arrow's buffers: one pass over the bytes and no page faults here.
  ARROW_ASSIGN_OR_RAISE(auto output, arrow::io::FileOutputStream::Open(sink.release()));
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  options.alignment = 64;
  // Not Arrow's file format: that allows one dictionary a column, but a table may have another in
  // every chunk, and Arrow can't unify those that hold nulls or need wider indices together.
  ARROW_ASSIGN_OR_RAISE(auto writer, arrow::ipc::MakeStreamWriter(output, table.schema(), options));
  ARROW_RETURN_NOT_OK(writer->WriteTable(table));
  ARROW_RETURN_NOT_OK(writer->Close());
  ARROW_RETURN_NOT_OK(output->Close());
  ARROW_RETURN_NOT_OK(base::SealMemfd(published.message.get()));
  published.rows = table.num_rows();
  ARROW_ASSIGN_OR_RAISE(published.bytes.copied_bytes, base::FileSize(published.message.get()));
  return published;
}

}  // namespace zerrow::worker
