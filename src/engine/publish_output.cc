#include "engine/publish_output.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/exceptions.h"
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

arrow::Result<sipc::Summary> CheckMessage(const PublishedTable& table, const Segments& segments,
                                          const std::vector<shm::GrantedChunk>& chunks) {
  std::map<SegmentId, int64_t> granted;
  for (const auto& [id, segment] : segments) granted.emplace(id, segment->size_bytes());
  for (const auto& chunk : chunks) granted.emplace(chunk.id, chunk.chunk.size_bytes);
  ARROW_ASSIGN_OR_RAISE(const auto mapping,
                        base::Mapping::Map(table.message.get(), table.message_bytes,
                                           base::Mapping::Access::kReadOnly));
  return sipc::Check({mapping.data(), static_cast<size_t>(mapping.size())}, granted);
}

// What the worker has moved into a file itself. Null: nothing.
arrow::Result<std::shared_ptr<const shm::Segment>> PublishMoved(base::UniqueFd file, SegmentId id,
                                                                shm::SharedMemory& memory) {
  if (!file.valid()) return nullptr;
  // By whom it was made doesn't matter, only that nobody can change it any more.
  if (id == 0) return Status::SerializationError("a file that nobody asked for");
  ARROW_ASSIGN_OR_RAISE(const int64_t size_bytes, base::SealedSize(file.get()));
  return memory.PublishMemfd(id, std::move(file), size_bytes);
}

// Bytes by where they lie; takes leases on the segments that hold some.
void Account(const sipc::Summary& summary, const Segments& inputs, const Segments& own,
             int64_t claimed_copied_bytes, PublishedTable& table) {
  Segments leases;
  int64_t moved_bytes = 0;
  for (const Reference& reference : summary.references) {
    if (const auto input = inputs.find(reference.segment); input != inputs.end()) {
      table.reshared_bytes += reference.length;
      leases.insert(*input);
      continue;
    }
    table.new_bytes += reference.length;
    if (const auto moved = own.find(reference.segment); moved != own.end()) {
      moved_bytes += reference.length;
      leases.insert(*moved);
    }
  }
  for (auto& [id, segment] : leases) table.segments.push_back(std::move(segment));
  // The message's body also holds padding, and a moved file pages that had to be copied: only the
  // worker can tell.
  table.copied_bytes = std::min(claimed_copied_bytes, summary.inline_bytes + moved_bytes);
  table.new_bytes -= std::max<int64_t>(0, table.copied_bytes - summary.inline_bytes);
  table.bytes = table.new_bytes + table.reshared_bytes + table.copied_bytes;
}

Status PublishReferences(PublishedTable& table, OutputAnswer& output,
                         const std::vector<TablePtr>& inputs, std::vector<shm::GrantedChunk> chunks,
                         SegmentId own_segment, shm::SharedMemory& memory) {
  // Only a file that can't change any more may be checked once and believed afterwards, and only
  // one whose bytes are there costs no more than it holds.
  ARROW_ASSIGN_OR_RAISE(table.message_bytes, base::SealedSize(table.message.get()));
  const Segments input_segments = InputSegments(inputs);
  ARROW_ASSIGN_OR_RAISE(const auto moved,
                        PublishMoved(std::move(output.moved), own_segment, memory));
  Segments own;
  if (moved) own.emplace(moved->id(), moved);
  Segments granted = input_segments;
  granted.insert(own.begin(), own.end());
  ARROW_ASSIGN_OR_RAISE(const sipc::Summary summary, CheckMessage(table, granted, chunks));
  ARROW_ASSIGN_OR_RAISE(auto publication, memory.Publish(std::move(chunks), summary.references));
  table.timings.trim_cpu_s = publication.trim_cpu_s;
  table.timings.freeze_cpu_s = publication.freeze_cpu_s;
  table.rows = summary.num_rows;
  table.segments = std::move(publication.segments);
  Account(summary, input_segments, own, output.copied_bytes, table);
  return Status::OK();
}

arrow::Result<TablePtr> Publish(OutputAnswer output, const std::vector<TablePtr>& inputs,
                                std::vector<shm::GrantedChunk> chunks, SegmentId own_segment,
                                shm::SharedMemory* memory) {
  auto table = std::make_shared<PublishedTable>();
  table->format = output.format;
  table->message = std::move(output.message);
  table->duplicate_bytes = output.duplicate_bytes;
  table->timings = output.timings;
  if (table->format == PublishedTable::Format::kSipc) {
    if (memory == nullptr) {
      return Status::SerializationError("an output by reference, which this backend doesn't have");
    }
    ARROW_RETURN_NOT_OK(
        PublishReferences(*table, output, inputs, std::move(chunks), own_segment, *memory));
    return table;
  }
  // Its writer is gone, so the seals can't fail unless somebody else holds it.
  if (!base::IsSealed(table->message.get())) {
    ARROW_RETURN_NOT_OK(base::SealMemfd(table->message.get()));
  }
  ARROW_ASSIGN_OR_RAISE(table->message_bytes, base::SealedSize(table->message.get()));
  table->rows = output.rows;
  table->bytes = table->message_bytes;
  table->copied_bytes = table->message_bytes;
  return table;
}

}  // namespace

arrow::Result<TablePtr> PublishOutput(OutputAnswer output, const std::vector<TablePtr>& inputs,
                                      std::vector<shm::GrantedChunk> chunks, SegmentId own_segment,
                                      shm::SharedMemory* memory) {
  return base::CatchExceptions(
      [&] { return Publish(std::move(output), inputs, std::move(chunks), own_segment, memory); });
}

}  // namespace zerrow::engine
