// Reads a SIPC message as Arrow tables and batches whose buffers lie in the segments' mappings.
//
// Open checks the whole structure, so that a malformed message is an error and never a crash or a
// large allocation; what arrays contain (offsets, indices, text) is for arrow's Validate and
// ValidateFull. The message must not change while it is used: open sealed memory only.
// Thread safety: every method of a Reader may be called from many threads. Ownership: each buffer
// keeps its segment (what the resolver returned) or the message alive; the Reader may go first.
#pragma once

#include <arrow/buffer.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/table.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "zerrow/reference.h"

namespace zerrow::sipc {

/// The whole mapping of a segment. Asked at most once per segment and Reader, when the first
/// buffer in it is needed, one call at a time.
using SegmentResolver =
    std::function<arrow::Result<std::shared_ptr<arrow::Buffer>>(SegmentId segment)>;

class Reader {
 public:
  /// SerializationError if the message is malformed; NotImplemented for a later version.
  static arrow::Result<std::shared_ptr<Reader>> Open(std::shared_ptr<arrow::Buffer> message,
                                                     SegmentResolver resolver);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  const std::shared_ptr<arrow::Schema>& schema() const;
  int64_t num_rows() const;

  /// Batches are what all columns' chunks have in common: a batch ends where a chunk of any
  /// column does. None is empty, except that a table without columns is one batch of its rows.
  int64_t num_batches() const;

  /// Decodes batch `i` now (columns are boxed when touched). Invalid if there is none;
  /// SerializationError if a segment is smaller than the message says; the resolver's errors.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> ReadBatch(int64_t i) const;

  /// One column with the chunks that it was written with. Errors as ReadBatch.
  arrow::Result<std::shared_ptr<arrow::ChunkedArray>> ReadColumn(int i) const;

  /// All columns. Errors as ReadBatch.
  arrow::Result<std::shared_ptr<arrow::Table>> ReadTable() const;

 private:
  struct Impl;
  explicit Reader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace zerrow::sipc
