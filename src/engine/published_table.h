// A table that a worker handed over: which segments it lies in, and what it cost. A plain value.
//
// The engine never reads the table's bytes. It holds nothing itself: the Ledger says who needs the
// segments, the SegmentStore has them. Shared as shared_ptr<const PublishedTable> among the tasks
// that read it. Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "resource/ledger.h"
#include "zerrow/run.h"

namespace zerrow::engine {

struct PublishedTable {
  /// kSipc: the message refers to other segments. kArrowFile: it is a whole Arrow IPC stream.
  enum class Format { kSipc, kArrowFile };

  Format format = Format::kSipc;
  resource::SegmentBytes message;                // a segment of its own
  std::vector<resource::SegmentBytes> segments;  // that the message refers to, ascending
  int64_t rows = 0;
  ByteCounts bytes;
  ModelTimings timings;       // without what happens once it is published
  double answered_cpu_s = 0;  // the worker's CPU until it answered, as it says
  /// Tells what the table says from anything else, as the worker says; empty if nobody has asked,
  /// if it couldn't tell, or of a source. worker/content_hash.h.
  std::string content_hash;
  std::optional<CacheUse> cache;  // of a source
  /// Of a source: a table for each of its reads. What stands above is then the first one's, but for
  /// `segments`, which are all of theirs, messages included.
  std::vector<std::shared_ptr<const PublishedTable>> reads;

  /// The message's segment and the others.
  std::vector<resource::SegmentBytes> AllSegments() const {
    auto all = segments;
    all.push_back(message);
    return all;
  }
};

using TablePtr = std::shared_ptr<const PublishedTable>;

}  // namespace zerrow::engine
