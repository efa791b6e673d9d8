// Makes a worker's output a published table, once nobody can write to it any more: the worker and
// its descendants are gone, or the kernel says so.
//
// Trusts nothing: the message must be sealed and pass sipc::Check against what the worker was
// granted (its inputs' segments and its own chunks), and the numbers come from the checked
// message. Takes time with the bytes that are trimmed, so it belongs on a thread beside the loop;
// any thread may call it. On an error nothing is published and the chunks are freed.
#pragma once

#include <arrow/result.h>

#include <map>
#include <memory>
#include <vector>

#include "engine/answer.h"
#include "engine/published_table.h"
#include "shm/segment_store.h"
#include "shm/shared_memory.h"

namespace zerrow::engine {

using Segments = std::map<SegmentId, std::shared_ptr<const shm::Segment>>;

struct Publication {
  TablePtr table;
  std::vector<std::shared_ptr<const shm::Segment>> segments;  // new ones, the message's among them
};

/// What a worker was granted.
struct Granted {
  Segments inputs;
  std::vector<shm::GrantedChunk> chunks;
  SegmentId moved = 0;  // the id that it may give to memory that it moves itself; 0: none
};

/// A table whose message refers to segments. `ids` and `reaper` are for the message's own.
/// SerializationError: a message that refers to what wasn't granted, isn't sealed or is malformed;
/// IOError: some process can still write to the output.
arrow::Result<Publication> PublishReferences(OutputAnswer output, Granted granted,
                                             shm::SegmentIds& ids, const base::TaskThread& reaper,
                                             shm::SharedMemory& memory);

/// The files that the worker has made itself can't change any more.
bool IsSealed(const OutputAnswer& output);

/// A table that is an Arrow IPC file. SerializationError if it is something else.
arrow::Result<Publication> PublishFile(OutputAnswer output, shm::SegmentIds& ids,
                                       const base::TaskThread& reaper);

}  // namespace zerrow::engine
