#include "sipc/ranges.h"

#include <algorithm>
#include <array>
#include <utility>

namespace zerrow::sipc {
namespace {

bool IsBefore(const Reference& a, const Reference& b) {
  return a.segment != b.segment ? a.segment < b.segment : a.offset < b.offset;
}

// One number by which references are in order, and where it came from.
struct Key {
  uint64_t order;
  int64_t length;
};

constexpr int kOffsetBits = 48;
constexpr int kDigitBits = 11;

// Sorts digit by digit, and only by digits that aren't the same in all keys.
void RadixSort(std::vector<Key>* keys) {
  uint64_t varying = 0;
  for (const Key& key : *keys) varying |= key.order ^ keys->front().order;
  std::vector<Key> sorted(keys->size());
  constexpr uint64_t kMask = (uint64_t{1} << kDigitBits) - 1;
  for (int shift = 0; shift < 64; shift += kDigitBits) {
    if (((varying >> shift) & kMask) == 0) continue;
    std::array<uint32_t, kMask + 1> next = {};
    for (const Key& key : *keys) ++next[(key.order >> shift) & kMask];
    uint32_t sum = 0;
    for (uint32_t& at : next) sum += std::exchange(at, sum);
    for (const Key& key : *keys) sorted[next[(key.order >> shift) & kMask]++] = key;
    keys->swap(sorted);
  }
}

// Hundreds of thousands of references are sorted in a fraction of what comparing them takes.
// False, and nothing done, if they can't be told apart by a Key.
bool SortByKeys(std::vector<Reference>* references) {
  std::vector<SegmentId> segments;
  for (const Reference& reference : *references) {
    if (segments.empty() || segments.back() != reference.segment) {
      segments.push_back(reference.segment);
    }
  }
  std::sort(segments.begin(), segments.end());
  segments.erase(std::unique(segments.begin(), segments.end()), segments.end());
  if (segments.size() > (size_t{1} << (64 - kOffsetBits))) return false;
  std::vector<Key> keys;
  keys.reserve(references->size());
  uint64_t rank = 0;
  for (const Reference& reference : *references) {
    if (static_cast<uint64_t>(reference.offset) >> kOffsetBits != 0) return false;
    if (segments[rank] != reference.segment) {
      rank = static_cast<uint64_t>(
          std::lower_bound(segments.begin(), segments.end(), reference.segment) - segments.begin());
    }
    keys.push_back(
        {rank << kOffsetBits | static_cast<uint64_t>(reference.offset), reference.length});
  }
  RadixSort(&keys);
  constexpr uint64_t kOffsetMask = (uint64_t{1} << kOffsetBits) - 1;
  for (size_t i = 0; i < keys.size(); ++i) {
    (*references)[i] = {segments[keys[i].order >> kOffsetBits],
                        static_cast<int64_t>(keys[i].order & kOffsetMask), keys[i].length};
  }
  return true;
}

}  // namespace

std::vector<Reference> MergeReferences(std::vector<Reference> references) {
  constexpr size_t kManyReferences = 1000;
  // Allocators hand memory out in ascending order more often than not.
  if (!std::is_sorted(references.begin(), references.end(), IsBefore) &&
      (references.size() < kManyReferences || !SortByKeys(&references))) {
    std::sort(references.begin(), references.end(), IsBefore);
  }
  size_t kept = 0;
  for (const Reference& next : references) {
    if (next.length == 0) continue;
    if (kept > 0) {
      Reference& last = references[kept - 1];
      if (last.segment == next.segment && next.offset - last.offset <= last.length) {
        last.length = std::max(last.length, next.offset - last.offset + next.length);
        continue;
      }
    }
    references[kept++] = next;
  }
  references.resize(kept);
  references.shrink_to_fit();
  return references;
}

int64_t TotalBytes(const std::vector<Reference>& merged) {
  int64_t total = 0;
  for (const Reference& reference : merged) total += reference.length;
  return total;
}

}  // namespace zerrow::sipc
