// Work on a chunk's pages that is done only where there are any.
//
// A page may not exist yet (a hole in the chunk's file), exist without being mapped here (another
// worker used the chunk before), or be mapped. Overwriting a mapped page costs a tenth of a fault
// and more, so holes are left alone, and pages that exist are mapped many at a time
// (docs/decisions/0002). Thread safe, keeps no state.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zerrow::shim {

/// Part of a mapped chunk: whole pages, and the file that they belong to, mapped at `origin`.
struct ChunkPages {
  uintptr_t begin;
  uintptr_t end;
  uintptr_t origin;
  int fd;  // -1: unknown; then every page counts as existing
};

/// Makes the bytes read as zeros; returns how many had to be written.
size_t ZeroPages(const ChunkPages& pages);

/// Maps those pages that exist.
void MapPages(const ChunkPages& pages);

}  // namespace zerrow::shim
