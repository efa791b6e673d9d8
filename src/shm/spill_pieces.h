// How a segment's bytes go to a file and come back: the ranges with data side by side, in pieces
// of some MiB that several threads move.
//
// Functions of their arguments; any thread. The file is as long as the data, rounded up to pages,
// so that every call fits direct I/O.
#pragma once

#include <arrow/result.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "zerrow/reference.h"

namespace zerrow::shm {

constexpr int64_t kSpillPageBytes = 4096;
constexpr int64_t kSpillPieceBytes = 1 << 22;
/// One waits for the disk while another copies or computes a checksum.
constexpr size_t kSpillThreads = 4;

/// What one call reads or writes.
struct SpillPiece {
  int64_t file_offset = 0;
  int64_t bytes = 0;
  std::vector<ByteRange> ranges;  // of the segment
};

/// Where a file in memory has data: whole pages, sorted, disjoint. The last one may end behind the
/// end of the file, in its last page. IOError.
arrow::Result<std::vector<ByteRange>> DataRanges(int fd, int64_t size_bytes);

std::vector<SpillPiece> CutPieces(std::span<const ByteRange> ranges);

/// `memory` is where the segment is mapped.
enum class SpillDirection { kWrite, kRead };

/// Moves a piece between the file and where the segment is mapped, and tells the checksum of its
/// bytes. CapacityError: the disk is full; OutOfMemory: no memory is left to read into; IOError,
/// also if the file ends before the piece does.
arrow::Result<uint64_t> MoveMapped(int fd, uint8_t* segment, const SpillPiece& piece,
                                   SpillDirection direction);

/// The same by way of `buffer`, kSpillPieceBytes of memory: for a segment of small pages, each of
/// which would cost a fault and a descriptor of the disk's request. `segment` is its file.
arrow::Result<uint64_t> MoveCopied(int fd, int segment, uint8_t* buffer, const SpillPiece& piece,
                                   SpillDirection direction);

/// What is in the page cache of this part of the file is written and leaves it. CapacityError,
/// IOError.
arrow::Status DropCache(int fd, int64_t offset, int64_t length);

/// Calls `step` for each index below `count`, about in that order, on this thread and some others,
/// and returns when none runs any more. Its second argument, below kSpillThreads, tells the threads
/// apart. The first error ends it; Cancelled: `stop` did.
arrow::Status ForEachPiece(size_t count, const std::stop_token& stop,
                           const std::function<arrow::Status(size_t, size_t)>& step);

/// kSpillPieceBytes, in huge pages where there are some.
using SpillBuffer = std::unique_ptr<uint8_t, decltype(&std::free)>;
SpillBuffer MakeSpillBuffer();

/// CapacityError if the error says that the disk is full, else IOError.
arrow::Status SpillError(int error, const std::string& what);

}  // namespace zerrow::shm
