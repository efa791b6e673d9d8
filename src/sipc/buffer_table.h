// The buffers of a message that is being written: which are references and which are copied.
//
// Part of the writer. Add one range per buffer of an array; when all are known, Finish decides
// where copied bytes come to lie, so that memory used many times, or by overlapping slices, is
// copied once. One thread; the ranges must stay readable as long as BodyParts.
#pragma once

#include <arrow/buffer.h>
#include <arrow/result.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sipc/address_map.h"
#include "sipc/format.h"

namespace zerrow::sipc {

class BufferTable {
 public:
  /// The bytes [begin, end) of `buffer` that an array needs. From `used_begin` on they are read;
  /// those before only keep their place, as offsets count from `begin`.
  struct Range {
    const arrow::Buffer* buffer;
    int64_t begin;
    int64_t end;
    int64_t used_begin;
  };

  using MoveFunction =
      std::function<arrow::Result<std::vector<int64_t>>(std::span<const Reference>)>;

  /// Of `staying` segments, only tiny buffers are copied; of others those of less than
  /// `inline_below_bytes`. References to `movable` are to addresses until Move; 0: there is no such
  /// segment.
  BufferTable(const AddressMap& addresses, int64_t inline_below_bytes,
              const std::set<SegmentId>& staying, SegmentId movable = 0)
      : addresses_(addresses),
        inline_below_bytes_(inline_below_bytes),
        staying_(staying),
        movable_(movable) {}

  void Reserve(uint64_t num_buffers) { records_.reserve(num_buffers); }

  /// The index of the range's buffer record; kNone for a null buffer. Invalid if the buffer is
  /// shorter than the range or not in this process's memory; CapacityError past 2^32 - 2 buffers.
  arrow::Result<uint32_t> Add(const Range& range);

  /// As Add, but the same range of memory gets the same record again.
  arrow::Result<uint32_t> AddShared(const Range& range);

  /// Adds memory of the writer's own: it is copied wherever it lies, as it will be gone.
  arrow::Result<uint32_t> AddOwned(std::shared_ptr<arrow::Buffer> buffer);

  /// True if Add would copy ranges of this buffer, or they are going to be moved: either way what
  /// is in front of the used bytes had better not be among them.
  bool WouldCopy(const arrow::Buffer& buffer) const;

  /// Call after the last Add, before it is relied on how many heads() there are: a head has no
  /// place of its own once the bytes behind it are elsewhere, so it moves along.
  void DropMovableHeads();

  /// Moves what is referred to in the movable segment; then nothing is to be read of its memory any
  /// more. What `move` returns, or UnknownError if that isn't an offset for each range.
  arrow::Status Move(const MoveFunction& move);

  /// Call once, after the last Add: places copied bytes in a body that starts `body_offset` bytes
  /// into the message.
  void Finish(int64_t body_offset);
  /// The body_bytes() of the body in order, piece by piece, with zeros for gaps.
  std::vector<std::string_view> BodyParts() const;

  const std::vector<BufferRecord>& records() const { return records_; }
  const std::vector<HeadRecord>& heads() const { return heads_; }
  const std::vector<SegmentRecord>& segments() const { return segments_; }
  int64_t body_bytes() const { return body_bytes_; }
  int64_t copied_bytes() const { return copied_bytes_; }
  /// What the records refer to: sorted, merged.
  std::vector<Reference> References() const;

 private:
  struct Copy {
    const uint8_t* begin;
    int64_t length;
    uint32_t record;
  };
  // Memory that is copied in one piece.
  struct Region {
    const uint8_t* begin;
    int64_t length;
    int64_t body_offset;
    bool is_one_buffer;
  };

  arrow::Result<uint32_t> AddRecord(const Range& range, bool may_refer);
  std::optional<Reference> Refer(const arrow::Buffer& buffer, const uint8_t* begin,
                                 int64_t length) const;
  uint32_t SegmentIndex(const Reference& reference);
  std::vector<Region> MergeCopies();

  const AddressMap& addresses_;
  int64_t inline_below_bytes_;
  const std::set<SegmentId>& staying_;
  SegmentId movable_;
  std::vector<BufferRecord> records_;
  std::vector<HeadRecord> heads_;
  std::vector<SegmentRecord> segments_;
  std::map<SegmentId, uint32_t> segment_index_;
  SegmentId last_segment_ = 0;
  uint32_t last_segment_index_ = 0;
  std::map<std::array<uintptr_t, 3>, uint32_t> shared_;  // address, length, unused head
  std::vector<std::shared_ptr<arrow::Buffer>> owned_;
  std::vector<Copy> copies_;
  std::vector<Region> regions_;
  int64_t body_bytes_ = 0;
  int64_t copied_bytes_ = 0;
};

}  // namespace zerrow::sipc
