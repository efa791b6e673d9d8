// The seam between what is decided and what is done.
//
// A Performer does what the Core has decided, and tells the Dispatcher what came of it. The live
// one (live_performer.h) has processes, files and memory; a simulated one in tests has a seeded
// clock. Either is driven by the same Dispatcher, Core and Runs. All on one thread; a Performer
// calls its Dispatcher only from its own loop, never from inside one of these methods.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/published_table.h"
#include "engine/result_table.h"
#include "engine/run.h"
#include "resource/ledger.h"

namespace zerrow::engine {

class Performer {
 public:
  virtual ~Performer() = default;

  /// Begins the task of `run`: Dispatcher::OnRunning may follow, OnEnded does, once.
  virtual void Start(resource::TaskId task, int attempt, const Run& run) = 0;
  /// Ends the attempt's processes; its OnEnded follows as soon as they are gone.
  virtual void Stop(resource::TaskId task, int attempt) = 0;
  /// Nobody holds the segment.
  virtual void Free(SegmentId segment) = 0;
  /// Nobody reads anything of the segment but what is `used` (sorted, disjoint): the rest can go.
  virtual void Shrink(SegmentId segment, std::vector<ByteRange> used) = 0;
  /// The table for whoever asked for the run; its segments are held. It calls `on_drop` from any
  /// thread when it is let go.
  virtual std::shared_ptr<const ResultTable> Hand(const TablePtr& table,
                                                  std::function<void()> on_drop) = 0;
  /// Leaves what the run's functions print in their pipes, or takes it again.
  virtual void Pause(resource::RunId run, bool paused) = 0;
  /// All tasks of the run have ended: what was only for it can go.
  virtual RunUse EndRun(resource::RunId run) = 0;
};

}  // namespace zerrow::engine
