#include "engine/publish_output.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "base/mapping.h"
#include "shm/segment.h"
#include "sipc/check.h"

namespace zerrow::engine {

namespace {

using arrow::Status;

arrow::Result<sipc::Summary> CheckMessage(const shm::Segment& message, const Segments& segments,
                                          const std::vector<shm::GrantedChunk>& chunks) {
  std::map<SegmentId, int64_t> granted;
  for (const auto& [id, segment] : segments) granted.emplace(id, segment->size_bytes());
  for (const auto& chunk : chunks) granted.emplace(chunk.id, chunk.chunk.size_bytes);
  ARROW_ASSIGN_OR_RAISE(const base::UniqueFd fd, message.Open());
  ARROW_ASSIGN_OR_RAISE(const auto mapping, base::Mapping::Map(fd.get(), message.size_bytes(),
                                                               base::Mapping::Access::kReadOnly));
  return sipc::Check({mapping.data(), static_cast<size_t>(mapping.size())}, granted);
}

// Only a file that can't change any more may be checked once and believed afterwards, and only one
// whose bytes are there costs no more than it holds.
arrow::Result<std::shared_ptr<const shm::Segment>> AdoptMessage(base::UniqueFd file,
                                                                shm::SegmentIds& ids,
                                                                const base::TaskThread& reaper) {
  ARROW_ASSIGN_OR_RAISE(const int64_t size_bytes, base::SealedSize(file.get()));
  return shm::Segment::FromMemfd(ids.Next(), std::move(file), size_bytes, reaper);
}

// KernelZero leaves a hole of less than a huge page before a range that has whole ones, and as much
// where the kernel has made its file's end huge. More than that is nobody's honest file: reading a
// hole costs memory that its maker never had.
arrow::Result<int64_t> MovedSize(int fd) {
  constexpr int64_t kBlockBytes = 512;
  constexpr int64_t kHugePageBytes = 2 << 20;
  if (!base::IsSealed(fd)) return Status::SerializationError("a file that isn't sealed");
  struct stat info;
  if (::fstat(fd, &info) != 0) return base::ErrnoStatus(errno, "fstat");
  const int64_t there = int64_t{info.st_blocks} * kBlockBytes;
  if (there < kHugePageBytes || info.st_size > 2 * there + kHugePageBytes) {
    return base::SealedSize(fd);
  }
  return static_cast<int64_t>(info.st_size);
}

// What the worker has moved into a file itself. Null: nothing.
arrow::Result<std::shared_ptr<const shm::Segment>> PublishMoved(base::UniqueFd file, SegmentId id,
                                                                shm::SharedMemory& memory) {
  if (!file.valid()) return nullptr;
  // By whom it was made doesn't matter, only that nobody can change it any more.
  if (id == 0) return Status::SerializationError("a file that nobody asked for");
  ARROW_ASSIGN_OR_RAISE(const int64_t size_bytes, MovedSize(file.get()));
  return memory.PublishMemfd(id, std::move(file), size_bytes);
}

// Only the worker can tell how many, but there are no more than it has stored.
std::optional<int64_t> DuplicateBytes(const ByteCounts& claimed, const ByteCounts& stored) {
  if (!claimed.duplicate_bytes) return std::nullopt;
  return std::min(*claimed.duplicate_bytes, stored.new_bytes + stored.copied_bytes);
}

// Bytes by where they lie. `moved` is the segment of what the worker moved itself.
ByteCounts CountBytes(const sipc::Summary& summary, const Segments& inputs, SegmentId moved,
                      const ByteCounts& claimed) {
  ByteCounts counts;
  int64_t moved_bytes = 0;
  for (const Reference& reference : summary.references) {
    (inputs.contains(reference.segment) ? counts.reshared_bytes : counts.new_bytes) +=
        reference.length;
    if (reference.segment == moved) moved_bytes += reference.length;
  }
  // The message's body also holds padding, and a moved file pages that had to be copied: only the
  // worker can tell.
  counts.copied_bytes = std::min(claimed.copied_bytes, summary.inline_bytes + moved_bytes);
  counts.new_bytes -= std::max<int64_t>(0, counts.copied_bytes - summary.inline_bytes);
  counts.content_reshared_bytes = std::min(claimed.content_reshared_bytes, counts.reshared_bytes);
  counts.duplicate_bytes = DuplicateBytes(claimed, counts);
  return counts;
}

// Of a segment with more pieces than this all counts as used.
constexpr size_t kMaxUsedRanges = 4096;

// Appends a range that begins behind the last one; what lies on the same page is one.
void AddRange(std::vector<ByteRange>& ranges, int64_t offset, int64_t length) {
  constexpr int64_t kPageBytes = 4096;
  const int64_t end = offset + length;
  if (!ranges.empty() && offset - (ranges.back().offset + ranges.back().length) < kPageBytes) {
    ranges.back().length = end - ranges.back().offset;
  } else {
    ranges.push_back({offset, length});
  }
}

// The segments that the message refers to, in the order of their ids.
std::vector<resource::SegmentBytes> UsedSegments(const sipc::Summary& summary,
                                                 const Segments& known) {
  std::vector<resource::SegmentBytes> used;
  for (const Reference& reference : summary.references) {
    if (used.empty() || used.back().id != reference.segment) {
      used.push_back({reference.segment, known.at(reference.segment)->backed_bytes()});
    }
    AddRange(used.back().used, reference.offset, reference.length);
  }
  for (resource::SegmentBytes& segment : used) {
    if (segment.used.size() > kMaxUsedRanges) segment.used.clear();
  }
  return used;
}

}  // namespace

arrow::Result<Publication> PublishReferences(OutputAnswer output, Granted granted,
                                             shm::SegmentIds& ids, const base::TaskThread& reaper,
                                             shm::SharedMemory& memory) {
  ARROW_ASSIGN_OR_RAISE(const auto message, AdoptMessage(std::move(output.message), ids, reaper));
  ARROW_ASSIGN_OR_RAISE(const auto moved,
                        PublishMoved(std::move(output.moved), granted.moved, memory));
  Segments known = granted.inputs;
  if (moved) known.emplace(moved->id(), moved);
  ARROW_ASSIGN_OR_RAISE(const sipc::Summary summary, CheckMessage(*message, known, granted.chunks));
  ARROW_ASSIGN_OR_RAISE(auto published,
                        memory.Publish(std::move(granted.chunks), summary.references));
  Publication publication;
  publication.segments = std::move(published.segments);
  for (const auto& segment : publication.segments) known.emplace(segment->id(), segment);

  auto table = std::make_shared<PublishedTable>();
  table->message = {message->id(), message->size_bytes()};
  table->segments = UsedSegments(summary, known);
  table->rows = summary.num_rows;
  table->bytes = CountBytes(summary, granted.inputs, granted.moved, output.bytes);
  table->timings = output.timings;
  table->answered_cpu_s = output.answered_cpu_s;
  table->content_hash = std::move(output.content_hash);
  table->timings.trim_cpu_s = published.trim_cpu_s;
  table->timings.freeze_cpu_s = published.freeze_cpu_s;
  // A file of which nothing is used isn't the table's.
  const bool uses_moved = moved && std::ranges::any_of(table->segments, [&](const auto& segment) {
                            return segment.id == moved->id();
                          });
  if (uses_moved) publication.segments.push_back(moved);
  publication.segments.push_back(message);
  publication.table = std::move(table);
  return publication;
}

bool IsSealed(const OutputAnswer& output) {
  return base::IsSealed(output.message.get()) &&
         (!output.moved.valid() || base::IsSealed(output.moved.get()));
}

arrow::Result<Publication> PublishFile(OutputAnswer output, shm::SegmentIds& ids,
                                       const base::TaskThread& reaper) {
  if (output.format != PublishedTable::Format::kArrowFile) {
    return Status::SerializationError("an output by reference, which this backend doesn't have");
  }
  // Its writer is gone, so the seals can't fail unless somebody else holds it.
  if (!base::IsSealed(output.message.get())) {
    ARROW_RETURN_NOT_OK(base::SealMemfd(output.message.get()));
  }
  ARROW_ASSIGN_OR_RAISE(const auto message, AdoptMessage(std::move(output.message), ids, reaper));
  auto table = std::make_shared<PublishedTable>();
  table->format = PublishedTable::Format::kArrowFile;
  table->message = {message->id(), message->size_bytes()};
  table->rows = output.rows;
  table->bytes.copied_bytes = message->size_bytes();
  table->bytes.duplicate_bytes = DuplicateBytes(output.bytes, table->bytes);
  table->timings = output.timings;
  table->answered_cpu_s = output.answered_cpu_s;
  table->content_hash = std::move(output.content_hash);
  return Publication{std::move(table), {message}};
}

}  // namespace zerrow::engine
