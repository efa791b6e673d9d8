// Frozen means: the only way to readers' descriptors leads through a read-only mount, and the
// kernel has confirmed that no descriptor or mapping for writing is left anywhere. The source
// alone can make new ones, and does so only once nobody holds the file any more.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "shm/chunk_source.h"
#include "shm/file_hold.h"
#include "shm/private_tmpfs.h"

namespace zerrow::shm {

namespace {

class TmpfsSource : public ChunkSource {
 public:
  explicit TmpfsSource(PrivateTmpfs tmpfs) : tmpfs_(std::move(tmpfs)) {}

  std::string_view name() const override { return "tmpfs"; }
  bool huge_pages() const override { return tmpfs_.huge; }
  bool recycles_published() const override { return true; }
  bool resizable() const override { return true; }

  arrow::Result<Chunk> Make(int64_t size_bytes) const override {
    // It never had a name, so it can be given one later, once.
    const base::UniqueFd file(
        ::openat(tmpfs_.writable_dir.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!file.valid()) return base::ErrnoStatus(errno, "making a chunk");
    Chunk chunk;
    chunk.size_bytes = size_bytes;
    ARROW_ASSIGN_OR_RAISE(chunk.writable, Reopen(file.get(), O_PATH));
    ARROW_RETURN_NOT_OK(SetSize(file.get(), size_bytes));
    return chunk;
  }

  arrow::Status Reclaim(Chunk& chunk) const override {
    ARROW_ASSIGN_OR_RAISE(const base::UniqueFd fd, OpenForWriting(chunk));
    ARROW_RETURN_NOT_OK(CheckNoOtherUsers(fd.get()));
    // A worker may have resized it, or put pages behind its end.
    ARROW_RETURN_NOT_OK(SetSize(fd.get(), chunk.size_bytes));
    ARROW_RETURN_NOT_OK(Punch(fd.get(), std::exchange(chunk.broken, {})));
    chunk.dirty = true;
    return arrow::Status::OK();
  }

  arrow::Status Resize(Chunk& chunk, int64_t size_bytes) const override {
    ARROW_ASSIGN_OR_RAISE(const base::UniqueFd fd, OpenForWriting(chunk));
    ARROW_RETURN_NOT_OK(SetSize(fd.get(), size_bytes));
    chunk.size_bytes = size_bytes;
    return arrow::Status::OK();
  }

  arrow::Result<base::UniqueFd> Freeze(Chunk& chunk) const override {
    if (!chunk.readable.valid()) {
      ARROW_ASSIGN_OR_RAISE(chunk.readable, FindReadOnly(chunk.writable.get()));
    }
    ARROW_ASSIGN_OR_RAISE(base::UniqueFd fd, OpenForReading(chunk));
    ARROW_RETURN_NOT_OK(CheckNoWriters(fd.get()));
    ARROW_RETURN_NOT_OK(CheckSize(fd.get(), chunk.size_bytes));
    return fd;
  }

 private:
  // The same file through the read-only mount, where only a name leads. It has one for two calls:
  // a name that stayed would keep the memory, should a reader survive this process.
  arrow::Result<base::UniqueFd> FindReadOnly(int writable) const {
    const std::string name = std::to_string(next_name_.fetch_add(1, std::memory_order_relaxed));
    const std::string path = "/proc/self/fd/" + std::to_string(writable);
    const int dir = tmpfs_.writable_dir.get();
    if (::linkat(AT_FDCWD, path.c_str(), dir, name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      return base::ErrnoStatus(errno, "naming a chunk");
    }
    base::UniqueFd found(::openat(tmpfs_.read_only_dir.get(), name.c_str(), O_PATH | O_CLOEXEC));
    const int error = errno;
    if (::unlinkat(dir, name.c_str(), 0) != 0) return base::ErrnoStatus(errno, "unlinking a chunk");
    if (!found.valid()) return base::ErrnoStatus(error, "opening a chunk");
    return found;
  }

  static arrow::Status SetSize(int fd, int64_t size_bytes) {
    if (::ftruncate(fd, size_bytes) == 0) return arrow::Status::OK();
    return base::ErrnoStatus(errno, "giving a chunk its size");
  }

  const PrivateTmpfs tmpfs_;
  mutable std::atomic<uint64_t> next_name_{0};
};

// Everything above rests on leases telling the truth and on the read-only mount holding: both
// are tried once on a file, before any data depends on them.
arrow::Status CheckPromises(const ChunkSource& source) {
  ARROW_ASSIGN_OR_RAISE(Chunk chunk, source.Make(4096));
  {
    ARROW_ASSIGN_OR_RAISE(const base::UniqueFd writer, source.OpenForWriting(chunk));
    if (source.Freeze(chunk).ok()) {
      return arrow::Status::IOError("the kernel's leases on a tmpfs don't see writers");
    }
  }
  {
    ARROW_ASSIGN_OR_RAISE(const base::UniqueFd reader, source.Freeze(chunk));
    if (Reopen(reader.get(), O_RDWR).ok()) {
      return arrow::Status::IOError("a read-only mount can be written through");
    }
    if (source.Reclaim(chunk).ok()) {
      return arrow::Status::IOError("the kernel's leases on a tmpfs don't see readers");
    }
  }
  return source.Reclaim(chunk);
}

}  // namespace

arrow::Result<std::unique_ptr<ChunkSource>> MakeTmpfsSource() {
  ARROW_ASSIGN_OR_RAISE(PrivateTmpfs tmpfs, MountPrivateTmpfs());
  auto source = std::make_unique<TmpfsSource>(std::move(tmpfs));
  ARROW_RETURN_NOT_OK(CheckPromises(*source));
  return source;
}

}  // namespace zerrow::shm
