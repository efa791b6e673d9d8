// Mappings: what mmap, munmap, madvise, mprotect and mremap mean for chunk memory.
#include <cstring>

#include "shm/shim/heap.h"
#include "shm/shim/heap_chunks.h"

namespace zerrow::shim {

namespace {

constexpr int kReadWrite = PROT_READ | PROT_WRITE;
void ZeroBytes(uintptr_t begin, uintptr_t end) {
  std::memset(reinterpret_cast<void*>(begin), 0, end - begin);
}

// A mapping that is indistinguishable from zeroed memory.
bool IsPlainAnonymous(int protection, int flags) {
  constexpr int kIgnored = MAP_FIXED | MAP_NORESERVE | MAP_POPULATE | MAP_STACK;
  return (flags & ~kIgnored) == (MAP_PRIVATE | MAP_ANONYMOUS) && (protection & PROT_EXEC) == 0;
}

}  // namespace

Heap::Span Heap::Clip(uintptr_t address, size_t size_bytes) const {
  const uintptr_t base = base_.load(std::memory_order_relaxed);
  const uintptr_t limit = base + size();
  const uintptr_t end = address + RoundUp(size_bytes, kPageBytes);
  return {address > base ? address : base, end < limit ? end : limit};
}

void* Heap::Map(size_t size_bytes, size_t alignment) {
  Fresh fresh = {};
  void* p = nullptr;
  {
    const Lock lock(this);
    if (!active()) return nullptr;
    p = AllocateGranules(size_bytes, alignment, /*headroom_bytes=*/0, &fresh);
    if (p == nullptr) return nullptr;
    // The last granule's rest was never mapped: so unmapping the whole mapping frees the granule.
    const uintptr_t end = reinterpret_cast<uintptr_t>(p) + RoundUp(size_bytes, kPageBytes);
    arena_.UnmapPages(PageOf(end), PageOf(RoundUp(end, kGranuleBytes)) - PageOf(end));
  }
  Settle(fresh, /*zeroed=*/true);
  return p;
}

int Heap::MapFixed(uintptr_t address, size_t size_bytes, int protection, int flags, int fd,
                   int64_t offset) {
  const Lock lock(this);
  const Span span = {address, address + RoundUp(size_bytes, kPageBytes)};
  if (!IsPlainAnonymous(protection, flags)) {
    const int error = YieldLocked(span);
    if (error != 0) return error;
    void* p = SysMmap(address, size_bytes, protection, flags, fd, offset);
    return p != MAP_FAILED ? 0 : errno;
  }
  if (!IsInUse(span)) return ENOMEM;
  ForEachChunkIn(span, [&](Chunk* chunk, uintptr_t begin, uintptr_t end) {
    ResetMapping(chunk, begin, end);
    DiscardIn(*chunk, begin, end);
  });
  arena_.MapPages(PageOf(span.begin), PageOf(span.end) - PageOf(span.begin));
  return protection == kReadWrite ? 0 : ProtectLocked(span, protection);
}

// Memory that the program has given back may be somebody else's by now.
bool Heap::IsInUse(Span span) const {
  if (span.end <= span.begin || OffsetOf(span.end) > size()) return false;
  for (uintptr_t at = RoundDown(span.begin, kGranuleBytes); at < span.end; at += kGranuleBytes) {
    if (!arena_.Has(GranuleOf(at), Arena::kUsed)) return false;
  }
  return true;
}

int Heap::Yield(uintptr_t address, size_t size_bytes) {
  const Lock lock(this);
  return YieldLocked({address, address + RoundUp(size_bytes, kPageBytes)});
}

int Heap::YieldLocked(Span span) {
  if (!IsInUse(span) || !foreign_.Set(span.begin, span.end, 0)) return ENOMEM;
  protections_.Set(span.begin, span.end, Ranges::kNoTag);
  arena_.MapPages(PageOf(span.begin), PageOf(span.end) - PageOf(span.begin));
  return 0;
}

void Heap::Unmap(uintptr_t address, size_t size_bytes) {
  const Lock lock(this);
  ForEachChunkIn(Clip(address, size_bytes), [&](Chunk* chunk, uintptr_t begin, uintptr_t end) {
    ResetMapping(chunk, begin, end);
    if (chunk->retired) SysMadvise(begin, end - begin, MADV_DONTNEED);
    arena_.UnmapPages(PageOf(begin), PageOf(end) - PageOf(begin));
    // The free part of a dedicated chunk serves nobody else.
    if (!HandleFreed(chunk) && chunk->dedicated && !chunk->retired) Punch(begin, end);
  });
}

void Heap::Punch(uintptr_t begin, uintptr_t end) {
  if (SysMadvise(begin, end - begin, MADV_REMOVE) == 0) {
    stats_.punched_bytes += end - begin;
  } else {
    ZeroBytes(begin, end);  // memory that is locked can't be punched
  }
}

// Gives the memory back its ordinary protection and the chunk's file.
void Heap::ResetMapping(Chunk* chunk, uintptr_t begin, uintptr_t end) {
  if (protections_.Intersects(begin, end)) {
    SysMprotect(begin, end - begin, kReadWrite);
    protections_.Set(begin, end, Ranges::kNoTag);
  }
  if (!foreign_.Intersects(begin, end)) return;
  const int fd = chunk->file.get();
  const int kind = chunk->retired ? MAP_PRIVATE : MAP_SHARED;
  bool restored = fd >= 0;
  foreign_.ForEachPiece(begin, end, [&](uintptr_t from, uintptr_t to, int tag) {
    if (tag == Ranges::kNoTag || fd < 0) return;
    restored &= SysMmap(from, to - from, kReadWrite, kind | MAP_NORESERVE | MAP_FIXED, fd,
                        static_cast<int64_t>(from - Begin(*chunk))) != MAP_FAILED;
  });
  if (restored) {
    foreign_.Set(begin, end, Ranges::kNoTag);
  } else if (!chunk->retired) {
    arena_.Retire(FirstGranule(*chunk), Granules(*chunk));  // never to be used again
    chunk->retired = true;
  }
}

void Heap::Discard(uintptr_t address, size_t size_bytes) {
  const Lock lock(this);
  ForEachChunkIn(Clip(address, size_bytes), [&](Chunk* chunk, uintptr_t begin, uintptr_t end) {
    DiscardIn(*chunk, begin, end);
  });
}

void Heap::DiscardIn(const Chunk& chunk, uintptr_t begin, uintptr_t end) {
  foreign_.ForEachPiece(begin, end, [&](uintptr_t from, uintptr_t to, int tag) {
    if (tag != Ranges::kNoTag) {
      SysMadvise(from, to - from, MADV_DONTNEED);  // not the chunk's file: the kernel knows best
    } else if (chunk.retired) {
      DiscardPrivate(from, to);
    } else {
      DiscardShared(chunk, from, to);
    }
  });
}

// Punching gives the memory back, but costs more than overwriting, makes the pages fault again here
// and leaves less to recycle for the next worker. So it is done once much has been kept.
void Heap::DiscardShared(const Chunk& chunk, uintptr_t begin, uintptr_t end) {
  if (kept_discarded_bytes_ >= kKeepBytes || protections_.Intersects(begin, end)) {
    return Punch(begin, end);
  }
  const size_t written = ZeroPages(PagesOf(chunk, {begin, end}));
  kept_discarded_bytes_ += written;
  stats_.zeroed_bytes += written;
}

// In a private mapping of a file, discarding would bring the file's bytes back; and a child may
// read the file, so it can't be punched. Anonymous memory takes its place.
void Heap::DiscardPrivate(uintptr_t begin, uintptr_t end) {
  const bool replaced =
      foreign_.Set(begin, end, 0) &&
      SysMmap(begin, end - begin, kReadWrite,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
  if (!replaced) {
    SysMprotect(begin, end - begin, kReadWrite);
    ZeroBytes(begin, end);
  }
  ApplyProtections(begin, end);
}

int Heap::Protect(uintptr_t address, size_t size_bytes, int protection) {
  const Lock lock(this);
  return ProtectLocked(Clip(address, size_bytes), protection);
}

int Heap::ProtectLocked(Span span, int protection) {
  if (!protections_.Set(span.begin, span.end,
                        protection == kReadWrite ? Ranges::kNoTag : protection)) {
    return ENOMEM;
  }
  return SysMprotect(span.begin, span.end - span.begin, protection) == 0 ? 0 : errno;
}

void Heap::ApplyProtections(uintptr_t begin, uintptr_t end) {
  if (protections_.empty()) return;
  protections_.ForEachPiece(begin, end, [](uintptr_t from, uintptr_t to, int tag) {
    if (tag != Ranges::kNoTag) SysMprotect(from, to - from, tag);
  });
}

bool Heap::GrowMapping(uintptr_t address, size_t old_bytes, size_t new_bytes) {
  const Lock lock(this);
  const uintptr_t old_end = address + RoundUp(old_bytes, kPageBytes);
  const uintptr_t new_end = address + RoundUp(new_bytes, kPageBytes);
  const uintptr_t granule_end = RoundUp(old_end, kGranuleBytes);
  const uintptr_t here_end = new_end < granule_end ? new_end : granule_end;
  const Chunk* chunk = ChunkAt(address);
  if (chunk == nullptr || chunk->retired || new_end > End(*chunk)) return false;
  for (uint64_t page = PageOf(old_end); page < PageOf(here_end); ++page) {
    if (arena_.IsMapped(page)) return false;
  }
  if (new_end > granule_end) {
    const uint32_t first = GranuleOf(granule_end);
    const auto count =
        static_cast<uint32_t>(RoundUp(new_end - granule_end, kGranuleBytes) / kGranuleBytes);
    if (!arena_.AllocateAt(first, count, /*joined=*/true)) return false;
    stats_.zeroed_bytes += ZeroPages(UseGranules(*chunk, first, count).dirty);
    arena_.UnmapPages(PageOf(new_end), PageOf(RoundUp(new_end, kGranuleBytes)) - PageOf(new_end));
  }
  arena_.MapPages(PageOf(old_end), PageOf(here_end) - PageOf(old_end));
  ZeroBytes(old_end, here_end);
  return true;
}

}  // namespace zerrow::shim
