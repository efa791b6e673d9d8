// Sizes that the shim's parts agree on, and which requests it takes.
//
// The reserved address range is cut into slots, a slot into granules, a granule into pages. A
// chunk starts at a slot and covers as many slots as its file needs, so an address leads to its
// chunk by one shift.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zerrow::shim {

inline constexpr size_t kPageBytes = 4096;
inline constexpr size_t kHugePageBytes = size_t{2} << 20;
inline constexpr size_t kGranuleBytes = size_t{64} << 10;
inline constexpr size_t kSlotBytes = size_t{64} << 20;  // also a standard chunk's size
inline constexpr uint32_t kPagesPerGranule = kGranuleBytes / kPageBytes;
inline constexpr uint32_t kGranulesPerSlot = kSlotBytes / kGranuleBytes;

inline constexpr size_t kMinMallocBytes = kGranuleBytes;
inline constexpr size_t kMinMmapBytes = size_t{256} << 10;
// pymalloc's arenas hold small objects only, one mmap each: as chunk memory they would pin
// segments and never be part of an output.
inline constexpr size_t kPymallocArenaBytes = size_t{1} << 20;
// From here on a request gets a chunk of its own.
inline constexpr size_t kDedicatedBytes = size_t{8} << 20;

// A reallocated request of this size gets room to grow in place.
inline constexpr size_t kMinHeadroomBytes = size_t{8} << 20;

// Memory that the program has no use for is kept, since it may have one again and fresh pages are
// dear, but not without end: what was discarded and wholly free chunks up to kKeepBytes, and all
// that is free up to as much as is in use. A program that uses little may keep kKeepAtFirstBytes,
// and more once it has shown that it wants back what was given up (heap_keep.cc).
inline constexpr size_t kKeepBytes = size_t{512} << 20;
inline constexpr size_t kKeepAtFirstBytes = size_t{128} << 20;

constexpr uintptr_t RoundDown(uintptr_t value, uintptr_t unit) { return value & ~(unit - 1); }
constexpr uintptr_t RoundUp(uintptr_t value, uintptr_t unit) {
  return RoundDown(value + unit - 1, unit);
}

}  // namespace zerrow::shim
