#include "shm/segment.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <utility>

namespace zerrow::shm {

arrow::Result<std::shared_ptr<const Segment>> Segment::FromMemfd(SegmentId id, base::UniqueFd fd,
                                                                 int64_t size_bytes,
                                                                 const Reaper& reaper) {
  if (!base::IsSealed(fd.get())) ARROW_RETURN_NOT_OK(base::SealMemfd(fd.get()));
  ARROW_ASSIGN_OR_RAISE(const int64_t size, base::FileSize(fd.get()));
  if (size != size_bytes) {
    return arrow::Status::Invalid("a segment of ", size, " bytes, not ", size_bytes);
  }
  return Adopt(id, std::move(fd), size, /*huge=*/false, reaper);
}

std::shared_ptr<const Segment> Segment::Adopt(SegmentId id, base::UniqueFd fd, int64_t size_bytes,
                                              bool huge, const Reaper& reaper, Disposal disposal) {
  auto* segment = new Segment(id, std::move(fd), size_bytes, huge, std::move(disposal));
  return std::shared_ptr<Segment>(segment, [handle = reaper.handle()](Segment* last) {
    handle.Post([last] { Dispose(last); });
  });
}

void Segment::Dispose(Segment* segment) {
  const Disposal disposal = std::move(segment->disposal_);
  delete segment;
  if (disposal) disposal();
}

int64_t Segment::backed_bytes() const {
  struct stat info;
  return ::fstat(fd_.get(), &info) == 0 ? int64_t{info.st_blocks} * 512 : 0;
}

}  // namespace zerrow::shm
