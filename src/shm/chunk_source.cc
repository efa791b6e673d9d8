#include "shm/chunk_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/file_hold.h"

namespace zerrow::shm {

arrow::Result<base::UniqueFd> ChunkSource::OpenForWriting(const Chunk& chunk) const {
  return Reopen(chunk.writable.get(), O_RDWR);
}

arrow::Status ChunkSource::CheckUnused(const Chunk& chunk) const {
  ARROW_ASSIGN_OR_RAISE(const base::UniqueFd fd, OpenForWriting(chunk));
  return CheckNoOtherUsers(fd.get());
}

arrow::Result<base::UniqueFd> OpenForReading(const Chunk& chunk) {
  return Reopen((chunk.readable.valid() ? chunk.readable : chunk.writable).get(), O_RDONLY);
}

arrow::Status CheckSize(int fd, int64_t size_bytes) {
  ARROW_ASSIGN_OR_RAISE(const int64_t size, base::FileSize(fd));
  if (size == size_bytes) return arrow::Status::OK();
  return arrow::Status::IOError("a worker changed the size of its memory from ", size_bytes, " to ",
                                size, " bytes");
}

int64_t BackedBytes(const Chunk& chunk) {
  struct stat info;
  const base::UniqueFd& any = chunk.writable.valid() ? chunk.writable : chunk.readable;
  return ::fstat(any.get(), &info) == 0 ? int64_t{info.st_blocks} * 512 : 0;
}

}  // namespace zerrow::shm
