// Frozen means sealed: the strongest that there is, but for good. A sealed page can be neither
// written again nor punched, so only chunks that were never published come back.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "shm/chunk_source.h"
#include "shm/file_hold.h"

namespace zerrow::shm {

namespace {

// From the start on: a worker can't resize its chunk.
constexpr int kFirstSeals = F_SEAL_GROW | F_SEAL_SHRINK;
// With one of these, which a worker could set, a chunk is of no use to the next one.
constexpr int kSpoilingSeals = F_SEAL_WRITE | F_SEAL_SEAL | F_SEAL_FUTURE_WRITE;

class MemfdSource : public ChunkSource {
 public:
  std::string_view name() const override { return "memfd"; }
  bool huge_pages() const override { return false; }
  bool recycles_published() const override { return false; }
  bool resizable() const override { return false; }

  arrow::Result<Chunk> Make(int64_t size_bytes) const override {
    ARROW_ASSIGN_OR_RAISE(const base::UniqueFd fd, base::MakeMemfd("zerrow-chunk", size_bytes));
    if (::fcntl(fd.get(), F_ADD_SEALS, kFirstSeals) != 0) {
      return base::ErrnoStatus(errno, "sealing a chunk's size");
    }
    Chunk chunk;
    chunk.size_bytes = size_bytes;
    // The descriptor that memfd_create gives isn't counted as a holder; those opened by this are.
    ARROW_ASSIGN_OR_RAISE(chunk.writable, Reopen(fd.get(), O_PATH));
    return chunk;
  }

  arrow::Status Reclaim(Chunk& chunk) const override {
    ARROW_ASSIGN_OR_RAISE(const base::UniqueFd fd, OpenForWriting(chunk));
    ARROW_RETURN_NOT_OK(CheckNoOtherUsers(fd.get()));
    const int seals = ::fcntl(fd.get(), F_GET_SEALS);
    if (seals < 0) return base::ErrnoStatus(errno, "reading a chunk's seals");
    if ((seals & kSpoilingSeals) != 0) return arrow::Status::IOError("a chunk that was sealed");
    chunk.dirty = true;
    return arrow::Status::OK();
  }

  arrow::Status Resize(Chunk& /*chunk*/, int64_t /*size_bytes*/) const override {
    return arrow::Status::NotImplemented("a memfd chunk's size is sealed");
  }

  arrow::Result<base::UniqueFd> Freeze(Chunk& chunk) const override {
    ARROW_ASSIGN_OR_RAISE(const base::UniqueFd writer, OpenForWriting(chunk));
    if (!base::IsSealed(writer.get())) ARROW_RETURN_NOT_OK(base::SealMemfd(writer.get()));
    ARROW_RETURN_NOT_OK(CheckSize(writer.get(), chunk.size_bytes));
    return OpenForReading(chunk);
  }
};

}  // namespace

std::unique_ptr<ChunkSource> MakeMemfdSource() { return std::make_unique<MemfdSource>(); }

}  // namespace zerrow::shm
