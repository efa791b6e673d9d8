// How tables enter and leave a function's process: inputs are opened as Arrow tables without
// copying them, and the output is published as one message that refers to shared memory.
//
// One Handover per worker; single-threaded. It keeps every granted segment mapped for as long as
// it lives, and tables that it opened keep what they refer to mapped beyond that. Descriptors are
// borrowed. Messages come from the engine, which has checked them against what was granted; a
// malformed one is still an error and never a crash. Mappings and memfds die with the process.
#pragma once

#include <arrow/result.h>
#include <arrow/table.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "shm/kernelzero.h"
#include "sipc/writer.h"
#include "worker/content_reshare.h"
#include "zerrow/byte_counts.h"
#include "zerrow/reference.h"

namespace zerrow::worker {

enum class Format {
  kSipc,           // a message whose buffers are references to granted segments
  kArrowFile,      // a file that holds an Arrow IPC stream, mapped
  kArrowFileHeap,  // the same, read into the process's own memory
  kSipcHeap,       // as kSipc, and all that it refers to is read into the process's own memory
};
std::string_view ToString(Format format);
arrow::Result<Format> ParseFormat(std::string_view name);

struct GrantedSegment {
  SegmentId id = 0;
  int64_t size_bytes = 0;
  int fd = -1;
};

/// A piece of this process's memory that the engine can turn into a segment (the shim's chunks).
struct ShareableRange {
  SegmentId segment = 0;
  const uint8_t* address = nullptr;
  int64_t size_bytes = 0;
  int64_t offset = 0;  // of `address` in the segment
};

struct Published {
  Format format = Format::kSipc;
  base::UniqueFd message;   // a sealed memfd
  base::UniqueFd moved;     // the segment made by PublishByMoving, if there is anything in it
  arrow::Status not_moved;  // why PublishByMoving has copied everything, if it has
  int64_t rows = 0;
  ByteCounts bytes;
};

class Handover {
 public:
  /// The table that `message_fd` describes, zero-copy except for the heap formats. IOError,
  /// SerializationError, Invalid (a message that Arrow's Validate rejects). `message_id`: of the
  /// segment that a kSipc message is; what lies in it can be published by reference as well.
  arrow::Result<std::shared_ptr<arrow::Table>> Open(Format format, int message_fd,
                                                    std::span<const GrantedSegment> segments,
                                                    SegmentId message_id = 0);

  /// The table with what equals an opened one's buffers replaced by references to those, so that
  /// they are published as such: content_reshare.h.
  Reshared ReshareContent(const std::shared_ptr<arrow::Table>& table, bool split = false) const;

  /// What ReshareContent could have found in the table, had it no bounds.
  int64_t CountDuplicates(const std::shared_ptr<arrow::Table>& table) const;

  /// Publishes by reference what lies in `shareable` or in an opened segment, the rest by copy.
  arrow::Result<Published> PublishByReference(const arrow::Table& table,
                                              std::span<const ShareableRange> shareable);

  /// Publishes by reference what lies in an opened segment; of the rest moves what is large into
  /// `segment`, a file made by KernelZero, and copies what is small. Where memory can't be moved
  /// all of the rest is copied. With kZeros nobody may look at the table any more, whatever comes
  /// of it. IOError: there is no KernelZero. OutOfMemory: the table is lost.
  arrow::Result<Published> PublishByMoving(const arrow::Table& table, SegmentId segment,
                                           shm::KernelZero::Leaves leaves);

  /// For a process that is about to exit: unmaps the granted segments under whoever still uses
  /// them.
  void LetGo() const;

  /// Publishes the whole table as an Arrow IPC stream.
  arrow::Result<Published> PublishByCopy(const arrow::Table& table);

 private:
  arrow::Result<std::shared_ptr<arrow::Table>> ReadSipc(std::shared_ptr<arrow::Buffer> message,
                                                        std::span<const GrantedSegment> segments);
  arrow::Result<Published> Publish(const arrow::Table& table, sipc::AddressMap addresses,
                                   sipc::EncodeOptions options);

  sipc::AddressMap InputSegments() const;
  std::set<SegmentId> StayingSegments(const arrow::Table& table, int64_t small_bytes) const;

  std::map<SegmentId, std::shared_ptr<arrow::Buffer>> segments_;  // mapped, whole, read-only
  std::vector<std::shared_ptr<arrow::Table>> opened_;
};

}  // namespace zerrow::worker
