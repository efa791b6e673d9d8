// The tables of a source's reads, joined of decoded columns whose bytes nobody touches here.
#include <arrow/util/key_value_metadata.h>
#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "base/fd.h"
#include "engine/scan.h"

namespace zerrow::engine {

using arrow::Status;

namespace {

// Read again, the same files make the same table.
std::string VersionOf(const std::vector<IdentifiedFile>& files) {
  std::string version = "files";
  for (const IdentifiedFile& file : files) {
    const auto& [path, device, inode, size_bytes, mtime_ns, ctime_ns] = file.identity;
    version +=
        fmt::format(" {}:{}:{}:{}:{}:{}", path, device, inode, size_bytes, mtime_ns, ctime_ns);
  }
  return version;
}

arrow::Result<std::shared_ptr<const shm::Segment>> StoreMessage(const arrow::Buffer& message,
                                                                shm::SegmentIds& ids,
                                                                const base::TaskThread& reaper) {
  ARROW_ASSIGN_OR_RAISE(base::UniqueFd file,
                        base::MakeSealedMemfd("zerrow-table", std::string_view(message)));
  return shm::Segment::FromMemfd(ids.Next(), std::move(file), message.size(), reaper);
}

// Written whole, without holes.
resource::SegmentBytes BytesOf(const shm::Segment& segment) {
  return {segment.id(), segment.size_bytes()};
}

}  // namespace

// A column may be null if it may in one of the files. A dictionary that no file asks for is marked,
// so that whoever wasn't promised one decodes it.
arrow::Result<std::shared_ptr<arrow::Schema>> Scan::SchemaOf(
    const std::vector<Column>& columns) const {
  arrow::FieldVector fields;
  for (const auto& [name, dictionary] : columns) {
    std::shared_ptr<arrow::Field> field;
    bool nullable = false;
    for (const decache::Footer& footer : footers_) {
      const auto found = footer.schema->GetFieldByName(name);
      if (!found) return Status::SerializationError("its worker knows no column ", name);
      if (!field) field = found;
      nullable = nullable || found->nullable();
    }
    field = field->WithNullable(nullable);
    if (dictionary) {
      field = field->WithType(arrow::dictionary(arrow::int32(), field->type()))
                  ->WithMergedMetadata(arrow::key_value_metadata({{"zerrow:dictionary", "auto"}}));
    }
    fields.push_back(std::move(field));
  }
  return arrow::schema(std::move(fields), footers_.front().schema->metadata());
}

arrow::Result<std::shared_ptr<const PublishedTable>> Scan::AssembleRead(
    size_t read, shm::SegmentIds& ids, const base::TaskThread& reaper,
    Publication& publication) const {
  const std::vector<Column> needed = ColumnsOf(reads_[read]);
  ARROW_ASSIGN_OR_RAISE(const auto schema, SchemaOf(needed));
  auto table = std::make_shared<PublishedTable>();
  for (const size_t block : blocks_of_read_[read]) table->rows += blocks_[block].rows.rows;
  std::map<SegmentId, std::shared_ptr<const shm::Segment>> segments;
  std::vector<std::vector<sipc::JoinedPart>> columns;
  for (const Column& column : needed) {
    auto& parts = columns.emplace_back();
    for (const size_t block : blocks_of_read_[read]) {
      const Piece& piece = *Find({block, column});
      parts.emplace_back(piece.column.get(), piece.values ? piece.values->column.get() : nullptr);
      segments[piece.segment->id()] = piece.segment;
      if (piece.values) segments[piece.values->segment->id()] = piece.values->segment;
    }
  }
  for (const auto& [id, segment] : segments) {
    table->segments.push_back(BytesOf(*segment));
    publication.segments.push_back(segment);
  }
  ARROW_ASSIGN_OR_RAISE(const auto joined, sipc::Join(*schema, table->rows, columns));
  ARROW_ASSIGN_OR_RAISE(const auto message, StoreMessage(*joined, ids, reaper));
  table->message = BytesOf(*message);
  publication.segments.push_back(message);
  return table;
}

arrow::Result<Publication> Scan::Assemble(shm::SegmentIds& ids,
                                          const base::TaskThread& reaper) const {
  Publication publication;
  std::vector<std::shared_ptr<const PublishedTable>> tables;
  for (size_t read = 0; read < reads_.size(); ++read) {
    ARROW_ASSIGN_OR_RAISE(auto table, AssembleRead(read, ids, reaper, publication));
    tables.push_back(std::move(table));
  }
  auto whole = std::make_shared<PublishedTable>(*tables.front());
  std::map<SegmentId, resource::SegmentBytes> all;
  for (const auto& table : tables) {
    for (const resource::SegmentBytes& segment : table->AllSegments()) all[segment.id] = segment;
    whole->rows = std::max(whole->rows, table->rows);
  }
  all.erase(whole->message.id);
  whole->segments.clear();
  for (const auto& [id, segment] : all) whole->segments.push_back(segment);
  whole->reads = std::move(tables);
  whole->content_hash = VersionOf(files_);
  whole->cache = CountUse();
  whole->bytes.new_bytes = whole->cache->miss_bytes;
  whole->bytes.reshared_bytes = whole->cache->hit_bytes;
  publication.table = std::move(whole);
  return publication;
}

}  // namespace zerrow::engine
