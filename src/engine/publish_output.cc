#include "engine/publish_output.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/mapping.h"
#include "shm/segment.h"
#include "sipc/check.h"

namespace zerrow::engine {

namespace {

using arrow::Status;
using Segments = std::map<SegmentId, std::shared_ptr<const shm::Segment>>;

Segments InputSegments(const std::vector<TablePtr>& inputs) {
  Segments segments;
  for (const TablePtr& input : inputs) {
    for (const auto& segment : input->segments) segments.emplace(segment->id(), segment);
  }
  return segments;
}

arrow::Result<sipc::Summary> CheckMessage(const PublishedTable& table, const Segments& inputs,
                                          const std::vector<shm::GrantedChunk>& chunks) {
  std::map<SegmentId, int64_t> granted;
  for (const auto& [id, segment] : inputs) granted.emplace(id, segment->size_bytes());
  for (const auto& chunk : chunks) granted.emplace(chunk.id, chunk.chunk.size_bytes);
  ARROW_ASSIGN_OR_RAISE(const auto mapping,
                        base::Mapping::Map(table.message.get(), table.message_bytes,
                                           base::Mapping::Access::kReadOnly));
  return sipc::Check({mapping.data(), static_cast<size_t>(mapping.size())}, granted);
}

Status PublishReferences(PublishedTable& table, int64_t claimed_copied_bytes,
                         const std::vector<TablePtr>& inputs, std::vector<shm::GrantedChunk> chunks,
                         shm::SharedMemory& memory) {
  // Only a file that can't change any more may be checked once and believed afterwards.
  if (!base::IsSealed(table.message.get())) {
    return Status::SerializationError("the output's message isn't sealed");
  }
  Segments segments = InputSegments(inputs);
  ARROW_ASSIGN_OR_RAISE(const sipc::Summary summary, CheckMessage(table, segments, chunks));
  ARROW_ASSIGN_OR_RAISE(auto publication, memory.Publish(std::move(chunks), summary.references));
  table.timings.trim_cpu_s = publication.trim_cpu_s;
  table.timings.freeze_cpu_s = publication.freeze_cpu_s;
  table.rows = summary.num_rows;
  // The message's body also holds padding, which only the worker can tell from data.
  table.copied_bytes = std::min(claimed_copied_bytes, summary.inline_bytes);
  Segments leases;
  for (const Reference& reference : summary.references) {
    const auto input = segments.find(reference.segment);
    if (input == segments.end()) {
      table.new_bytes += reference.length;
    } else {
      table.reshared_bytes += reference.length;
      leases.insert(*input);
    }
  }
  for (auto& segment : publication.segments) leases.emplace(segment->id(), segment);
  for (auto& [id, segment] : leases) table.segments.push_back(std::move(segment));
  table.bytes = table.new_bytes + table.reshared_bytes + table.copied_bytes;
  return Status::OK();
}

}  // namespace

arrow::Result<TablePtr> PublishOutput(OutputAnswer output, const std::vector<TablePtr>& inputs,
                                      std::vector<shm::GrantedChunk> chunks,
                                      shm::SharedMemory* memory) {
  auto table = std::make_shared<PublishedTable>();
  table->format = output.format;
  table->message = std::move(output.message);
  table->duplicate_bytes = output.duplicate_bytes;
  table->timings = output.timings;
  ARROW_ASSIGN_OR_RAISE(table->message_bytes, base::FileSize(table->message.get()));
  if (table->format == PublishedTable::Format::kSipc) {
    if (memory == nullptr) {
      return Status::SerializationError("an output by reference, which this backend doesn't have");
    }
    ARROW_RETURN_NOT_OK(
        PublishReferences(*table, output.copied_bytes, inputs, std::move(chunks), *memory));
    return table;
  }
  // Its writer is gone, so the seals can't fail unless somebody else holds it.
  if (!base::IsSealed(table->message.get())) {
    ARROW_RETURN_NOT_OK(base::SealMemfd(table->message.get()));
  }
  table->rows = output.rows;
  table->bytes = output.bytes;
  table->copied_bytes = output.bytes;
  return table;
}

}  // namespace zerrow::engine
