// Makes a worker's output a published table, after the worker and its descendants are gone.
//
// Trusts nothing: the message must be sealed and pass sipc::Check against what the worker was
// granted (its inputs' segments and its own chunks), and the accounting comes from the checked
// message. Takes time with the bytes that are trimmed, so it belongs on a thread beside the loop;
// any thread may call it. On an error nothing is published and the chunks are freed.
#pragma once

#include <arrow/result.h>

#include <memory>
#include <vector>

#include "engine/answer.h"
#include "engine/published_table.h"
#include "shm/shared_memory.h"

namespace zerrow::engine {

using TablePtr = std::shared_ptr<const PublishedTable>;

/// `own_segment`: the id that the worker was given for the file in output.moved; 0: for none.
/// SerializationError: a message that refers to what wasn't granted, isn't sealed or is malformed;
/// IOError: some process can still write to the output.
arrow::Result<TablePtr> PublishOutput(OutputAnswer output, const std::vector<TablePtr>& inputs,
                                      std::vector<shm::GrantedChunk> chunks, SegmentId own_segment,
                                      shm::SharedMemory* memory);

}  // namespace zerrow::engine
