#include "sipc/ranges.h"

#include <algorithm>

namespace zerrow::sipc {

std::vector<Reference> MergeReferences(std::vector<Reference> references) {
  // Allocators hand memory out in ascending order more often than not.
  if (!std::is_sorted(references.begin(), references.end())) {
    std::sort(references.begin(), references.end());
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
