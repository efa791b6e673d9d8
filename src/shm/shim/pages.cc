#include "shm/shim/pages.h"

#include <cerrno>
#include <cstring>

#include "shm/shim/layout.h"
#include "shm/shim/sys.h"

namespace zerrow::shim {

namespace {

// Calls visit(begin, end, exists) for runs of pages that are in memory and that aren't, by turns.
// Asking the file instead would cost a walk over all of its pages, however few are asked about.
template <typename Visit>
void ForEachRun(const ChunkPages& pages, Visit visit) {
  constexpr size_t kBatch = 2048;
  unsigned char exists[kBatch];
  for (uintptr_t at = pages.begin; at < pages.end;) {
    const size_t left = (pages.end - at) / kPageBytes;
    const size_t count = left < kBatch ? left : kBatch;
    if (::syscall(SYS_mincore, at, count * kPageBytes, exists) != 0) {
      std::memset(exists, 1, count);
    }
    for (size_t i = 0; i < count;) {
      size_t stop = i + 1;
      while (stop < count && (exists[stop] & 1) == (exists[i] & 1)) ++stop;
      visit(at + i * kPageBytes, at + stop * kPageBytes, (exists[i] & 1) != 0);
      i = stop;
    }
    at += count * kPageBytes;
  }
}

// From where on something may be in the file, of pages that aren't in memory: they are holes, or
// were swapped out.
uintptr_t FirstData(const ChunkPages& pages, uintptr_t begin) {
  const int64_t data = ::lseek(pages.fd, static_cast<int64_t>(begin - pages.origin), SEEK_DATA);
  if (data >= 0) return RoundDown(pages.origin + static_cast<uintptr_t>(data), kPageBytes);
  return errno == ENXIO ? UINTPTR_MAX : begin;
}

}  // namespace

size_t ZeroPages(const ChunkPages& pages) {
  size_t written = 0;
  ForEachRun(pages, [&](uintptr_t begin, uintptr_t end, bool exists) {
    if (!exists) begin = FirstData(pages, begin);
    if (begin >= end) return;
    std::memset(reinterpret_cast<void*>(begin), 0, end - begin);
    written += end - begin;
  });
  return written;
}

void MapPages(const ChunkPages& pages) {
  // MADV_POPULATE_READ. Reading is enough: pages of a shared tmpfs mapping are writable at once.
  // Older kernels refuse, and the pages fault one by one.
  constexpr int kPopulateRead = 22;
  ForEachRun(pages, [](uintptr_t begin, uintptr_t end, bool exists) {
    if (exists) SysMadvise(begin, end - begin, kPopulateRead);
  });
}

}  // namespace zerrow::shim
