// What madvise and mlock mean for chunk memory.
//
// What the kernel does for a shared mapping as for private memory it is left to do. It refuses
// WIPEONFORK there, so the child wipes; and discarding keeps the bytes, so they are zeroed here.
// A fork and the program's freeing replace mappings, and what was advised goes with them: hence the
// notes of it.
#include "shm/shim/heap.h"
#include "shm/shim/heap_chunks.h"

namespace zerrow::shim {

namespace {

// Newer than the headers.
constexpr int kPopulateRead = 22;
constexpr int kPopulateWrite = 23;
constexpr int kDontNeedLocked = 24;
constexpr int kGuardInstall = 102;

constexpr int kReadWrite = PROT_READ | PROT_WRITE;

int Native(uintptr_t begin, uintptr_t end, int advice) {
  return SysMadvise(begin, end - begin, advice) == 0 ? 0 : errno;
}

bool Has(int tag, unsigned bit) {
  return tag != Ranges::kNoTag && (static_cast<unsigned>(tag) & bit) != 0;
}

}  // namespace

int Heap::Advise(uintptr_t address, size_t size_bytes, int advice) {
  const Lock lock(this);
  Span span = {};
  if (!WholePages(address, size_bytes, &span)) return EINVAL;
  int error = Native(address, address, advice);  // is it known at all?
  if (error != 0 || span.begin == span.end) return error;
  const bool stops_at_holes = advice == kPopulateRead || advice == kPopulateWrite;
  uintptr_t done = span.begin;
  const bool all = ForEachMappedIn(span, [&](Chunk* chunk, uintptr_t begin, uintptr_t end) {
    if (error != 0 || (stops_at_holes && begin != done)) return;
    error = AdviseIn(*chunk, begin, end, advice);
    done = end;
  });
  return error != 0 || all ? error : ENOMEM;
}

int Heap::AdviseIn(const Chunk& chunk, uintptr_t begin, uintptr_t end, int advice) {
  int error = 0;
  foreign_.ForEachPiece(begin, end, [&](uintptr_t from, uintptr_t to, int tag) {
    if (error != 0) return;
    // Where it isn't the chunk's file, the kernel knows best.
    error = tag != Ranges::kNoTag ? Native(from, to, advice) : AdviseChunk(chunk, from, to, advice);
  });
  return error != 0 ? error : NoteAdvice(begin, end, advice);
}

int Heap::AdviseChunk(const Chunk& chunk, uintptr_t begin, uintptr_t end, int advice) {
  switch (advice) {
    case MADV_DONTNEED:
    case MADV_FREE:
    case kGuardInstall:
      return AdviseUnlocked(chunk, begin, end, advice);
    case kDontNeedLocked:
      Discard(chunk, begin, end);
      return 0;
    case MADV_REMOVE:  // private anonymous memory has nothing to remove from
      return EINVAL;
    case MADV_WIPEONFORK:
      return 0;
    default:
      return Native(begin, end, advice);
  }
}

// What is refused where the memory is locked, and done up to there.
int Heap::AdviseUnlocked(const Chunk& chunk, uintptr_t begin, uintptr_t end, int advice) {
  int error = 0;
  advice_.ForEachPiece(begin, end, [&](uintptr_t from, uintptr_t to, int tag) {
    if (error != 0) return;
    if (Has(tag, kLocked)) {
      error = EINVAL;
    } else if (advice == MADV_DONTNEED) {
      Discard(chunk, from, to);
    } else if (advice == kGuardInstall) {  // takes the bytes away, where the memory is private
      DiscardPrivate(from, to);
      error = Native(from, to, advice);
    }  // MADV_FREE: the kernel, too, may keep the bytes for as long as it likes
  });
  return error;
}

int Heap::NoteAdvice(uintptr_t begin, uintptr_t end, int advice) {
  switch (advice) {
    case MADV_DONTFORK:
      return ChangeAdvice(begin, end, kDontFork, 0) ? 0 : ENOMEM;
    case MADV_DOFORK:
      return ChangeAdvice(begin, end, 0, kDontFork) ? 0 : ENOMEM;
    case MADV_WIPEONFORK:
      return ChangeAdvice(begin, end, kWipeOnFork, 0) ? 0 : ENOMEM;
    case MADV_KEEPONFORK:
      return ChangeAdvice(begin, end, 0, kWipeOnFork) ? 0 : ENOMEM;
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
    case MADV_NOHUGEPAGE:
    case MADV_MERGEABLE:
    case MADV_DONTDUMP:
      ChangeAdvice(begin, end, kHinted, 0);  // without a note it is a hint to whoever comes next
      return 0;
    default:
      return 0;
  }
}

bool Heap::ChangeAdvice(uintptr_t begin, uintptr_t end, unsigned set, unsigned clear) {
  bool changed = true;
  advice_.ForEachPiece(begin, end, [&](uintptr_t from, uintptr_t to, int tag) {
    const unsigned old = tag == Ranges::kNoTag ? 0 : static_cast<unsigned>(tag);
    const unsigned now = (old | set) & ~clear;
    if (now == old) return;
    changed &= advice_.Set(from, to, now == 0 ? Ranges::kNoTag : static_cast<int>(now));
  });
  return changed;
}

// After something else was mapped there.
void Heap::ApplyAdvice(uintptr_t begin, uintptr_t end) {
  if (advice_.empty()) return;
  advice_.ForEachPiece(begin, end, [](uintptr_t from, uintptr_t to, int tag) {
    if (Has(tag, kDontFork)) SysMadvise(from, to - from, MADV_DONTFORK);
    if (Has(tag, kWipeOnFork)) SysMadvise(from, to - from, MADV_WIPEONFORK);
    if (Has(tag, kLocked)) SysMlock(from, to - from, 0);
  });
}

// What isn't to be had here is mapped without access, so that nothing else can come to lie there.
// Locks aren't inherited.
void Heap::ApplyAdviceInChild() {
  if (advice_.empty()) return;
  const uintptr_t begin = base_.load(std::memory_order_relaxed);
  ChangeAdvice(begin, begin + size(), 0, kLocked);
  advice_.ForEachPiece(begin, begin + size(), [this](uintptr_t from, uintptr_t to, int tag) {
    if (!Has(tag, kDontFork | kWipeOnFork)) return;
    const bool wiped = !Has(tag, kDontFork);
    foreign_.Set(from, to, 0);
    SysMmap(from, to - from, wiped ? kReadWrite : PROT_NONE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (!wiped) return;
    ApplyProtections(from, to);
    ApplyAdvice(from, to);
  });
}

int Heap::SetLocked(uintptr_t address, size_t size_bytes, bool locked, unsigned flags) {
  const Lock lock(this);
  const uintptr_t begin = RoundDown(address, kPageBytes);
  // As the kernel has it, where this wraps to zero nothing is asked for.
  const Span span = {begin, begin + RoundUp(size_bytes + (address - begin), kPageBytes)};
  if (span.end < span.begin) return EINVAL;
  const bool all = ForEachMappedIn(span, [](Chunk*, uintptr_t, uintptr_t) {});
  if (!all || advice_.full()) return ENOMEM;
  const int result = locked ? SysMlock(span.begin, span.end - span.begin, flags)
                            : SysMunlock(span.begin, span.end - span.begin);
  const int error = result == 0 ? 0 : errno;
  // Where there is no page that can be had, it is locked nevertheless: what is can't get cold.
  if (error == 0 || (locked && Native(span.begin, span.begin + kPageBytes, MADV_COLD) == EINVAL)) {
    const unsigned bit = kLocked;
    ChangeAdvice(span.begin, span.end, locked ? bit : 0, locked ? 0 : bit);
  }
  return error;
}

void Heap::ForgetLocks() {
  const Lock lock(this);
  const uintptr_t begin = base_.load(std::memory_order_relaxed);
  ChangeAdvice(begin, begin + size(), 0, kLocked);
}

}  // namespace zerrow::shim
