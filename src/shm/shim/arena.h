// Which granules of a large index space are free, in use or absent: pure bookkeeping.
//
// Knows granule numbers, not addresses: no memory that it manages is ever touched, so it is tested
// without a shim. A chunk is a run of granules that the owner adds; allocations and free runs never
// cross a chunk's border. Free runs are coalesced at once and kept in bins by size, so allocating
// is a near-best fit. Not thread safe: the Heap's lock guards it. Its tables are one block of
// zeroed memory that the caller provides (sparse: only the part for added chunks is touched).
#pragma once

#include <cstddef>
#include <cstdint>

namespace zerrow::shim {

class Arena {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // What is remembered of each granule. Absent granules have no flag set.
  enum Flag : uint8_t {
    kUsed = 1,
    kFree = 2,
    kStart = 4,       // used: an allocation begins here
    kChunkFirst = 8,  // no run reaches from before it into it
    kUnbinned = 16,   // free runs here serve growth in place only (dedicated and retired chunks)
    kDirty = 32,      // may hold something other than zeros
    kCold = 64,       // may have pages that this process has not mapped
    kGivenUp = 128,   // has no pages: they were given back while it was free
  };

  static size_t TableBytes(uint32_t granules);

  constexpr Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// `zeroed_table` has TableBytes(granules) bytes and outlives the arena.
  void Init(void* zeroed_table, uint32_t granules);

  /// A chunk of `count` free granules; `flags` of kUnbinned, kDirty and kCold.
  void Add(uint32_t first, uint32_t count, uint8_t flags);
  /// Forgets a chunk, whose granules are all free.
  void Remove(uint32_t first, uint32_t count);
  /// From now on nothing is allocated in this chunk.
  void Retire(uint32_t first, uint32_t count);

  /// The first of `count` granules, at a multiple of `alignment` (a power of two), now used and one
  /// allocation; kNone if no run is long enough. Prefers granules that were in use before: their
  /// pages exist. Changes neither kDirty nor kCold.
  uint32_t Allocate(uint32_t count, uint32_t alignment);
  /// Takes exactly these granules if all are free, as an allocation or joined to the one before.
  bool AllocateAt(uint32_t first, uint32_t count, bool joined);
  /// Frees granules that are all used, of whatever allocations. What is left of an allocation
  /// behind them becomes one of its own.
  void Free(uint32_t first, uint32_t count);

  /// Marks pages (numbered through all granules) as unmapped by the program. Granules without
  /// mapped pages are freed. Pages of granules that aren't used are skipped.
  void UnmapPages(uint64_t first_page, uint64_t count);
  /// True if the page's granule is used and the page is not unmapped.
  bool IsMapped(uint64_t page) const;
  /// How many pages from `page` on, below `end_page`, are all mapped or all not.
  uint64_t PagesAlike(uint64_t page, uint64_t end_page) const;
  /// Takes a free granule, wherever in its run, as an allocation without mapped pages. The caller
  /// maps some.
  void Claim(uint32_t granule);
  /// Maps pages again, all in used granules.
  void MapPages(uint64_t first_page, uint64_t count);

  /// A number that the owner keeps with the allocation that begins at `start`.
  uint32_t note(uint32_t start) const { return runs_[start].length; }
  void set_note(uint32_t start, uint32_t note) { runs_[start].length = note; }

  /// The granules of the allocation that begins at `start`, until the next one or a free granule.
  uint32_t AllocationLength(uint32_t start) const;
  /// The length of the free run that begins at `first`; 0 if none begins there.
  uint32_t FreeRunLength(uint32_t first) const;

  bool Has(uint32_t granule, Flag flag) const { return (flags_[granule] & flag) != 0; }
  void SetFlag(uint32_t first, uint32_t count, Flag flag);
  void ClearFlag(uint32_t first, uint32_t count, Flag flag);
  /// How many of these granules have it.
  uint32_t CountFlag(uint32_t first, uint32_t count, Flag flag) const;
  /// How many granules are in use.
  uint32_t used() const { return used_; }

  /// For tests: aborts if the tables contradict themselves in [0, limit).
  void CheckInvariants(uint32_t limit) const;

 private:
  // A free run's length stands at its first and its last granule, the links at its first. At an
  // allocation's first granule `length` is its note.
  struct Run {
    uint32_t length;
    uint32_t next;
    uint32_t previous;
  };
  static constexpr uint32_t kBins = 64;

  static uint32_t BinOf(uint32_t length);
  void InsertRun(uint32_t first, uint32_t length);
  void EraseRun(uint32_t first);
  void TakeFromRun(uint32_t run, uint32_t first, uint32_t count, bool joined);

  uint32_t granules_ = 0;
  uint32_t used_ = 0;
  uint8_t* flags_ = nullptr;
  uint16_t* unmapped_ = nullptr;  // a bit per page of the granule
  Run* runs_ = nullptr;
  uint32_t bins_[kBins] = {};
};

}  // namespace zerrow::shim
