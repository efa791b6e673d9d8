// The heap's chunks and the malloc family. What is kept of free memory is in heap_keep.cc, mappings
// in heap_vm.cc and heap_advice.cc, fork and queries in heap_fork.cc.
#include "shm/shim/heap.h"

#include <cstdlib>
#include <cstring>

#include "shm/shim/heap_chunks.h"

namespace zerrow::shim {

namespace {

constexpr size_t kRangeBytes[] = {size_t{1} << 40, size_t{1} << 38, size_t{1} << 36};
// After a refusal so many allocations of that size or larger are made elsewhere before the broker
// is asked again.
constexpr uint32_t kRequestsToSkip = 32;

[[noreturn]] void Die(const char* message) {
  ::syscall(SYS_write, STDERR_FILENO, message, std::strlen(message));
  std::abort();
}

}  // namespace

int Heap::Start(int broker_fd) {
  const Lock lock(this);
  if (state_.load(std::memory_order_relaxed) != State::kAsleep) {
    ::syscall(SYS_close, broker_fd);
    return EALREADY;
  }
  if (!broker_.Open(broker_fd)) return EINVAL;
  if (!ReserveRange()) {
    broker_.Close();
    return ENOMEM;
  }
  state_.store(State::kActive, std::memory_order_release);
  return 0;
}

void Heap::LetGo() {
  if (size() == 0) return;
  pthread_mutex_lock(&mutex_);
  SysMunmap(base_.load(std::memory_order_relaxed), size());
}

// Also under a limit on address space there should be room for something.
bool Heap::ReserveRange() {
  for (const size_t bytes : kRangeBytes) {
    const auto slots = static_cast<uint32_t>(bytes / kSlotBytes);
    const auto granules = static_cast<uint32_t>(bytes / kGranuleBytes);
    const size_t table_bytes =
        slots * (sizeof(Chunk) + sizeof(uint32_t)) + Arena::TableBytes(granules);
    void* range = SysMmap(0, bytes + kSlotBytes, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) continue;
    void* table = SysMmap(0, table_bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (table == MAP_FAILED) {
      SysMunmap(reinterpret_cast<uintptr_t>(range), bytes + kSlotBytes);
      continue;
    }
    chunks_ = static_cast<Chunk*>(table);
    arena_.Init(chunks_ + slots, granules);
    slot_owners_ = reinterpret_cast<uint32_t*>(reinterpret_cast<uint8_t*>(chunks_ + slots) +
                                               Arena::TableBytes(granules));
    slots_ = slots;
    base_.store(RoundUp(reinterpret_cast<uintptr_t>(range), kSlotBytes), std::memory_order_relaxed);
    size_bytes_.store(bytes, std::memory_order_release);
    return true;
  }
  return false;
}

// --- chunks

Heap::Chunk* Heap::RequestChunk(size_t size_bytes, bool dedicated) {
  if (requests_to_skip_ > 0 && size_bytes >= refused_bytes_) {
    --requests_to_skip_;
    return nullptr;
  }
  Grant grant = {};
  if (!broker_.Request(size_bytes, &grant)) {
    requests_to_skip_ = kRequestsToSkip;
    refused_bytes_ = size_bytes;
    return nullptr;
  }
  const size_t wanted_back = size_bytes < released_bytes_ ? size_bytes : released_bytes_;
  released_bytes_ -= wanted_back;
  KeepMore(wanted_back);
  Chunk* chunk = grant.size_bytes >= size_bytes ? Adopt(grant, dedicated) : nullptr;
  if (chunk == nullptr) {
    ::syscall(SYS_close, grant.fd);
    broker_.Release(grant.segment);
  }
  return chunk;
}

Heap::Chunk* Heap::Adopt(const Grant& grant, bool dedicated) {
  const size_t size_bytes = RoundDown(grant.size_bytes, kGranuleBytes);
  const auto count = static_cast<uint32_t>(RoundUp(size_bytes, kSlotBytes) / kSlotBytes);
  const uint32_t slot = FindSlots(count);
  if (slot == Arena::kNone) return nullptr;
  const uintptr_t begin = AddressOf(slot * kGranulesPerSlot);
  if (SysMmap(begin, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED,
              grant.fd, 0) == MAP_FAILED) {
    return nullptr;
  }
  SysMadvise(begin, size_bytes, MADV_HUGEPAGE);  // takes effect where the file's mount allows it
  Chunk& chunk = chunks_[slot];
  chunk = {};
  chunk.segment = grant.segment;
  chunk.size_bytes = size_bytes;
  chunk.file.Keep(grant.fd);
  chunk.dedicated = dedicated;
  for (uint32_t i = slot; i < slot + count; ++i) slot_owners_[i] = slot + 1;
  if (slot_limit_ < slot + count) slot_limit_ = slot + count;
  arena_.Add(slot * kGranulesPerSlot, Granules(chunk),
             (grant.dirty ? Arena::kDirty | Arena::kCold : 0) | (dedicated ? Arena::kUnbinned : 0));
  ++stats_.grants;
  stats_.granted_bytes += size_bytes;
  return &chunk;
}

uint32_t Heap::FindSlots(uint32_t count) const {
  uint32_t free = 0;
  for (uint32_t i = 0; i < slots_; ++i) {
    free = slot_owners_[i] == 0 ? free + 1 : 0;
    if (free == count) return i + 1 - count;
  }
  return Arena::kNone;
}

// Forgets a wholly free chunk. Its addresses stay reserved, so that no mapping of the program's
// can come to lie there. A retired chunk isn't released: a child may still read its file.
void Heap::Drop(Chunk* chunk) {
  const uint32_t slot = static_cast<uint32_t>(chunk - chunks_);
  const uintptr_t end = RoundUp(End(*chunk), kSlotBytes);
  SysMmap(Begin(*chunk), End(*chunk) - Begin(*chunk), PROT_NONE,
          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  protections_.Set(Begin(*chunk), end, Ranges::kNoTag);
  foreign_.Set(Begin(*chunk), end, Ranges::kNoTag);
  advice_.Set(Begin(*chunk), end, Ranges::kNoTag);
  arena_.Remove(FirstGranule(*chunk), Granules(*chunk));
  chunk->file.Close();
  if (chunk->idle) idle_bytes_ -= chunk->size_bytes;
  if (!chunk->retired) {
    broker_.Release(chunk->segment);
    released_bytes_ += chunk->size_bytes;
    ++stats_.releases;
  }
  for (uint32_t i = slot; i < slots_ && slot_owners_[i] == slot + 1; ++i) slot_owners_[i] = 0;
  *chunk = {};
}

// --- the malloc family

// `headroom` granules more if they are to be had. Large requests get a chunk of their own, so that
// a buffer never crosses a chunk's border.
uint32_t Heap::TakeGranules(uint32_t count, uint32_t headroom, size_t alignment) {
  const uint32_t wanted = count + headroom;
  uint32_t first = Arena::kNone;
  if (wanted >= kDedicatedBytes / kGranuleBytes || alignment > kDedicatedBytes) {
    const size_t bytes = RoundUp(wanted * kGranuleBytes, kHugePageBytes);
    Chunk* chunk = IdleDedicatedChunk(bytes);
    if (chunk == nullptr) chunk = RequestChunk(bytes, /*dedicated=*/true);
    if (chunk != nullptr) {
      first = FirstGranule(*chunk);
      arena_.AllocateAt(first, wanted, /*joined=*/false);
    }
  } else {
    // Buffers that begin and end inside a huge page would make trimming break it.
    if (wanted * kGranuleBytes >= kHugePageBytes && alignment < kHugePageBytes) {
      alignment = kHugePageBytes;
    }
    const size_t unit = alignment > kGranuleBytes ? alignment / kGranuleBytes : 1;
    first = arena_.Allocate(wanted, static_cast<uint32_t>(unit));
    if (first == Arena::kNone && RequestChunk(kSlotBytes, /*dedicated=*/false) != nullptr) {
      first = arena_.Allocate(wanted, static_cast<uint32_t>(unit));
    }
  }
  if (first == Arena::kNone) return headroom > 0 ? TakeGranules(count, 0, alignment) : first;
  Chunk* chunk = ChunkAt(AddressOf(first));
  if (chunk->idle) idle_bytes_ -= chunk->size_bytes;
  chunk->idle = false;
  return first;
}

// From the first to the last of these granules with the flag.
Heap::Span Heap::FlaggedSpan(uint32_t first, uint32_t count, Arena::Flag flag) const {
  uint32_t begin = first;
  uint32_t end = first + count;
  while (begin < end && !arena_.Has(begin, flag)) ++begin;
  while (begin < end && !arena_.Has(end - 1, flag)) --end;
  return {AddressOf(begin), AddressOf(end)};
}

ChunkPages Heap::PagesOf(const Chunk& chunk, Span span) const {
  return {span.begin, span.end, Begin(chunk), span.begin < span.end ? chunk.file.get() : -1};
}

// These granules are about to be written by the program.
Heap::Fresh Heap::UseGranules(const Chunk& chunk, uint32_t first, uint32_t count) {
  const Fresh fresh = {PagesOf(chunk, FlaggedSpan(first, count, Arena::kCold)),
                       PagesOf(chunk, FlaggedSpan(first, count, Arena::kDirty))};
  KeepMore(arena_.CountFlag(first, count, Arena::kGivenUp) * kGranuleBytes);
  arena_.SetFlag(first, count, Arena::kDirty);
  arena_.ClearFlag(first, count, Arena::kCold);
  arena_.ClearFlag(first, count, Arena::kGivenUp);
  return fresh;
}

// The granules are the caller's by now, so nobody else needs to wait for this.
void Heap::Settle(const Fresh& fresh, bool zeroed) {
  const int saved_errno = errno;
  MapPages(fresh.cold);
  const size_t written = zeroed ? ZeroPages(fresh.dirty) : 0;
  errno = saved_errno;
  if (written == 0) return;
  const Lock lock(this);
  stats_.zeroed_bytes += written;
}

void* Heap::AllocateGranules(size_t size_bytes, size_t alignment, size_t headroom_bytes,
                             Fresh* fresh) {
  if (size_bytes > size() / 4 || alignment > kSlotBytes) return nullptr;
  const auto count = static_cast<uint32_t>(RoundUp(size_bytes, kGranuleBytes) / kGranuleBytes);
  const auto headroom = static_cast<uint32_t>(headroom_bytes / kGranuleBytes);
  const uint32_t first = TakeGranules(count, headroom, alignment);
  if (first == Arena::kNone) {
    ++stats_.refused;
    return nullptr;
  }
  *fresh = UseGranules(*ChunkAt(AddressOf(first)), first, count);
  arena_.set_note(first, count);
  ++stats_.allocations;
  stats_.allocated_bytes += size_bytes;
  return reinterpret_cast<void*>(AddressOf(first));
}

void* Heap::Allocate(size_t size_bytes, size_t alignment, bool zeroed, size_t headroom_bytes) {
  Fresh fresh = {};
  void* p = nullptr;
  {
    const Lock lock(this);
    if (!active()) return nullptr;
    p = AllocateGranules(size_bytes, alignment, headroom_bytes, &fresh);
  }
  if (p != nullptr) Settle(fresh, zeroed);
  return p;
}

void Heap::CheckStart(uintptr_t address) {
  if (address % kGranuleBytes != 0 || ChunkAt(address) == nullptr ||
      !arena_.Has(GranuleOf(address), Arena::kStart)) {
    Die("zerrow shim: free(), realloc() or malloc_usable_size(): invalid pointer\n");
  }
}

void Heap::FreeGranules(Chunk* chunk, uint32_t first, uint32_t count) {
  ResetMapping(chunk, AddressOf(first), AddressOf(first + count));
  if (chunk->retired) SysMadvise(AddressOf(first), count * kGranuleBytes, MADV_DONTNEED);
  arena_.Free(first, count);
  HandleFreed(chunk, count * kGranuleBytes);
}

void Heap::Free(void* p) {
  const Lock lock(this);
  const auto address = reinterpret_cast<uintptr_t>(p);
  CheckStart(address);
  const uint32_t first = GranuleOf(address);
  FreeGranules(ChunkAt(address), first, arena_.AllocationLength(first));
}

bool Heap::ResizeInPlace(void* p, size_t size_bytes) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  Fresh fresh = {};
  {
    const Lock lock(this);
    CheckStart(address);
    if (size_bytes > size() / 4) return false;
    Chunk* chunk = ChunkAt(address);
    const uint32_t first = GranuleOf(address);
    const uint32_t length = arena_.AllocationLength(first);
    const uint32_t used = arena_.note(first);
    const auto count = static_cast<uint32_t>(RoundUp(size_bytes, kGranuleBytes) / kGranuleBytes);
    if (count > used) {
      if (chunk->retired) return false;  // it had better move to where it can be shared
      if (count > length && !arena_.AllocateAt(first + length, count - length, /*joined=*/true)) {
        return false;
      }
      fresh = UseGranules(*chunk, first + used, count - used);
    } else if (count < used) {
      FreeGranules(chunk, first + count, length - count);
    }
    arena_.set_note(first, count);
  }
  Settle(fresh, /*zeroed=*/false);
  return true;
}

size_t Heap::UsableBytes(void* p) {
  const Lock lock(this);
  CheckStart(reinterpret_cast<uintptr_t>(p));
  return arena_.note(GranuleOf(reinterpret_cast<uintptr_t>(p))) * kGranuleBytes;
}

void Heap::CountCopy(size_t bytes) {
  const Lock lock(this);
  stats_.copied_bytes += bytes;
}

}  // namespace zerrow::shim
