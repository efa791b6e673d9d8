// Fork, and the questions that the worker asks when it publishes.
//
// Chunk memory is mapped MAP_SHARED, so after a plain fork parent and child would write into each
// other's data. Before the fork every chunk is mapped again MAP_PRIVATE, over the same file at the
// same place: each mmap replaces the old mapping atomically for other threads. What was written
// before is in the file, which nobody changes from then on; what is written later goes to private
// copies, which fork duplicates as it does for any memory.
#include <cstring>

#include "shm/shim/heap.h"
#include "shm/shim/heap_chunks.h"

namespace zerrow::shim {

namespace {

// Bits of an entry in /proc/self/pagemap.
constexpr uint64_t kPagePresent = uint64_t{1} << 63;
constexpr uint64_t kPageSwapped = uint64_t{1} << 62;
constexpr uint64_t kPageIsFile = uint64_t{1} << 61;

// If the program closed the chunk's descriptor there is no file to map: a copy takes its place.
bool ReplaceByCopy(uintptr_t begin, uintptr_t end) {
  void* copy = SysMmap(0, end - begin, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (copy == MAP_FAILED) return false;
  SysMprotect(begin, end - begin, PROT_READ | PROT_WRITE);
  std::memcpy(copy, reinterpret_cast<void*>(begin), end - begin);
  return SysMremap(reinterpret_cast<uintptr_t>(copy), end - begin, end - begin,
                   MREMAP_MAYMOVE | MREMAP_FIXED, begin) != MAP_FAILED;
}

}  // namespace

// Runs last of all prepare handlers, as the first one registered: those of other libraries may
// still allocate. The lock is held until the fork is done.
void Heap::PrepareFork() {
  const int saved_errno = errno;
  pthread_mutex_lock(&mutex_);
  ForEachChunk([this](Chunk* chunk) {
    if (chunk->idle) {
      Drop(chunk);
    } else if (!chunk->retired) {
      Retire(chunk);
    }
  });
  errno = saved_errno;
}

// Other threads go on, and may execute what they have written there: so each piece gets its
// protection in the same call.
void Heap::Retire(Chunk* chunk) {
  foreign_.ForEachPiece(Begin(*chunk), End(*chunk), [&](uintptr_t begin, uintptr_t end, int over) {
    if (over != Ranges::kNoTag) return;
    protections_.ForEachPiece(begin, end, [&](uintptr_t from, uintptr_t to, int tag) {
      MapPrivately(*chunk, from, to, tag == Ranges::kNoTag ? PROT_READ | PROT_WRITE : tag);
    });
  });
  arena_.Retire(FirstGranule(*chunk), Granules(*chunk));
  chunk->retired = true;
  ++stats_.retired_chunks;
}

void Heap::MapPrivately(const Chunk& chunk, uintptr_t begin, uintptr_t end, int protection) {
  const int fd = chunk.file.get();
  bool replaced = false;
  if (fd >= 0) {
    replaced = SysMmap(begin, end - begin, protection, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd,
                       static_cast<int64_t>(begin - Begin(chunk))) != MAP_FAILED;
  } else {
    replaced = foreign_.Set(begin, end, 0) && ReplaceByCopy(begin, end);
    SysMprotect(begin, end - begin, protection);
  }
  // A child that crashes is better than one that changes its parent's data.
  if (!replaced) SysMadvise(begin, end - begin, MADV_DONTFORK);
  SysMadvise(begin, end - begin, MADV_HUGEPAGE);
  ApplyAdvice(begin, end);
}

void Heap::AfterForkInParent() { pthread_mutex_unlock(&mutex_); }

// The child allocates from libc. It keeps no descriptor: neither the broker nor a chunk's file.
void Heap::AfterForkInChild() {
  const int saved_errno = errno;
  if (state_.load(std::memory_order_relaxed) == State::kActive) {
    state_.store(State::kInherited, std::memory_order_relaxed);
  }
  broker_.Close();
  ForEachChunk([](Chunk* chunk) { chunk->file.Close(); });
  ApplyAdviceInChild();
  pthread_mutex_unlock(&mutex_);
  errno = saved_errno;
}

size_t Heap::ListRanges(bool partial, zerrow_shim_range* out, size_t capacity) {
  const Lock lock(this);
  size_t count = 0;
  ForEachChunk([&](const Chunk* chunk) {
    const bool is_partial = chunk->retired || foreign_.Intersects(Begin(*chunk), End(*chunk));
    if (is_partial != partial) return;
    if (count < capacity) out[count] = {chunk->segment, Begin(*chunk), chunk->size_bytes};
    ++count;
  });
  return count;
}

bool Heap::Shareable(uintptr_t address, size_t size_bytes) {
  const Lock lock(this);
  const Chunk* chunk = ChunkAt(address);
  if (chunk == nullptr || size_bytes > End(*chunk) - address) return false;
  const uintptr_t begin = RoundDown(address, kPageBytes);
  const uintptr_t end = RoundUp(address + size_bytes, kPageBytes);
  if (foreign_.Intersects(begin, end)) return false;
  return !chunk->retired || PagesAreFile(begin, end);
}

// A page that was never touched since the chunk was retired isn't present, and would be read from
// the file.
bool Heap::PagesAreFile(uintptr_t begin, uintptr_t end) const {
  const int fd =
      static_cast<int>(::syscall(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (fd < 0) return false;
  bool all = true;
  while (all && begin < end) {
    uint64_t entries[512];
    const size_t left = (end - begin) / kPageBytes;
    const size_t count = left < 512 ? left : 512;
    const auto offset = static_cast<int64_t>(begin / kPageBytes * sizeof(uint64_t));
    all = ::syscall(SYS_pread64, fd, entries, count * sizeof(uint64_t), offset) ==
          static_cast<int64_t>(count * sizeof(uint64_t));
    for (size_t i = 0; all && i < count; ++i) {
      all = (entries[i] & kPageSwapped) == 0 &&
            ((entries[i] & kPagePresent) == 0 || (entries[i] & kPageIsFile) != 0);
    }
    begin += count * kPageBytes;
  }
  ::syscall(SYS_close, fd);
  return all;
}

zerrow_shim_stats Heap::stats() {
  const Lock lock(this);
  return stats_;
}

}  // namespace zerrow::shim
