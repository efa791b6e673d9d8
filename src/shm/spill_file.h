// A copy of a segment on disk, and the way back from it to memory.
//
// Holes of the segment take no space and are holes again. What comes back is a new segment with the
// same id, as immutable as the first; the copy stays and can be read again. Nobody but this process
// has a descriptor of the file, which has no name, and each piece has a checksum: what the disk
// changed is an error, never other bytes. Immutable, any thread; destruction frees the disk's
// blocks, which takes milliseconds. Needs the folder's space and one descriptor.
#pragma once

#include <arrow/result.h>

#include <memory>
#include <stop_token>
#include <vector>

#include "base/fd.h"
#include "base/mapping.h"
#include "base/task_thread.h"
#include "shm/chunk_pool.h"
#include "shm/segment.h"
#include "shm/spill_folder.h"
#include "shm/spill_pieces.h"

namespace zerrow::shm {

class SpillFile {
 public:
  /// Blocks until all is on disk; hold a lease meanwhile. CapacityError: the folder or the disk is
  /// full, or no descriptors are left; Cancelled: `stop` was asked for, which is looked at after
  /// each piece; IOError. Nothing is left of what failed.
  static arrow::Result<SpillFile> Write(const std::shared_ptr<SpillFolder>& folder,
                                        const Segment& segment, const std::stop_token& stop = {});

  /// Blocks until all is in memory. What is as large as a huge page takes a chunk of the pool, with
  /// the memory behind it if there is a free one, and goes back there. Where chunks can't be
  /// resized that holds for what was one; anything else, or with no pool, becomes a memfd.
  /// OutOfMemory: memory ran out; CapacityError: the descriptors did; Cancelled; IOError:
  /// the copy can't be read, or isn't what was written.
  arrow::Result<std::shared_ptr<const Segment>> Load(const std::shared_ptr<ChunkPool>& pool,
                                                     const base::TaskThread& reaper,
                                                     const std::stop_token& stop = {}) const;

  /// As Load, but for a reader of its own: a sealed memfd, by a descriptor for reading.
  arrow::Result<base::UniqueFd> LoadFile(const std::stop_token& stop = {}) const;

  SegmentId id() const { return id_; }
  /// Of the segment.
  int64_t size_bytes() const { return size_bytes_; }
  /// On disk; as much memory is behind the segment when it is back.
  int64_t bytes() const { return space_.bytes(); }

 private:
  SpillFile(SegmentId id, int64_t size_bytes) : id_(id), size_bytes_(size_bytes) {}
  // A segment's file; mapped if it is made of huge pages.
  struct Memory {
    base::UniqueFd fd;
    base::Mapping mapping;
  };
  // Moves all pieces and tells their checksums.
  arrow::Result<std::vector<uint64_t>> Move(const Memory& memory, SpillDirection direction,
                                            const std::stop_token& stop) const;
  arrow::Status Fill(const Memory& memory, const std::stop_token& stop) const;
  arrow::Result<std::shared_ptr<const Segment>> LoadChunk(const std::shared_ptr<ChunkPool>& pool,
                                                          const base::TaskThread& reaper,
                                                          const std::stop_token& stop) const;
  arrow::Result<std::shared_ptr<const Segment>> LoadMemfd(const base::TaskThread& reaper,
                                                          const std::stop_token& stop) const;
  arrow::Status FillChunk(Chunk& chunk, const ChunkSource& source,
                          const std::stop_token& stop) const;

  SegmentId id_;
  int64_t size_bytes_;
  bool direct_ = false;
  SpillFolder::Space space_;  // given back after the file is closed
  DescriptorBudget::Share descriptor_;
  base::UniqueFd fd_;  // none if there is no data
  std::vector<ByteRange> ranges_;
  std::vector<SpillPiece> pieces_;
  std::vector<uint64_t> checksums_;  // of the pieces as they were written
};

}  // namespace zerrow::shm
