// Checks a SIPC message without reading any table bytes: for the engine, which trusts no worker.
//
// A message that passes has a sound structure, and each of its references lies within a segment
// that was granted. Memory used is at most proportional to the message's real size, time to its
// size times its logarithm. No Arrow code sees the message: its schema isn't parsed here (readers
// do that). Thread safety: a function of its arguments; the bytes must not change meanwhile
// (check sealed memory only).
#pragma once

#include <arrow/result.h>

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "zerrow/reference.h"

namespace zerrow::sipc {

struct Summary {
  int64_t num_rows = 0;
  int64_t num_columns = 0;
  int64_t num_arrays = 0;  // all chunks and dictionaries with their children
  /// What must stay readable: sorted, merged ranges. Bytes of segments outside them are never
  /// read by a consumer and may be freed.
  std::vector<Reference> references;
  int64_t referenced_bytes = 0;  // the sum of `references`
  int64_t inline_bytes = 0;      // table data in the message itself
};

/// `granted`: the segments that the message may refer to, with their sizes.
/// SerializationError if anything is wrong; NotImplemented for a later version of the format.
arrow::Result<Summary> Check(std::span<const uint8_t> message,
                             const std::map<SegmentId, int64_t>& granted);

}  // namespace zerrow::sipc
