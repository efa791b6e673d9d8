#include "shm/shim/arena.h"

#include <cstdlib>

#include "shm/shim/layout.h"

namespace zerrow::shim {

namespace {

// A bin's list is searched this far. Runs beyond are missed; then a larger bin or a new chunk
// serves the request.
constexpr int kSearchLimit = 64;
constexpr uint16_t kAllPages = UINT16_MAX;
static_assert(kPagesPerGranule == 16, "a granule's pages fill a uint16_t");

}  // namespace

size_t Arena::TableBytes(uint32_t granules) {
  return size_t{granules} * (sizeof(Run) + sizeof(uint16_t) + sizeof(uint8_t));
}

void Arena::Init(void* zeroed_table, uint32_t granules) {
  granules_ = granules;
  runs_ = static_cast<Run*>(zeroed_table);
  unmapped_ = reinterpret_cast<uint16_t*>(runs_ + granules);
  flags_ = reinterpret_cast<uint8_t*>(unmapped_ + granules);
  for (uint32_t& head : bins_) head = kNone;
}

// Four bins per power of two.
uint32_t Arena::BinOf(uint32_t length) {
  const uint32_t log = 31 - static_cast<uint32_t>(__builtin_clz(length));
  const uint32_t bin = log < 2 ? length - 1 : log * 4 + ((length >> (log - 2)) & 3) - 5;
  return bin < kBins ? bin : kBins - 1;
}

void Arena::SetFlag(uint32_t first, uint32_t count, Flag flag) {
  for (uint32_t i = first; i < first + count; ++i) flags_[i] |= flag;
}

void Arena::ClearFlag(uint32_t first, uint32_t count, Flag flag) {
  for (uint32_t i = first; i < first + count; ++i) flags_[i] &= static_cast<uint8_t>(~flag);
}

uint32_t Arena::CountFlag(uint32_t first, uint32_t count, Flag flag) const {
  uint32_t with = 0;
  for (uint32_t i = first; i < first + count; ++i) with += Has(i, flag) ? 1 : 0;
  return with;
}

void Arena::InsertRun(uint32_t first, uint32_t length) {
  runs_[first].length = length;
  runs_[first + length - 1].length = length;
  if (Has(first, kUnbinned)) return;
  uint32_t& head = bins_[BinOf(length)];
  runs_[first].next = head;
  runs_[first].previous = kNone;
  if (head != kNone) runs_[head].previous = first;
  head = first;
}

void Arena::EraseRun(uint32_t first) {
  if (Has(first, kUnbinned)) return;
  const Run& run = runs_[first];
  if (run.previous != kNone) {
    runs_[run.previous].next = run.next;
  } else {
    bins_[BinOf(run.length)] = run.next;
  }
  if (run.next != kNone) runs_[run.next].previous = run.previous;
}

void Arena::Add(uint32_t first, uint32_t count, uint8_t flags) {
  for (uint32_t i = first; i < first + count; ++i) flags_[i] = flags | kFree;
  flags_[first] |= kChunkFirst;
  InsertRun(first, count);
}

void Arena::Remove(uint32_t first, uint32_t count) {
  EraseRun(first);
  for (uint32_t i = first; i < first + count; ++i) flags_[i] = 0;
}

void Arena::Retire(uint32_t first, uint32_t count) {
  for (uint32_t i = first; i < first + count;) {
    const uint32_t length = FreeRunLength(i);
    if (length > 0) EraseRun(i);
    i += length > 0 ? length : 1;
  }
  SetFlag(first, count, kUnbinned);
}

uint32_t Arena::Allocate(uint32_t count, uint32_t alignment) {
  uint32_t best = kNone;
  uint32_t best_start = kNone;
  for (uint32_t bin = BinOf(count); bin < kBins && best == kNone; ++bin) {
    int seen = 0;
    for (uint32_t run = bins_[bin]; run != kNone && seen < kSearchLimit; run = runs_[run].next) {
      ++seen;
      const auto start = static_cast<uint32_t>(RoundUp(run, alignment));
      if (uint64_t{start} + count > uint64_t{run} + runs_[run].length) continue;
      const bool better =
          best == kNone || Has(start, kDirty) > Has(best_start, kDirty) ||
          (Has(start, kDirty) == Has(best_start, kDirty) && runs_[run].length < runs_[best].length);
      if (better) {
        best = run;
        best_start = start;
      }
    }
  }
  if (best != kNone) TakeFromRun(best, best_start, count, /*joined=*/false);
  return best_start;
}

bool Arena::AllocateAt(uint32_t first, uint32_t count, bool joined) {
  if (FreeRunLength(first) < count || (joined && Has(first, kChunkFirst))) return false;
  TakeFromRun(first, first, count, joined);
  return true;
}

void Arena::TakeFromRun(uint32_t run, uint32_t first, uint32_t count, bool joined) {
  const uint32_t end = run + runs_[run].length;
  EraseRun(run);
  used_ += count;
  for (uint32_t i = first; i < first + count; ++i) {
    flags_[i] = static_cast<uint8_t>((flags_[i] & ~kFree) | kUsed);
    unmapped_[i] = 0;
  }
  if (!joined) flags_[first] |= kStart;
  if (first > run) InsertRun(run, first - run);
  if (first + count < end) InsertRun(first + count, end - first - count);
}

void Arena::Free(uint32_t first, uint32_t count) {
  uint32_t start = first;
  uint32_t end = first + count;
  used_ -= count;
  for (uint32_t i = first; i < end; ++i) {
    flags_[i] = static_cast<uint8_t>((flags_[i] & ~(kUsed | kStart)) | kFree);
  }
  if (end < granules_) {
    if (Has(end, kUsed)) flags_[end] |= kStart;
    if (Has(end, kFree) && !Has(end, kChunkFirst)) {
      EraseRun(end);
      end += runs_[end].length;
    }
  }
  if (start > 0 && !Has(start, kChunkFirst) && Has(start - 1, kFree)) {
    start -= runs_[start - 1].length;
    EraseRun(start);
  }
  InsertRun(start, end - start);
}

void Arena::UnmapPages(uint64_t first_page, uint64_t count) {
  const uint64_t end_page = first_page + count;
  uint32_t empty_first = 0;
  uint32_t empty_count = 0;
  for (uint64_t page = first_page; page < end_page;) {
    const auto granule = static_cast<uint32_t>(page / kPagesPerGranule);
    const uint64_t granule_end = (uint64_t{granule} + 1) * kPagesPerGranule;
    const uint64_t stop = end_page < granule_end ? end_page : granule_end;
    if (Has(granule, kUsed)) {
      const uint64_t bits = ((uint64_t{1} << (stop - page)) - 1) << (page % kPagesPerGranule);
      unmapped_[granule] |= static_cast<uint16_t>(bits);
    }
    if (Has(granule, kUsed) && unmapped_[granule] == kAllPages) {
      if (empty_count == 0) empty_first = granule;
      ++empty_count;
    } else if (empty_count > 0) {
      Free(empty_first, empty_count);
      empty_count = 0;
    }
    page = stop;
  }
  if (empty_count > 0) Free(empty_first, empty_count);
}

bool Arena::IsMapped(uint64_t page) const {
  const uint64_t granule = page / kPagesPerGranule;
  return granule < granules_ && Has(static_cast<uint32_t>(granule), kUsed) &&
         (unmapped_[granule] >> (page % kPagesPerGranule) & 1) == 0;
}

uint64_t Arena::PagesAlike(uint64_t page, uint64_t end_page) const {
  const bool mapped = IsMapped(page);
  uint64_t at = page;
  while (at < end_page && IsMapped(at) == mapped) {
    const auto granule = static_cast<uint32_t>(at / kPagesPerGranule);
    const bool alike = granule < granules_ && (!Has(granule, kUsed) || unmapped_[granule] == 0);
    at += alike ? kPagesPerGranule - at % kPagesPerGranule : 1;
  }
  return (at < end_page ? at : end_page) - page;
}

void Arena::Claim(uint32_t granule) {
  uint32_t run = granule;
  while (FreeRunLength(run) == 0) --run;
  TakeFromRun(run, granule, 1, /*joined=*/false);
  unmapped_[granule] = kAllPages;
}

void Arena::MapPages(uint64_t first_page, uint64_t count) {
  for (uint64_t page = first_page; page < first_page + count; ++page) {
    unmapped_[page / kPagesPerGranule] &= static_cast<uint16_t>(~(1U << (page % kPagesPerGranule)));
  }
}

uint32_t Arena::AllocationLength(uint32_t start) const {
  uint32_t end = start + 1;
  while (end < granules_ && (flags_[end] & (kUsed | kStart)) == kUsed) ++end;
  return end - start;
}

uint32_t Arena::FreeRunLength(uint32_t first) const {
  if (first >= granules_ || !Has(first, kFree)) return 0;
  const bool begins = Has(first, kChunkFirst) || first == 0 || !Has(first - 1, kFree);
  return begins ? runs_[first].length : 0;
}

void Arena::CheckInvariants(uint32_t limit) const {
  uint64_t binned = 0;
  if (CountFlag(0, limit, kUsed) != used_) std::abort();
  for (uint32_t i = 0; i < limit;) {
    const uint32_t length = FreeRunLength(i);
    if (length == 0) {
      if (Has(i, kFree) || (Has(i, kUsed) && unmapped_[i] == kAllPages)) std::abort();
      if (Has(i, kUsed) && (i == 0 || !Has(i - 1, kUsed)) && !Has(i, kStart)) std::abort();
      ++i;
      continue;
    }
    if (runs_[i + length - 1].length != length) std::abort();
    for (uint32_t k = i; k < i + length; ++k) {
      if (!Has(k, kFree) || Has(k, kUsed) || (k > i && Has(k, kChunkFirst))) std::abort();
    }
    if (!Has(i, kUnbinned)) ++binned;
    i += length;
  }
  for (uint32_t bin = 0; bin < kBins; ++bin) {
    for (uint32_t run = bins_[bin]; run != kNone; run = runs_[run].next) {
      if (BinOf(runs_[run].length) != bin || !Has(run, kFree)) std::abort();
      --binned;
    }
  }
  if (binned != 0) std::abort();
}

}  // namespace zerrow::shim
