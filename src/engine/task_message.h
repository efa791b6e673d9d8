// The task that a worker is given: a JSON message and the descriptors that go with it.
//
// docs/formats/worker_protocol.md says what is in it. On the loop's thread.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "engine/publish_output.h"
#include "engine/run.h"
#include "engine/worker.h"
#include "shm/segment_store.h"

namespace zerrow::engine {

struct TaskMessage {
  nlohmann::json body;
  std::vector<int> fds;                // in the order that the body refers to
  std::vector<base::UniqueFd> opened;  // what they are
  std::optional<Terminal> terminal;    // instead of pipes and nothing to read
};

/// Of a task of the run that is about to start, so that its inputs are in `store`. `inputs` gets
/// all segments of its inputs. IOError: a segment can't be opened.
arrow::Result<TaskMessage> MessageFor(const Run& run, size_t task, const shm::SegmentStore& store,
                                      Segments& inputs);

}  // namespace zerrow::engine
