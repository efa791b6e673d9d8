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
#include "shm/descriptor_budget.h"
#include "shm/trim.h"

namespace zerrow::shm {

/// What a chunk takes of the budget: its handle, and one more while a message carries it.
constexpr int64_t kDescriptorsPerChunk = 2;

/// Move-only. Its handles are O_PATH descriptors: they open nothing by themselves and don't count
/// as users of the file. One is enough at any time: `writable` until it is frozen, then the way to
/// readers' descriptors. A second one is the way back to a chunk that can be granted again.
struct Chunk {
  // Given back after the handles are closed.
  DescriptorBudget::Share descriptors;
  DescriptorBudget::Share spare_descriptor;  // for the second handle
  base::UniqueFd writable;                   // the way to descriptors for writing
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

  /// Makes the chunk immutable and returns a first descriptor for readers. From then on no other
  /// handle is needed than `readable`, if that is valid. IOError: some process can still write to
  /// it.
  virtual arrow::Result<base::UniqueFd> Freeze(Chunk& chunk) const = 0;

  /// IOError: some process holds a chunk that was granted, or it can't be told.
  arrow::Status CheckUnused(const Chunk& chunk) const;

  /// A descriptor for a producer.
  arrow::Result<base::UniqueFd> OpenForWriting(const Chunk& chunk) const;
};

/// A descriptor for a reader of a frozen chunk. IOError.
arrow::Result<base::UniqueFd> OpenForReading(const Chunk& chunk);

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
