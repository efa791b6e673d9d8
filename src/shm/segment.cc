#include "shm/segment.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <utility>

namespace zerrow::shm {

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

}  // namespace zerrow::shm
