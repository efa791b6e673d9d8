// How much free memory the heap keeps.
//
// A page that exists is worth far more than a fresh one (docs/decisions/0002), so free memory stays
// where it is while there is no more of it than is in use, or than keep_bytes_. That bound starts
// low, and rises by whatever was given back and is then wanted again: a program that frees and
// allocates by turns pays once, one that has simply become smaller gives back what it had.
#include "shm/shim/heap.h"
#include "shm/shim/heap_chunks.h"

namespace zerrow::shim {

namespace {

// Counting walks over the granules of all chunks, so it waits until so much was freed, and longer
// where there is more to walk over.
constexpr size_t kCountAfterBytes = size_t{16} << 20;
constexpr size_t kCountAfterFraction = 64;
constexpr uint32_t kGranulesPerHugePage = kHugePageBytes / kGranuleBytes;

}  // namespace

size_t Heap::KeepLimit() const {
  const size_t used = arena_.used() * kGranuleBytes;
  return used > keep_bytes_ ? used : keep_bytes_;
}

void Heap::KeepMore(size_t bytes) {
  keep_bytes_ = keep_bytes_ + bytes < kKeepBytes ? keep_bytes_ + bytes : kKeepBytes;
}

// After `bytes` in granules of the chunk were freed: keeps it or drops it if it is wholly free now.
bool Heap::HandleFreed(Chunk* chunk, size_t bytes) {
  if (arena_.FreeRunLength(FirstGranule(*chunk)) != Granules(*chunk)) {
    freed_bytes_ += bytes;
    const size_t fraction = counted_bytes_ / kCountAfterFraction;
    if (freed_bytes_ >= (fraction > kCountAfterBytes ? fraction : kCountAfterBytes)) GiveBackFree();
    return false;
  }
  const size_t most = KeepLimit() < kKeepBytes ? KeepLimit() : kKeepBytes;
  if (chunk->retired || chunk->size_bytes > most) {
    Drop(chunk);
    return true;
  }
  ForEachChunk([&](Chunk* other) {
    if (other->idle && idle_bytes_ + chunk->size_bytes > most) Drop(other);
  });
  chunk->idle = true;
  idle_bytes_ += chunk->size_bytes;
  return true;
}

Heap::Chunk* Heap::IdleDedicatedChunk(size_t size_bytes) {
  Chunk* best = nullptr;
  ForEachChunk([&](Chunk* chunk) {
    // A much larger chunk would pin memory that somebody else could use.
    if (!chunk->dedicated || !chunk->idle || chunk->size_bytes < size_bytes ||
        chunk->size_bytes / 2 > size_bytes) {
      return;
    }
    if (best == nullptr || chunk->size_bytes < best->size_bytes) best = chunk;
  });
  return best;
}

// What is free in chunks that are in use. Idle chunks count first: they are released as a whole.
void Heap::GiveBackFree() {
  size_t free_bytes = idle_bytes_;
  freed_bytes_ = 0;
  counted_bytes_ = 0;
  ForEachChunk([&](const Chunk* chunk) {
    counted_bytes_ += chunk->size_bytes;
    if (chunk->idle || chunk->retired) return;
    for (uint32_t i = 0; i < Granules(*chunk); ++i) {
      if (IsGivable(FirstGranule(*chunk) + i)) free_bytes += kGranuleBytes;
    }
  });
  ForEachChunk([&](Chunk* chunk) {
    if (free_bytes <= KeepLimit() || !chunk->idle) return;
    free_bytes -= chunk->size_bytes;
    Drop(chunk);
  });
  ForEachChunk([&](const Chunk* chunk) {
    if (free_bytes <= KeepLimit() || chunk->idle || chunk->retired) return;
    free_bytes -= GiveBackFreeOf(*chunk, free_bytes - KeepLimit());
  });
}

// What the program has used and freed. Pages that it found in a recycled chunk are the pool's.
bool Heap::IsGivable(uint32_t granule) const {
  return arena_.Has(granule, Arena::kFree) && arena_.Has(granule, Arena::kDirty) &&
         !arena_.Has(granule, Arena::kCold);
}

// Whole huge pages only: to break one up costs whoever uses the rest of it.
size_t Heap::GiveBackFreeOf(const Chunk& chunk, size_t limit_bytes) {
  size_t given = 0;
  if (chunk.file.get() < 0) return 0;
  const uint32_t end = FirstGranule(chunk) + Granules(chunk);
  for (uint32_t first = FirstGranule(chunk); first + kGranulesPerHugePage <= end;
       first += kGranulesPerHugePage) {
    if (given >= limit_bytes) break;
    constexpr uint32_t kCount = kGranulesPerHugePage;
    uint32_t givable = 0;
    for (uint32_t i = first; i < first + kCount; ++i) givable += IsGivable(i) ? 1 : 0;
    if (givable == 0 || arena_.CountFlag(first, kCount, Arena::kFree) < kCount) continue;
    Punch(chunk, AddressOf(first), AddressOf(first + kCount));
    arena_.ClearFlag(first, kCount, Arena::kDirty);
    arena_.ClearFlag(first, kCount, Arena::kCold);
    arena_.SetFlag(first, kCount, Arena::kGivenUp);
    given += givable * kGranuleBytes;
  }
  return given;
}

}  // namespace zerrow::shim
