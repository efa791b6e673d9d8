// The part of the seam (performer.h) that only matters where there is a memory budget.
//
// Does what the Core has decided about segments and attempts, and tells the Dispatcher what came of
// it: OnSwappedOut, OnSwappedIn, OnUncached, and OnMeasured whenever it has measured. All on one
// thread; it calls its Dispatcher only from its own loop, never from inside one of these methods.
#pragma once

#include "resource/ledger.h"

namespace zerrow::engine {

class MemoryPerformer {
 public:
  virtual ~MemoryPerformer() = default;

  /// The attempt's processes don't go on, or do again. One that is stopped ends even so.
  virtual void Freeze(resource::TaskId task, int attempt, bool frozen) = 0;
  /// Copies the segment to disk, next to its memory; OnSwappedOut follows.
  virtual void SwapOut(SegmentId segment) = 0;
  /// A copy is on disk and nobody has the segment mapped: its memory goes.
  virtual void Unload(SegmentId segment) = 0;
  /// Fills memory from the copy, which stays; OnSwappedIn follows.
  virtual void SwapIn(SegmentId segment) = 0;
  /// The cache forgets the segment; OnUncached follows.
  virtual void Uncache(SegmentId segment) = 0;
};

}  // namespace zerrow::engine
