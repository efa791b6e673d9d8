#include "shm/trim.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/fd.h"

namespace zerrow::shm {

namespace {

// What is kept for nothing is at most one part in so many of what is referenced.
constexpr int64_t kWasteDivisor = 8;

int64_t End(const ByteRange& range) { return range.offset + range.length; }

// Cuts the ranges where huge pages end: visit(number of the page, piece).
template <typename Visit>
void ForEachPiece(std::span<const ByteRange> ranges, Visit&& visit) {
  for (const ByteRange& range : ranges) {
    for (int64_t at = range.offset; at < End(range);) {
      const int64_t page = at / kHugePageBytes;
      const int64_t end = std::min(End(range), (page + 1) * kHugePageBytes);
      visit(static_cast<size_t>(page), ByteRange{at, end - at});
      at = end;
    }
  }
}

// Which huge pages aren't broken up though they are covered in part: those that waste least, as far
// as the budget goes.
std::vector<bool> KeptWhole(std::span<const int64_t> uncovered_bytes, int64_t size_bytes) {
  std::vector<size_t> partly;
  int64_t budget_bytes = size_bytes;
  for (size_t page = 0; page < uncovered_bytes.size(); ++page) {
    budget_bytes -= uncovered_bytes[page];
    if (uncovered_bytes[page] > 0 && uncovered_bytes[page] < kHugePageBytes) partly.push_back(page);
  }
  budget_bytes /= kWasteDivisor;
  std::ranges::sort(partly, {}, [&](size_t page) { return uncovered_bytes[page]; });
  std::vector<bool> kept(uncovered_bytes.size());
  for (const size_t page : partly) {
    budget_bytes -= uncovered_bytes[page];
    if (budget_bytes < 0) break;
    kept[page] = true;
  }
  return kept;
}

arrow::Status PunchHole(int fd, const ByteRange& range) {
  constexpr int kMode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  while (::fallocate(fd, kMode, range.offset, range.length) != 0) {
    if (errno != EINTR) return base::ErrnoStatus(errno, "trimming a chunk");
  }
  return arrow::Status::OK();
}

arrow::Status WriteZeros(int fd, ByteRange range) {
  static constexpr std::array<char, 64 * 1024> kZeros{};
  while (range.length > 0) {
    const auto length = std::min<int64_t>(range.length, kZeros.size());
    const ssize_t written = ::pwrite(fd, kZeros.data(), static_cast<size_t>(length), range.offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return base::ErrnoStatus(errno, "zeroing a part of a chunk");
    range.offset += written;
    range.length -= written;
  }
  return arrow::Status::OK();
}

}  // namespace

arrow::Result<std::vector<ByteRange>> UncoveredRanges(std::span<const Reference> references,
                                                      int64_t size_bytes) {
  std::vector<ByteRange> uncovered;
  int64_t covered_to = 0;
  for (const Reference& reference : references) {
    if (reference.offset < 0 || reference.length < 0 || reference.offset > size_bytes ||
        reference.length > size_bytes - reference.offset) {
      return arrow::Status::SerializationError("a reference to bytes ", reference.offset, " + ",
                                               reference.length, " of segment ", reference.segment,
                                               ", which has ", size_bytes);
    }
    if (reference.offset < covered_to) {
      return arrow::Status::Invalid("references that are not sorted or overlap");
    }
    if (reference.offset > covered_to) {
      uncovered.push_back({covered_to, reference.offset - covered_to});
    }
    covered_to = reference.offset + reference.length;
  }
  if (covered_to < size_bytes) uncovered.push_back({covered_to, size_bytes - covered_to});
  return uncovered;
}

TrimPlan PlanTrim(std::span<const ByteRange> uncovered, int64_t size_bytes, bool huge) {
  if (!huge) return {{uncovered.begin(), uncovered.end()}, {}, {}};
  std::vector<int64_t> uncovered_bytes(static_cast<size_t>(size_bytes / kHugePageBytes + 1));
  ForEachPiece(uncovered,
               [&](size_t page, ByteRange piece) { uncovered_bytes[page] += piece.length; });
  const std::vector<bool> kept = KeptWhole(uncovered_bytes, size_bytes);
  TrimPlan plan;
  ForEachPiece(uncovered, [&](size_t page, ByteRange piece) {
    const auto page_begin = static_cast<int64_t>(page) * kHugePageBytes;
    if (kept[page]) {
      plan.zero.push_back(piece);
      return;
    }
    if (uncovered_bytes[page] < kHugePageBytes &&
        (plan.broken.empty() || plan.broken.back().offset != page_begin)) {
      plan.broken.push_back({page_begin, std::min(kHugePageBytes, size_bytes - page_begin)});
    }
    if (!plan.punch.empty() && End(plan.punch.back()) == piece.offset) {
      plan.punch.back().length += piece.length;
    } else {
      plan.punch.push_back(piece);
    }
  });
  return plan;
}

arrow::Status Punch(int fd, std::span<const ByteRange> ranges) {
  for (const ByteRange& range : ranges) ARROW_RETURN_NOT_OK(PunchHole(fd, range));
  return arrow::Status::OK();
}

arrow::Status Trim(int fd, const TrimPlan& plan) {
  ARROW_RETURN_NOT_OK(Punch(fd, plan.punch));
  for (const ByteRange& range : plan.zero) ARROW_RETURN_NOT_OK(WriteZeros(fd, range));
  return arrow::Status::OK();
}

}  // namespace zerrow::shm
