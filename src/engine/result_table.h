// A table in the hands of whoever asked for the run, whatever becomes of the engine.
//
// Holds leases on its segments, or on their copies on disk; the last one to let go of it tells the
// engine, if that still lives. Any thread. In a process that was forked from the one that made it
// the table can be read; to let go of it there changes nothing, as the memory is the other's.
#pragma once

#include <arrow/result.h>
#include <arrow/table.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "engine/published_table.h"
#include "shm/segment.h"
#include "shm/spill_file.h"

namespace zerrow::engine {

class ResultTable {
 public:
  /// Where a segment is: in memory or, if that was short, on disk.
  struct Held {
    std::shared_ptr<const shm::Segment> segment;
    std::shared_ptr<const shm::SpillFile> copy;
  };
  using Segments = std::map<SegmentId, Held>;

  /// `segments`: all that the table needs, by id. `on_drop` may be null; called on whatever thread.
  ResultTable(TablePtr table, Segments segments, std::function<void()> on_drop)
      : table_(std::move(table)), segments_(std::move(segments)), on_drop_(std::move(on_drop)) {}
  ~ResultTable() {
    if (::getpid() != owner_) {
      new (std::nothrow) Segments(std::move(segments_));
    } else if (on_drop_) {
      on_drop_();
    }
  }
  ResultTable(const ResultTable&) = delete;
  ResultTable& operator=(const ResultTable&) = delete;

  const PublishedTable& table() const { return *table_; }
  /// What is on disk is read when it is first asked for, and stays in memory then. IOError,
  /// SerializationError: the table has no such segment.
  arrow::Result<std::shared_ptr<const shm::Segment>> Find(SegmentId id) const;

 private:
  const TablePtr table_;
  mutable std::mutex mutex_;  // of segments_
  mutable Segments segments_;
  const std::function<void()> on_drop_;
  const pid_t owner_ = ::getpid();
};

/// Zero-copy: the buffers lie in mappings of the segments, and each holds `table`, so that they
/// stay valid for as long as they are held. The table's arrays pass Arrow's ValidateFull: here the
/// data leaves the engine's trust domain. IOError; SerializationError or Invalid if what the
/// function made is malformed.
arrow::Result<std::shared_ptr<arrow::Table>> OpenTable(
    const std::shared_ptr<const ResultTable>& table);

}  // namespace zerrow::engine
