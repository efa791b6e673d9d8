// What a worker's end means: its answer taken apart and checked, or how it died.
//
// Pure; any thread. The answer is untrusted input: what doesn't fit becomes a Failure that says so.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <variant>

#include "base/fd.h"
#include "engine/published_table.h"
#include "engine/worker_pool.h"
#include "zerrow/run.h"

namespace zerrow::engine {

/// A table to publish. The numbers are the worker's own claim.
struct OutputAnswer {
  PublishedTable::Format format = PublishedTable::Format::kSipc;
  base::UniqueFd message;
  base::UniqueFd moved;  // a segment that the worker made itself; invalid if it made none
  int64_t rows = 0;
  ByteCounts bytes;
  ModelTimings timings;  // without what happens after the answer
  double answered_cpu_s = 0;
  std::string content_hash;  // empty: none was told
};

/// Anything but a table.
struct ValueAnswer {
  nlohmann::json value;
};

struct Failure {
  ModelStatus status = ModelStatus::kFailed;  // or kKilled, or kTimeout at the process's end
  RunError error;                             // `model` is empty, and `file` if it wasn't told
};

using Answer = std::variant<OutputAnswer, ValueAnswer, Failure>;

Answer ReadAnswer(WorkerEnd end);

/// A failure as workers describe it: {"message", "file", "line", "traceback"}, each if it is known;
/// without a message `otherwise` is said.
Failure ReadFailure(const nlohmann::json& described, std::string otherwise);

}  // namespace zerrow::engine
