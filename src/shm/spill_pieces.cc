#include "shm/spill_pieces.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <thread>

#define XXH_INLINE_ALL
#include <arrow/vendored/xxhash.h>

#include "base/exceptions.h"
#include "base/fd.h"

namespace zerrow::shm {

namespace {

// A piece that consists of very small ranges is shorter.
constexpr size_t kMaxRanges = 512;
// A piece's checksum is the same whether its ranges lie apart or side by side.
uint64_t Extend(uint64_t sum, const uint8_t* bytes, const ByteRange& range) {
  return XXH3_64bits_withSeed(bytes, static_cast<size_t>(range.length), sum);
}

// What is left after `bytes` of the parts.
std::span<iovec> Advance(std::span<iovec> parts, size_t bytes) {
  while (!parts.empty() && bytes >= parts.front().iov_len) {
    bytes -= parts.front().iov_len;
    parts = parts.subspan(1);
  }
  if (bytes > 0) {
    parts.front().iov_base = static_cast<uint8_t*>(parts.front().iov_base) + bytes;
    parts.front().iov_len -= bytes;
  }
  return parts;
}

arrow::Status TransferError(int error, SpillDirection direction) {
  if (direction == SpillDirection::kWrite) return SpillError(error, "writing a spilled segment");
  if (error == EFAULT || error == ENOMEM) {
    return arrow::Status::OutOfMemory("no memory is left to read a spilled segment into");
  }
  return base::ErrnoStatus(error, "reading a spilled segment");
}

arrow::Status Transfer(int fd, std::span<iovec> parts, int64_t at, SpillDirection direction) {
  while (!parts.empty()) {
    const auto count = static_cast<int>(parts.size());
    const ssize_t moved = direction == SpillDirection::kWrite
                              ? ::pwritev(fd, parts.data(), count, at)
                              : ::preadv(fd, parts.data(), count, at);
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0) return TransferError(errno, direction);
    if (moved == 0) return arrow::Status::IOError("a spilled segment's file ends too early");
    at += moved;
    parts = Advance(parts, static_cast<size_t>(moved));
  }
  return arrow::Status::OK();
}

arrow::Status TransferBuffer(int fd, uint8_t* buffer, const SpillPiece& piece,
                             SpillDirection direction) {
  iovec all{buffer, static_cast<size_t>(piece.bytes)};
  return Transfer(fd, {&all, 1}, piece.file_offset, direction);
}

// The memory's side of a copy. Behind the end of the file, in its last page, are zeros.
arrow::Status ReadSegment(int segment, uint8_t* buffer, const SpillPiece& piece) {
  for (const ByteRange& range : piece.ranges) {
    for (int64_t done = 0; done < range.length;) {
      const auto left = static_cast<size_t>(range.length - done);
      const ssize_t moved = ::pread(segment, buffer + done, left, range.offset + done);
      if (moved < 0 && errno == EINTR) continue;
      if (moved < 0) return base::ErrnoStatus(errno, "reading a segment");
      if (moved == 0) std::memset(buffer + done, 0, left);
      done += moved > 0 ? moved : static_cast<ssize_t>(left);
    }
    buffer += range.length;
  }
  return arrow::Status::OK();
}

arrow::Status WriteSegment(int segment, const uint8_t* buffer, const SpillPiece& piece,
                           int64_t size_bytes) {
  for (const ByteRange& range : piece.ranges) {
    const int64_t end = std::min(range.offset + range.length, size_bytes);
    for (int64_t at = range.offset; at < end;) {
      const ssize_t moved =
          ::pwrite(segment, buffer + (at - range.offset), static_cast<size_t>(end - at), at);
      if (moved < 0 && errno == EINTR) continue;
      if (moved <= 0) {
        return arrow::Status::OutOfMemory("reading a spilled segment into memory: ",
                                          std::strerror(errno));
      }
      at += moved;
    }
    buffer += range.length;
  }
  return arrow::Status::OK();
}

}  // namespace

arrow::Status SpillError(int error, const std::string& what) {
  arrow::Status status = base::ErrnoStatus(error, what);
  if (error != ENOSPC && error != EDQUOT) return status;
  return arrow::Status::CapacityError(status.message());
}

arrow::Result<std::vector<ByteRange>> DataRanges(int fd, int64_t size_bytes) {
  std::vector<ByteRange> ranges;
  for (int64_t at = 0; at < size_bytes;) {
    const int64_t data = ::lseek(fd, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    const int64_t hole = data < 0 ? -1 : ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return base::ErrnoStatus(errno, "looking for the data of a segment");
    const int64_t begin = data / kSpillPageBytes * kSpillPageBytes;
    at = (hole + kSpillPageBytes - 1) / kSpillPageBytes * kSpillPageBytes;
    ranges.push_back({begin, at - begin});
  }
  return ranges;
}

std::vector<SpillPiece> CutPieces(std::span<const ByteRange> ranges) {
  std::vector<SpillPiece> pieces;
  int64_t file_offset = 0;
  for (ByteRange range : ranges) {
    while (range.length > 0) {
      if (pieces.empty() || pieces.back().bytes == kSpillPieceBytes ||
          pieces.back().ranges.size() == kMaxRanges) {
        pieces.push_back({file_offset, 0, {}});
      }
      SpillPiece& piece = pieces.back();
      const int64_t length = std::min(range.length, kSpillPieceBytes - piece.bytes);
      piece.ranges.push_back({range.offset, length});
      piece.bytes += length;
      file_offset += length;
      range = {range.offset + length, range.length - length};
    }
  }
  return pieces;
}

arrow::Result<uint64_t> MoveMapped(int fd, uint8_t* segment, const SpillPiece& piece,
                                   SpillDirection direction) {
  std::vector<iovec> parts;
  for (const ByteRange& range : piece.ranges) {
    parts.push_back({segment + range.offset, static_cast<size_t>(range.length)});
  }
  ARROW_RETURN_NOT_OK(Transfer(fd, parts, piece.file_offset, direction));
  uint64_t sum = 0;
  for (const ByteRange& range : piece.ranges) sum = Extend(sum, segment + range.offset, range);
  return sum;
}

arrow::Result<uint64_t> MoveCopied(int fd, int segment, uint8_t* buffer, const SpillPiece& piece,
                                   SpillDirection direction) {
  if (direction == SpillDirection::kWrite) {
    ARROW_RETURN_NOT_OK(ReadSegment(segment, buffer, piece));
    ARROW_RETURN_NOT_OK(TransferBuffer(fd, buffer, piece, direction));
  } else {
    ARROW_RETURN_NOT_OK(TransferBuffer(fd, buffer, piece, direction));
    ARROW_ASSIGN_OR_RAISE(const int64_t size_bytes, base::FileSize(segment));
    ARROW_RETURN_NOT_OK(WriteSegment(segment, buffer, piece, size_bytes));
  }
  uint64_t sum = 0;
  for (const ByteRange& range : piece.ranges) {
    sum = Extend(sum, buffer, range);
    buffer += range.length;
  }
  return sum;
}

SpillBuffer MakeSpillBuffer() {
  constexpr size_t kHugePage = 2 << 20;
  SpillBuffer buffer(static_cast<uint8_t*>(std::aligned_alloc(kHugePage, kSpillPieceBytes)),
                     &std::free);
  if (buffer) ::madvise(buffer.get(), kSpillPieceBytes, MADV_HUGEPAGE);
  return buffer;
}

arrow::Status DropCache(int fd, int64_t offset, int64_t length) {
  constexpr unsigned kWriteNow =
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  if (::sync_file_range(fd, offset, length, kWriteNow) != 0) {
    const bool unknown = errno == ENOSYS || errno == EINVAL || errno == EOPNOTSUPP;
    if (!unknown || ::fdatasync(fd) != 0) return SpillError(errno, "writing a spilled segment");
  }
  ::posix_fadvise(fd, offset, length, POSIX_FADV_DONTNEED);
  return arrow::Status::OK();
}

arrow::Status ForEachPiece(size_t count, const std::stop_token& stop,
                           const std::function<arrow::Status(size_t, size_t)>& step) {
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;  // guards `first`
  arrow::Status first;
  const auto work = [&](size_t thread) {
    while (!failed) {
      const size_t index = next.fetch_add(1);
      if (index >= count) return;
      const arrow::Status status = stop.stop_requested()
                                       ? arrow::Status::Cancelled("it isn't wanted any more")
                                       : base::CatchExceptions([&] { return step(index, thread); });
      if (status.ok()) continue;
      std::lock_guard lock(mutex);
      if (!failed.exchange(true)) first = status;
    }
  };
  {
    std::vector<std::jthread> others;
    // With fewer threads it only takes longer.
    const auto start = [&] {
      return others.emplace_back(work, others.size() + 1), arrow::Status::OK();
    };
    while (others.size() + 1 < std::min(kSpillThreads, count) &&
           base::CatchExceptions(start).ok()) {
    }
    work(0);
  }
  return first;
}

}  // namespace zerrow::shm
