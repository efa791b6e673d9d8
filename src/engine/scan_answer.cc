// What a source's worker sends, taken apart and checked.
#include <arrow/io/memory.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/reader.h>
#include <arrow/util/base64.h>

#include "base/mapping.h"
#include "engine/json_fields.h"
#include "engine/scan.h"

namespace zerrow::engine {

using arrow::Status;
using nlohmann::json;

namespace {

constexpr size_t kMaxBlocks = 1 << 20;
constexpr size_t kMaxPieces = 1 << 16;  // each costs a descriptor

Status Malformed(const std::string& what) {
  return Status::SerializationError("its worker answered with a malformed ", what);
}

bool IsTrue(const json& body, const char* key) {
  const auto found = body.find(key);
  return found != body.end() && found->is_boolean() && found->get<bool>();
}

// Null: there is no such list, or it isn't one.
const json::array_t* List(const json& body, const char* key) {
  const auto found = body.find(key);
  return found == body.end() ? nullptr : found->get_ptr<const json::array_t*>();
}

// A whole number from 0 to `most`; -1 if it isn't one.
int64_t Index(const json& value, int64_t most) {
  if (!value.is_number_integer()) return -1;
  if (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) return -1;
  const auto index = value.get<int64_t>();
  return index < 0 || index > most ? -1 : index;
}

struct Schema {
  std::shared_ptr<const arrow::Schema> schema;
  int64_t bytes = 0;
};

arrow::Result<std::vector<Schema>> ReadSchemas(const json& answer) {
  const json::array_t* texts = List(answer, "schemas");
  if (texts == nullptr) return Malformed("list of schemas");
  std::vector<Schema> schemas;
  for (const json& text : *texts) {
    if (!text.is_string()) return Malformed("schema");
    ARROW_ASSIGN_OR_RAISE(const std::string bytes,
                          arrow::util::base64_decode(text.get_ref<const std::string&>()));
    arrow::io::BufferReader reader(arrow::Buffer::FromString(bytes));
    arrow::ipc::DictionaryMemo memo;
    Schema& read = schemas.emplace_back();
    read.bytes = static_cast<int64_t>(bytes.size());
    ARROW_ASSIGN_OR_RAISE(read.schema, arrow::ipc::ReadSchema(&reader, &memo));
  }
  return schemas;
}

// What the file's texts take that are dictionaries there.
Status ReadEncoded(const json& file, decache::Footer* footer) {
  const auto encoded = file.find("encoded");
  if (encoded == file.end()) return Status::OK();
  if (!encoded->is_object()) return Malformed("file");
  for (const auto& [column, value] : encoded->items()) {
    const int64_t bytes = Index(value, INT64_MAX);
    if (bytes < 0) return Malformed("file");
    footer->encoded[column] = bytes;
    footer->size_bytes += static_cast<int64_t>(column.size() + 64);
  }
  return Status::OK();
}

arrow::Result<decache::Footer> ReadFooter(const json& file, const std::vector<Schema>& schemas) {
  const json::array_t* blocks = file.is_object() ? List(file, "blocks") : nullptr;
  if (blocks == nullptr || blocks->size() > kMaxBlocks) return Malformed("file");
  decache::Footer footer;
  const int64_t schema = IntegerOr(file, "schema", -1);
  if (schema < 0 || static_cast<size_t>(schema) >= schemas.size()) return Malformed("file");
  footer.schema = schemas[static_cast<size_t>(schema)].schema;
  footer.size_bytes = schemas[static_cast<size_t>(schema)].bytes;
  for (const json& block : *blocks) {
    if (!block.is_array() || block.size() != 3) return Malformed("block");
    const int64_t first = Index(block[0], INT32_MAX);
    const int64_t groups = Index(block[1], INT32_MAX);
    const int64_t rows = Index(block[2], INT64_MAX);
    if (first < 0 || groups < 1 || rows < 0) return Malformed("block");
    footer.blocks.push_back({static_cast<int>(first), static_cast<int>(groups), rows});
  }
  footer.size_bytes += static_cast<int64_t>(footer.blocks.size() * sizeof(decache::Block));
  ARROW_RETURN_NOT_OK(ReadEncoded(file, &footer));
  return footer;
}

arrow::Result<Scan::Piece> ReadPiece(base::UniqueFd file, shm::SegmentIds& ids,
                                     const base::TaskThread& reaper) {
  // Only a file that can't change any more may be checked once and believed afterwards.
  ARROW_ASSIGN_OR_RAISE(const int64_t size_bytes, base::SealedSize(file.get()));
  Scan::Piece piece;
  ARROW_ASSIGN_OR_RAISE(const auto mapping, base::Mapping::Map(file.get(), size_bytes,
                                                               base::Mapping::Access::kReadOnly));
  const SegmentId id = ids.Next();
  ARROW_ASSIGN_OR_RAISE(
      auto column,
      sipc::ColumnPiece::Read({mapping.data(), static_cast<size_t>(mapping.size())}, id));
  piece.column = std::make_shared<const sipc::ColumnPiece>(std::move(column));
  ARROW_ASSIGN_OR_RAISE(piece.segment,
                        shm::Segment::FromMemfd(id, std::move(file), size_bytes, reaper));
  return piece;
}

}  // namespace

Status Scan::TakeDecoded(base::Message decoded, shm::SegmentIds& ids,
                         const base::TaskThread& reaper) {
  const json::array_t* entries = List(decoded.body, "entries");
  if (entries == nullptr || entries->size() != decoded.fds.size()) return Malformed("column");
  for (size_t i = 0; i < entries->size(); ++i) {
    const json& entry = (*entries)[i];
    if (!entry.is_object()) return Malformed("column");
    const bool is_values = IsTrue(entry, "values");
    const int64_t block = is_values ? 0 : IntegerOr(entry, "block", -1);
    if (block < 0 || decoded_.size() + decoded_values_.size() >= kMaxPieces) {
      return Malformed("column");
    }
    ARROW_ASSIGN_OR_RAISE(Piece piece, ReadPiece(std::move(decoded.fds[i]), ids, reaper));
    decoded_bytes_ += piece.segment->size_bytes();
    piece.decode_s = std::max(NumberOr(entry, "decode_s", 0), 0.0);
    const std::string name = Text(entry, "column");
    if (is_values) {
      decoded_values_[name] = std::make_shared<const Piece>(std::move(piece));
    } else {
      const Column column = {name, IsTrue(entry, "dictionary")};
      decoded_[{static_cast<size_t>(block), column}] = std::move(piece);
    }
  }
  return Status::OK();
}

Status Scan::TakeAnswer(const json& answer) {
  ARROW_RETURN_NOT_OK(TakeFiles(answer));
  ARROW_RETURN_NOT_OK(TakeBlocks(answer));
  ARROW_RETURN_NOT_OK(TakeReads(answer));
  ARROW_RETURN_NOT_OK(TakeValues());
  for (const PieceKey& key : NeededPieces()) {
    const std::string& name = key.second.name;
    const Piece* piece = Find(key);
    if (piece == nullptr) {
      return Status::SerializationError("its worker hasn't decoded column ", name);
    }
    const int64_t rows = blocks_[key.first].rows.rows;
    if (piece->column->rows() != rows) {
      return Status::SerializationError("its worker decoded ", piece->column->rows(),
                                        " rows of column ", name, " where there are ", rows);
    }
  }
  return Status::OK();
}

Status Scan::TakeFiles(const json& answer) {
  const json::array_t* files = List(answer, "files");
  if (files == nullptr || files->size() != files_.size()) return Malformed("list of files");
  ARROW_ASSIGN_OR_RAISE(const std::vector<Schema> schemas, ReadSchemas(answer));
  footers_.clear();
  for (const json& file : *files) {
    ARROW_ASSIGN_OR_RAISE(decache::Footer footer, ReadFooter(file, schemas));
    footers_.push_back(std::move(footer));
  }
  FindDictionaries();
  return Status::OK();
}

// Each is a file and which of its blocks, or nothing and a number of rows.
Status Scan::TakeBlocks(const json& answer) {
  const json::array_t* blocks = List(answer, "blocks");
  if (blocks == nullptr || blocks->size() > kMaxBlocks) return Malformed("list of blocks");
  blocks_.clear();
  for (const json& block : *blocks) {
    if (!block.is_array() || block.size() != 2) return Malformed("block");
    Block& taken = blocks_.emplace_back();
    if (block[0].is_null()) {
      taken.rows.rows = Index(block[1], INT64_MAX);
      if (taken.rows.rows < 0) return Malformed("block");
      continue;
    }
    const int64_t file = Index(block[0], static_cast<int64_t>(files_.size()) - 1);
    if (file < 0) return Malformed("block");
    const auto& of_file = footers_[static_cast<size_t>(file)].blocks;
    const int64_t position = Index(block[1], static_cast<int64_t>(of_file.size()) - 1);
    if (position < 0) return Malformed("block");
    taken = {static_cast<size_t>(file), static_cast<int>(position),
             of_file[static_cast<size_t>(position)]};
  }
  return Status::OK();
}

Status Scan::TakeReads(const json& answer) {
  const json::array_t* reads = List(answer, "reads");
  if (reads == nullptr || reads->size() != reads_.size()) return Malformed("list of reads");
  blocks_of_read_.clear();
  for (const json& read : *reads) {
    if (!read.is_array()) return Malformed("read");
    std::vector<size_t>& needed = blocks_of_read_.emplace_back();
    int64_t rows = 0;
    for (const json& value : read) {
      const int64_t block = Index(value, static_cast<int64_t>(blocks_.size()) - 1);
      const bool ascends = needed.empty() || block > static_cast<int64_t>(needed.back());
      if (block < 0 || !ascends) return Malformed("read");
      needed.push_back(static_cast<size_t>(block));
      if (__builtin_add_overflow(rows, blocks_[needed.back()].rows.rows, &rows)) {
        return Malformed("read");
      }
    }
  }
  return Status::OK();
}

}  // namespace zerrow::engine
