// Makes Arrow arrays from a checked message's nodes, zero-copy, one array at a time.
//
// Thread safety: all methods from many threads; segments and dictionaries are resolved once,
// under a lock. Buffers keep what they lie in alive, so the decoder may go first.
#pragma once

#include <arrow/array/data.h>
#include <arrow/buffer.h>
#include <arrow/result.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "sipc/message_view.h"
#include "sipc/reader.h"

namespace zerrow::sipc {

class Decoder {
 public:
  /// `view` borrows `message`.
  Decoder(const MessageView& view, std::shared_ptr<arrow::Buffer> message,
          SegmentResolver resolver);

  /// Array `i` of a run of arrays of `type`, whose layout is the run's.
  arrow::Result<std::shared_ptr<arrow::ArrayData>> Decode(
      const std::shared_ptr<arrow::DataType>& type, const MessageView::ArrayRun& run, uint64_t i);

 private:
  struct Cursor {
    uint64_t node;
    uint64_t slot;
  };
  using Data = std::shared_ptr<arrow::ArrayData>;

  arrow::Result<Data> DecodeNext(const std::shared_ptr<arrow::DataType>& type, uint32_t layout,
                                 Cursor* at);
  arrow::Status DecodeBuffers(LayoutKind kind, uint64_t slot, arrow::ArrayData* data);
  arrow::Status DecodeVariadic(uint64_t list, arrow::ArrayData* data);
  arrow::Result<std::shared_ptr<arrow::Buffer>> DecodeBuffer(uint32_t slot);
  arrow::Result<Data> Dictionary(const std::shared_ptr<arrow::DataType>& value_type, uint32_t i);
  arrow::Result<const std::shared_ptr<arrow::Buffer>*> Segment(uint32_t i);

  const MessageView& view_;
  std::shared_ptr<arrow::Buffer> message_;
  SegmentResolver resolver_;

  std::mutex segments_lock_;
  std::vector<std::shared_ptr<arrow::Buffer>> segments_;  // null: not resolved yet
  std::unique_ptr<std::atomic<bool>[]> segment_ready_;

  std::mutex dictionaries_lock_;
  std::vector<Data> dictionaries_;  // null: not decoded yet
};

}  // namespace zerrow::sipc
