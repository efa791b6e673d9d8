// Mappings: what mmap, munmap, madvise, mprotect and mremap mean for chunk memory.
#include <cstring>

#include "shm/shim/heap.h"
#include "shm/shim/heap_chunks.h"

namespace zerrow::shim {

namespace {

constexpr int kReadWrite = PROT_READ | PROT_WRITE;
constexpr int kProtSem = 8;  // PROT_SEM, which the kernel accepts and ignores

void ZeroBytes(uintptr_t begin, uintptr_t end) {
  std::memset(reinterpret_cast<void*>(begin), 0, end - begin);
}

// A mapping that is indistinguishable from zeroed memory.
bool IsPlainAnonymous(int protection, int flags) {
  constexpr int kIgnored = MAP_FIXED | MAP_NORESERVE | MAP_POPULATE | MAP_STACK;
  return (flags & ~kIgnored) == (MAP_PRIVATE | MAP_ANONYMOUS) && (protection & PROT_EXEC) == 0;
}

}  // namespace

bool Heap::WholePages(uintptr_t address, size_t size_bytes, Span* span) {
  const uintptr_t rounded = RoundUp(size_bytes, kPageBytes);
  *span = {address, address + rounded};
  return rounded >= size_bytes && span->end >= address;
}

Heap::Span Heap::Clip(uintptr_t address, size_t size_bytes) const {
  const uintptr_t base = base_.load(std::memory_order_relaxed);
  const uintptr_t limit = base + size();
  Span span = {};
  if (!WholePages(address, size_bytes, &span)) return {0, 0};
  return {span.begin > base ? span.begin : base, span.end < limit ? span.end : limit};
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

// Nothing is changed unless the kernel has done its part.
int Heap::MapFixed(uintptr_t address, size_t size_bytes, int protection, int flags, int fd,
                   int64_t offset) {
  const Lock lock(this);
  Span span = {};
  if (address % kPageBytes != 0) return EINVAL;
  if (!WholePages(address, size_bytes, &span)) return ENOMEM;
  if ((flags & MAP_FIXED_NOREPLACE) != 0 && !IsAllFree(span)) return EEXIST;
  if (!CanMapOver(span)) return ENOMEM;
  flags = (flags & ~MAP_FIXED_NOREPLACE) | MAP_FIXED;
  if (!IsPlainAnonymous(protection, flags)) {
    if (SysMmap(address, size_bytes, protection, flags, fd, offset) == MAP_FAILED) return errno;
    MapOver(span);
    return 0;
  }
  ForEachChunkIn(
      span, [&](Chunk* chunk, uintptr_t begin, uintptr_t end) { ResetMapping(chunk, begin, end); });
  OccupyPages(span);
  ForEachChunkIn(span, [&](Chunk* chunk, uintptr_t begin, uintptr_t end) {
    if (foreign_.Intersects(begin, end)) {  // the program has closed the chunk's file
      DiscardPrivate(begin, end);
    } else {
      Discard(*chunk, begin, end);
    }
  });
  return protection == kReadWrite ? 0 : ProtectIn(span, protection, /*key=*/-1);
}

int Heap::RemapOver(uintptr_t address, size_t old_bytes, size_t new_bytes, int flags,
                    uintptr_t target) {
  const Lock lock(this);
  Span span = {};
  if (target % kPageBytes != 0 || !WholePages(target, new_bytes, &span)) return EINVAL;
  if (!CanMapOver(span)) return ENOMEM;
  if (SysMremap(address, old_bytes, new_bytes, flags, target) == MAP_FAILED) return errno;
  MapOver(span);
  return 0;
}

// What happens to be free is nobody's, so that a program may fill a hole that it has made. But it
// has to lie in a chunk.
bool Heap::CanMapOver(Span span) const {
  if (!CanRecord() || OffsetOf(span.begin) >= size() || OffsetOf(span.end) > size()) return false;
  for (uintptr_t at = RoundDown(span.begin, kGranuleBytes); at < span.end; at += kGranuleBytes) {
    const uint32_t granule = GranuleOf(at);
    if (!arena_.Has(granule, Arena::kUsed) && !arena_.Has(granule, Arena::kFree)) return false;
  }
  return true;
}

bool Heap::IsAllFree(Span span) const {
  return OffsetOf(span.begin) < size() && OffsetOf(span.end) <= size() &&
         !arena_.IsMapped(PageOf(span.begin)) &&
         arena_.PagesAlike(PageOf(span.begin), PageOf(span.end)) ==
             (span.end - span.begin) / kPageBytes;
}

bool Heap::CanRecord() const { return !protections_.full() && !foreign_.full() && !advice_.full(); }

// The kernel has just mapped something of the program's here.
void Heap::MapOver(Span span) {
  foreign_.Set(span.begin, span.end, 0);
  protections_.Set(span.begin, span.end, Ranges::kNoTag);
  advice_.Set(span.begin, span.end, Ranges::kNoTag);
  OccupyPages(span);
}

void Heap::OccupyPages(Span span) {
  for (uintptr_t at = RoundDown(span.begin, kGranuleBytes); at < span.end; at += kGranuleBytes) {
    const uint32_t granule = GranuleOf(at);
    if (arena_.Has(granule, Arena::kUsed)) continue;
    Chunk* chunk = ChunkAt(at);
    if (chunk->idle) idle_bytes_ -= chunk->size_bytes;
    chunk->idle = false;
    arena_.Claim(granule);
    UseGranules(*chunk, granule, 1);
  }
  arena_.MapPages(PageOf(span.begin), PageOf(span.end) - PageOf(span.begin));
}

void Heap::Unmap(uintptr_t address, size_t size_bytes) {
  const Lock lock(this);
  const Span span = Clip(address, size_bytes);
  ForEachMappedIn(span, [&](Chunk* chunk, uintptr_t begin, uintptr_t end) {
    ResetMapping(chunk, begin, end);
    if (chunk->retired) SysMadvise(begin, end - begin, MADV_DONTNEED);
    arena_.UnmapPages(PageOf(begin), PageOf(end) - PageOf(begin));
    // The free part of a dedicated chunk serves nobody else.
    if (!HandleFreed(chunk, end - begin) && chunk->dedicated && !chunk->retired) {
      Punch(*chunk, begin, end);
    }
  });
}

// By the descriptor: the mapping may be one that can't be written, or locked. If the program has
// closed it, zeros have to do.
void Heap::Punch(const Chunk& chunk, uintptr_t begin, uintptr_t end) {
  constexpr int kMode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  const int fd = chunk.file.get();
  if (fd >= 0 && ::syscall(SYS_fallocate, fd, kMode, begin - Begin(chunk), end - begin) == 0) {
    stats_.punched_bytes += end - begin;
    return;
  }
  SysMprotect(begin, end - begin, kReadWrite);
  ZeroBytes(begin, end);
  ApplyProtections(begin, end);
}

// Gives the memory back its ordinary protection and the chunk's file, without advice.
void Heap::ResetMapping(Chunk* chunk, uintptr_t begin, uintptr_t end) {
  const bool restored =
      RestoreFile(*chunk, &foreign_, begin, end) && RestoreFile(*chunk, &advice_, begin, end);
  if (!restored && !chunk->retired) {
    arena_.Retire(FirstGranule(*chunk), Granules(*chunk));  // never to be used again
    chunk->retired = true;
  }
  if (protections_.Intersects(begin, end)) {
    SysMprotect(begin, end - begin, kReadWrite);
    protections_.Set(begin, end, Ranges::kNoTag);
  }
}

// Mapping the file anew is the one way to be rid of whatever was advised.
bool Heap::RestoreFile(const Chunk& chunk, Ranges* exceptions, uintptr_t begin, uintptr_t end) {
  if (!exceptions->Intersects(begin, end)) return true;
  const int fd = chunk.file.get();
  const int kind = chunk.retired ? MAP_PRIVATE : MAP_SHARED;
  if (fd < 0) return false;
  bool restored = true;
  exceptions->ForEachPiece(begin, end, [&](uintptr_t from, uintptr_t to, int tag) {
    if (tag == Ranges::kNoTag) return;
    restored &= SysMmap(from, to - from, kReadWrite, kind | MAP_NORESERVE | MAP_FIXED, fd,
                        static_cast<int64_t>(from - Begin(chunk))) != MAP_FAILED;
    SysMadvise(from, to - from, MADV_HUGEPAGE);
  });
  return restored && exceptions->Set(begin, end, Ranges::kNoTag);
}

// MADV_DONTNEED of what isn't foreign: reads give zeros from here on.
void Heap::Discard(const Chunk& chunk, uintptr_t begin, uintptr_t end) {
  if (chunk.retired) {
    DiscardPrivate(begin, end);
  } else {
    DiscardShared(chunk, begin, end);
  }
}

// Punching gives the memory back, but costs more than overwriting, makes the pages fault again here
// and leaves less to recycle for the next worker. So it is done once much has been kept.
void Heap::DiscardShared(const Chunk& chunk, uintptr_t begin, uintptr_t end) {
  if (kept_discarded_bytes_ >= kKeepBytes || protections_.Intersects(begin, end)) {
    return Punch(chunk, begin, end);
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
  ApplyAdvice(begin, end);
}

int Heap::Protect(uintptr_t address, size_t size_bytes, int protection, int key) {
  const Lock lock(this);
  Span span = {};
  if (!WholePages(address, size_bytes, &span)) return ENOMEM;
  if (span.begin == span.end) return 0;
  // A stack's protection alone may grow with it.
  if ((protection & ~(kReadWrite | PROT_EXEC | kProtSem)) != 0) return EINVAL;
  int error = 0;
  uintptr_t done = span.begin;
  ForEachMappedIn(span, [&](Chunk*, uintptr_t begin, uintptr_t end) {
    if (error != 0 || begin != done) return;
    error = ProtectIn({begin, end}, protection, key);
    done = end;
  });
  return error != 0 || done == span.end ? error : ENOMEM;
}

int Heap::ProtectIn(Span span, int protection, int key) {
  constexpr int kAll = PROT_READ | PROT_WRITE | PROT_EXEC;
  if (!CanRecord()) return ENOMEM;
  const size_t bytes = span.end - span.begin;
  const int result = key < 0 ? SysMprotect(span.begin, bytes, protection)
                             : SysPkeyMprotect(span.begin, bytes, protection, key);
  if (result != 0) return errno;
  protections_.Set(span.begin, span.end,
                   (protection & kAll) == kReadWrite ? Ranges::kNoTag : protection & kAll);
  if (key >= 0) ChangeAdvice(span.begin, span.end, kHinted, 0);
  return 0;
}

int Heap::TraitsOf(uintptr_t address, size_t size_bytes, Traits* traits) {
  const Lock lock(this);
  Span span = {};
  if (!WholePages(address, size_bytes, &span)) return EFAULT;
  if (!ForEachMappedIn(span, [](Chunk*, uintptr_t, uintptr_t) {})) return EFAULT;
  bool alike = true;
  const auto tag_of = [&](const Ranges& ranges) {
    int pieces = 0;
    int found = Ranges::kNoTag;
    ranges.ForEachPiece(span.begin, span.end, [&](uintptr_t, uintptr_t, int tag) {
      alike &= pieces++ == 0 || tag == found;
      found = tag;
    });
    return found;
  };
  const int protection = tag_of(protections_);
  const int advice = tag_of(advice_);
  traits->protection = protection == Ranges::kNoTag ? kReadWrite : protection;
  traits->advice = advice == Ranges::kNoTag ? 0 : static_cast<unsigned>(advice);
  return alike ? 0 : EFAULT;
}

void Heap::MakeReadable(uintptr_t address, size_t size_bytes) {
  const Lock lock(this);
  SysMprotect(address, RoundUp(size_bytes, kPageBytes), kReadWrite);
}

void Heap::ApplyProtections(uintptr_t begin, uintptr_t end) {
  if (protections_.empty()) return;
  protections_.ForEachPiece(begin, end, [](uintptr_t from, uintptr_t to, int tag) {
    if (tag != Ranges::kNoTag) SysMprotect(from, to - from, tag);
  });
}

bool Heap::GrowMapping(uintptr_t address, size_t old_bytes, size_t new_bytes) {
  const Lock lock(this);
  Span wanted = {};
  if (!WholePages(address, new_bytes, &wanted)) return false;
  const uintptr_t old_end = address + RoundUp(old_bytes, kPageBytes);
  const uintptr_t new_end = wanted.end;
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
