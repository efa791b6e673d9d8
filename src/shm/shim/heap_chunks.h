// How the heap's parts walk over its chunks: for heap*.cc only, under the heap's lock.
#pragma once

#include "shm/shim/heap.h"

namespace zerrow::shim {

inline uint32_t Heap::FirstGranule(const Chunk& chunk) const {
  return static_cast<uint32_t>(&chunk - chunks_) * kGranulesPerSlot;
}

inline Heap::Chunk* Heap::ChunkAt(uintptr_t address) {
  const uint32_t owner = slot_owners_[OffsetOf(address) / kSlotBytes];
  if (owner == 0) return nullptr;
  Chunk* chunk = &chunks_[owner - 1];
  return address < End(*chunk) ? chunk : nullptr;
}

template <typename Visit>
void Heap::ForEachChunk(Visit visit) {
  for (uint32_t slot = 0; slot < slot_limit_; ++slot) {
    if (chunks_[slot].size_bytes > 0) visit(&chunks_[slot]);
  }
}

template <typename Visit>
void Heap::ForEachChunkIn(Span span, Visit visit) {
  for (uintptr_t begin = span.begin; begin < span.end;) {
    const uintptr_t slot_end =
        AddressOf(GranuleOf(begin) / kGranulesPerSlot * kGranulesPerSlot) + kSlotBytes;
    Chunk* chunk = ChunkAt(begin);
    const uintptr_t stop = chunk == nullptr ? slot_end : End(*chunk);
    const uintptr_t end = stop < span.end ? stop : span.end;
    if (chunk != nullptr) visit(chunk, begin, end);
    begin = end;
  }
}

template <typename Visit>
bool Heap::ForEachMappedIn(Span span, Visit visit) {
  uintptr_t mapped = 0;
  ForEachChunkIn(
      Clip(span.begin, span.end - span.begin), [&](Chunk* chunk, uintptr_t begin, uintptr_t end) {
        while (begin < end) {
          const bool is_mapped = arena_.IsMapped(PageOf(begin));
          const uintptr_t stop = begin + arena_.PagesAlike(PageOf(begin), PageOf(end)) * kPageBytes;
          if (is_mapped) {
            mapped += stop - begin;
            visit(chunk, begin, stop);
          }
          begin = stop;
        }
      });
  return mapped == span.end - span.begin;
}

}  // namespace zerrow::shim
