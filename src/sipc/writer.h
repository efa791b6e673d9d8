// Writes an Arrow table as a SIPC message: its structure and references to its bytes.
//
// Nothing of a buffer is copied that the AddressMap finds, except buffers too small to be worth a
// reference. What it doesn't find is copied into the message, each byte once however many slices
// or columns use it, and of a buffer that is only partly used just that part
// (docs/formats/sipc.md, "What is copied"). Thread safety: functions, any thread; the table must
// not change meanwhile. The message stands for itself: references hold no memory alive, that is
// up to whoever owns the segments.
#pragma once

#include <arrow/buffer.h>
#include <arrow/result.h>
#include <arrow/table.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "sipc/address_map.h"
#include "zerrow/reference.h"

namespace zerrow::sipc {

/// Memory that is in no segment yet but can be brought into one, once it is known what of it is
/// needed.
struct MovableSegment {
  SegmentId id = 0;  // in the AddressMap with addresses for offsets
  /// Brings ranges of this process's memory (sorted, disjoint, `offset` is the address) into the
  /// segment; the offset of each there. Called at most once, and last: nothing looks at the table's
  /// memory any more, which may be empty from then on.
  std::function<arrow::Result<std::vector<int64_t>>(std::span<const Reference> ranges)> move;
};

struct EncodeOptions {
  /// Buffers smaller than this are copied into the message even if they could be referred to: a
  /// reference to a few bytes pins a page and costs the engine more than the bytes do.
  int64_t inline_below_bytes = 4096;
  /// Segments that stay anyway: of these smaller buffers, too, are referred to, unless they are
  /// tiny.
  std::set<SegmentId> staying;
  std::optional<MovableSegment> movable;
};

struct Encoded {
  std::shared_ptr<arrow::Buffer> message;
  int64_t referenced_bytes = 0;  // in segments, each byte counted once
  int64_t copied_bytes = 0;      // of table data in the message itself
  std::map<SegmentId, int64_t> referenced_per_segment;
};

/// Invalid if the table contradicts itself (a buffer too short for its array), is nested deeper
/// than 64 levels or lies on a device; NotImplemented for a type that SIPC doesn't know;
/// OutOfMemory, or what options.movable returns; CapacityError beyond what the format takes.
arrow::Result<Encoded> Encode(const arrow::Table& table, const AddressMap& addresses,
                              const EncodeOptions& options = {});

struct EncodedFile {
  base::UniqueFd fd;  // a sealed memfd: the message and nothing else
  Encoded encoded;    // its `message` is null
};

/// Encode straight into a memfd that is sealed before it is returned. Errors as Encode, and
/// IOError.
arrow::Result<EncodedFile> EncodeToMemfd(const std::string& name, const arrow::Table& table,
                                         const AddressMap& addresses,
                                         const EncodeOptions& options = {});

}  // namespace zerrow::sipc
