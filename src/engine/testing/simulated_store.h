// The segments of a simulation: what there is of them, where, and who reads it. Bytes.
#pragma once

#include <map>
#include <vector>

#include "resource/ledger.h"

namespace zerrow::engine::testing {

struct SimulatedSegment {
  int64_t bytes = 0;
  int readers = 0;                   // running attempts
  int in_hands = 0;                  // results
  std::vector<ByteRange> left = {};  // of it; empty: all
  bool in_memory = true;             // or being read
  bool readable = true;              // in memory, and all of it
  bool on_disk = false;
};

class SimulatedStore {
 public:
  using Segments = std::map<SegmentId, SimulatedSegment>;

  SimulatedSegment& Add(SegmentId id, int64_t bytes) {
    stored_bytes += bytes;
    memory_bytes += bytes;
    return segments[id] = {bytes};
  }
  void Remove(Segments::iterator segment) {
    stored_bytes -= segment->second.bytes;
    if (segment->second.in_memory) memory_bytes -= segment->second.bytes;
    if (segment->second.on_disk) disk_bytes -= segment->second.bytes;
    segments.erase(segment);
  }

  Segments segments;
  int64_t stored_bytes = 0;  // in memory, on disk or both: once
  int64_t memory_bytes = 0;
  int64_t disk_bytes = 0;
};

}  // namespace zerrow::engine::testing
