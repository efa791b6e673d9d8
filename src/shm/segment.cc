#include "shm/segment.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "shm/file_hold.h"
#include "shm/trim.h"

namespace zerrow::shm {

namespace {

constexpr int64_t kPageBytes = 4096;

}  // namespace

arrow::Result<std::shared_ptr<const Segment>> Segment::FromMemfd(SegmentId id, base::UniqueFd fd,
                                                                 int64_t size_bytes,
                                                                 const base::TaskThread& reaper) {
  if (!base::IsSealed(fd.get())) ARROW_RETURN_NOT_OK(base::SealMemfd(fd.get()));
  ARROW_ASSIGN_OR_RAISE(const int64_t size, base::FileSize(fd.get()));
  if (size != size_bytes) {
    return arrow::Status::Invalid("a segment of ", size, " bytes, not ", size_bytes);
  }
  Chunk chunk;
  chunk.size_bytes = size;
  auto* segment = new Segment(id, std::move(chunk), /*huge=*/false, nullptr);
  segment->file_ = std::move(fd);
  return Share(segment, reaper);
}

arrow::Result<std::shared_ptr<const Segment>> Segment::FromElsewhere(SegmentId id,
                                                                     base::UniqueFd fd) {
  if ((::fcntl(fd.get(), F_GETFL) & O_ACCMODE) != O_RDONLY && !base::IsSealed(fd.get())) {
    return arrow::Status::Invalid("a segment's descriptor by which it can be written");
  }
  Chunk chunk;
  ARROW_ASSIGN_OR_RAISE(chunk.size_bytes, base::FileSize(fd.get()));
  std::unique_ptr<Segment> segment(new Segment(id, std::move(chunk), /*huge=*/false, nullptr));
  segment->file_ = std::move(fd);
  return std::shared_ptr<const Segment>(std::move(segment));
}

std::shared_ptr<const Segment> Segment::Adopt(SegmentId id, Chunk chunk, bool huge,
                                              const base::TaskThread& reaper, Disposal disposal) {
  return Share(new Segment(id, std::move(chunk), huge, std::move(disposal)), reaper);
}

std::shared_ptr<const Segment> Segment::Share(Segment* segment, const base::TaskThread& reaper) {
  return std::shared_ptr<Segment>(segment, [handle = reaper.handle()](Segment* last) {
    handle.Post([last] { Dispose(last); });
  });
}

void Segment::Dispose(Segment* segment) {
  const std::unique_ptr<Segment> last(segment);
  if (last->disposal_) last->disposal_(std::move(last->chunk_));
}

arrow::Result<base::UniqueFd> Segment::Open() const {
  return file_.valid() ? base::Duplicate(file_.get()) : OpenForReading(chunk_);
}

int64_t Segment::backed_bytes() const {
  if (!file_.valid()) return BackedBytes(chunk_);
  struct stat info;
  return ::fstat(file_.get(), &info) == 0 ? int64_t{info.st_blocks} * 512 : 0;
}

arrow::Result<int64_t> Segment::Discard(std::span<const ByteRange> used) const {
  // With one handle it is a memfd, which was sealed.
  if (file_.valid() || !chunk_.readable.valid() || !chunk_.writable.valid()) {
    return arrow::Status::NotImplemented("memory that can't be given back in part");
  }
  std::vector<Reference> references;
  for (const ByteRange& range : used) references.push_back({id_, range.offset, range.length});
  ARROW_ASSIGN_OR_RAISE(auto unused, UncoveredRanges(references, size_bytes()));
  // What is left of a broken huge page costs readers more than the memory is worth.
  const int64_t page_bytes = huge_ ? kHugePageBytes : kPageBytes;
  for (ByteRange& range : unused) {
    const int64_t begin = (range.offset + page_bytes - 1) / page_bytes * page_bytes;
    const int64_t end = (range.offset + range.length) / page_bytes * page_bytes;
    range = {begin, std::max<int64_t>(end - begin, 0)};
  }
  std::erase_if(unused, [](const ByteRange& range) { return range.length == 0; });
  const int64_t before_bytes = backed_bytes();
  ARROW_ASSIGN_OR_RAISE(const base::UniqueFd fd, Reopen(chunk_.writable.get(), O_RDWR));
  ARROW_RETURN_NOT_OK(Punch(fd.get(), unused));
  return before_bytes - backed_bytes();
}

}  // namespace zerrow::shm
