// Sets of references: sorted by segment and offset, overlapping and touching ones merged.
#pragma once

#include <cstdint>
#include <vector>

#include "zerrow/reference.h"

namespace zerrow::sipc {

/// The fewest references that cover the same bytes, sorted. Empty ones vanish. None may end
/// behind 2^63 - 1.
std::vector<Reference> MergeReferences(std::vector<Reference> references);

int64_t TotalBytes(const std::vector<Reference>& merged);

}  // namespace zerrow::sipc
