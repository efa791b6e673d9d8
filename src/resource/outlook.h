// Looks ahead: with which of a run's next tasks to begin, so that what follows fits into memory.
//
// A rank knows what a task itself adds to memory and frees. That can end where two tables wait for
// each other: each beside what must be made first doesn't fit any more. So each of the first few is
// tried on paper, followed one at a time by what ranks would choose, and by what is furthest along
// (rollouts; Bertsekas, Tsitsiklis & Wu, "Rollout Algorithms for Combinatorial Optimization",
// 1997), over a window of the plan. Pure; what it costs is bounded whatever the run's size.
#pragma once

#include <cstddef>
#include <cstdint>

#include "resource/board.h"

namespace zerrow::resource {

/// Of the run's ready tasks, of which there is at least one, the index of that after which the most
/// that is needed at once exceeds `room_bytes` least, or not; of equals, the first by rank.
size_t FirstByOutlook(const Run& run, int64_t room_bytes);

}  // namespace zerrow::resource
