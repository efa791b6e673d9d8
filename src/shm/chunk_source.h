// Where chunks of shareable memory come from, and what makes them immutable.
//
// A chunk is an unnamed file that the engine owns. Its life: Make, then any number of times
// OpenForWriting (a producer's), and at the end either Reclaim (nobody wants what is in it: it can
// be granted again) or Freeze (published: no process can write to it any more, ever). Both ask
// the kernel whether any process still holds the file, whatever the engine believes of who is dead.
// Any thread. Chunks own their descriptors; nothing survives a crash.
#pragma once

#include <arrow/result.h>

#include <memory>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "shm/trim.h"

namespace zerrow::shm {

/// Move-only. Its handles are O_PATH descriptors: they open nothing by themselves and don't count
/// as users of the file.
struct Chunk {
  base::UniqueFd writable;  // the way to descriptors for writing
  base::UniqueFd readable;  // the way to descriptors for reading; invalid: by `writable`
  int64_t size_bytes = 0;
  bool dirty = false;  // may hold bytes of an earlier use
  // Huge pages that trimming has broken into small ones: for the next user they are worth less
  // than none, since each small page costs it a fault.
  std::vector<ByteRange> broken;
};

class ChunkSource {
 public:
  virtual ~ChunkSource() = default;

  virtual std::string_view name() const = 0;  // "tmpfs", "memfd"
  /// 2 MiB pages for those who madvise(MADV_HUGEPAGE) their mapping.
  virtual bool huge_pages() const = 0;
  /// Whether a published chunk can be granted again after its last lease.
  virtual bool recycles_published() const = 0;

  /// Whether Resize works.
  virtual bool resizable() const = 0;

  /// A new chunk of zeros; no memory is behind it yet. IOError.
  virtual arrow::Result<Chunk> Make(int64_t size_bytes) const = 0;

  /// Every use of this chunk has ended and it shall be granted again: its size and seals are
  /// checked and repaired, its bytes stay (dirty) but for those of broken pages, which go. IOError:
  /// some process still holds it, or it can't be used again; then drop it.
  virtual arrow::Status Reclaim(Chunk& chunk) const = 0;

  /// Gives a chunk that nobody uses another size: it ends in a hole, or what is beyond goes.
  /// IOError; NotImplemented.
  virtual arrow::Status Resize(Chunk& chunk, int64_t size_bytes) const = 0;

  /// Makes the chunk immutable and returns the descriptor for readers. IOError: some process can
  /// still write to it.
  virtual arrow::Result<base::UniqueFd> Freeze(const Chunk& chunk) const = 0;

  /// A descriptor for a producer.
  arrow::Result<base::UniqueFd> OpenForWriting(const Chunk& chunk) const;
};

/// IOError unless the file has that size.
arrow::Status CheckSize(int fd, int64_t size_bytes);

/// Memory behind the chunk now.
int64_t BackedBytes(const Chunk& chunk);

/// Files in a private tmpfs with huge=advise, which only this object can reach; readers get
/// descriptors that were opened through a read-only mount of it. IOError with the step that
/// failed, where this process may not mount one.
arrow::Result<std::unique_ptr<ChunkSource>> MakeTmpfsSource();

/// Memfds, frozen by seals: a sealed file can't be used again.
std::unique_ptr<ChunkSource> MakeMemfdSource();

}  // namespace zerrow::shm
