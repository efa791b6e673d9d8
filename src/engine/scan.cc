#include "engine/scan.h"

#include <arrow/type_traits.h>

#include <algorithm>
#include <set>

#include "engine/task_message.h"

namespace zerrow::engine {

using nlohmann::json;

Scan::Scan(SourceDescription source, std::vector<SourceRead> reads, bool use_cache)
    : source_(std::move(source)), reads_(std::move(reads)), use_cache_(use_cache) {
  for (const ColumnDescription& column : source_.columns) types_[column.name] = column.type;
}

bool Scan::keeps() const {
  return use_cache_ && std::ranges::any_of(files_, &IdentifiedFile::lasting);
}

std::vector<std::string> Scan::AllColumns() const {
  std::vector<std::string> names;
  for (const ColumnDescription& column : source_.columns) names.push_back(column.name);
  return names;
}

std::vector<std::string> Scan::NamesOf(const SourceRead& read) const {
  return read.columns ? *read.columns : AllColumns();
}

// Once the footers are known.
std::vector<Scan::Column> Scan::ColumnsOf(const SourceRead& read) const {
  std::vector<Column> columns;
  for (const std::string& name : NamesOf(read)) {
    columns.push_back({name, read.dictionary && dictionaries_.contains(name)});
  }
  return columns;
}

void Scan::FindDictionaries() {
  dictionaries_.clear();
  for (const SourceRead& read : reads_) {
    if (!read.dictionary) continue;
    for (const std::string& name : NamesOf(read)) {
      if (DictionaryPays(name)) dictionaries_.insert(name);
    }
  }
}

// Indices take four bytes a row, which plain text takes for its offsets. What the file has of the
// column, dictionaries and packed indices, must take no more than twice that: then values are few
// beside the rows, or the writer gave up dictionaries for texts that are hardly longer.
bool Scan::DictionaryPays(const std::string& column) const {
  constexpr double kMostBytesPerRow = 8;
  double bytes = 0, rows = 0;
  for (const decache::Footer& footer : footers_) {
    const auto field = footer.schema->GetFieldByName(column);
    if (!field || !arrow::is_base_binary_like(field->type()->id())) return false;
    double own_rows = 0;
    for (const decache::Block& block : footer.blocks) own_rows += static_cast<double>(block.rows);
    const auto encoded = footer.encoded.find(column);
    if (own_rows > 0 && encoded == footer.encoded.end()) return false;
    if (own_rows > 0) bytes += static_cast<double>(encoded->second);
    rows += own_rows;
  }
  return rows > 0 && bytes <= kMostBytesPerRow * rows;
}

decache::EntryKey Scan::KeyOfPiece(const PieceKey& piece) const {
  const Block& block = blocks_[piece.first];
  return KeyOf(*block.file, block.rows.first_group, piece.second);
}

decache::EntryKey Scan::KeyOf(size_t file, int first_group, const Column& decoded) const {
  const std::string& column = decoded.name;
  decache::EntryKey key;
  key.file = files_[file].identity;
  key.first_group = first_group;
  key.column = column;
  const auto type = types_.find(column);
  if (type != types_.end()) key.options = type->second;
  // A column that the file's folders name, which depends on where the source begins.
  const json& partition = files_[file].partition;
  if (partition.is_object() && partition.contains(column)) {
    key.options += " = " + partition[column].dump();
  }
  if (decoded.dictionary) key.options += ", indices";
  return key;
}

std::string Scan::FilterKey(size_t file, const std::string& filter) const {
  const json& partition = files_[file].partition;
  return partition.is_null() ? filter : filter + " of " + partition.dump();
}

bool Scan::TakeFromCache(decache::Cache& cache, const shm::SegmentStore& store) {
  footers_.clear();
  blocks_.clear();
  blocks_of_read_.clear();
  had_.clear();
  bases_.clear();
  if (!use_cache_) return false;
  const bool known = KnowBlocks(cache);
  TakePieces(cache, store);
  FindBases();
  if (!known) return false;
  return std::ranges::all_of(NeededPieces(),
                             [&](const PieceKey& piece) { return Find(piece) != nullptr; });
}

// Which blocks each read needs. False: somebody has to look at the files.
bool Scan::KnowBlocks(decache::Cache& cache) {
  for (const IdentifiedFile& file : files_) {
    const decache::Footer* footer = file.lasting ? cache.FindFooter(file.identity) : nullptr;
    footers_.push_back(footer == nullptr ? decache::Footer() : *footer);
    decache::Footer& known = footers_.back();
    if (known.schema && !HasTypes(*known.schema)) known.schema = nullptr;
  }
  if (std::ranges::any_of(footers_, [](const auto& footer) { return !footer.schema; })) {
    return false;
  }
  FindDictionaries();
  for (size_t file = 0; file < footers_.size(); ++file) {
    for (const decache::Block& rows : footers_[file].blocks) {
      const auto position = static_cast<int>(&rows - footers_[file].blocks.data());
      blocks_.push_back({file, position, rows});
    }
  }
  return std::ranges::all_of(reads_, [&](const SourceRead& read) { return KnowKept(cache, read); });
}

// Another source may have the same file beside others to whose types its own are widened.
bool Scan::HasTypes(const arrow::Schema& schema) const {
  return std::ranges::all_of(types_, [&](const auto& column) {
    const auto field = schema.GetFieldByName(column.first);
    return field && field->type()->ToString() == column.second;
  });
}

bool Scan::KnowKept(decache::Cache& cache, const SourceRead& read) {
  std::vector<size_t>& needed = blocks_of_read_.emplace_back();
  size_t first = 0;  // of the file's
  for (size_t file = 0; file < files_.size(); ++file) {
    const size_t count = footers_[file].blocks.size();
    if (!read.filter) {
      for (size_t i = 0; i < count; ++i) needed.push_back(first + i);
    } else {
      const auto* kept = cache.FindKept(files_[file].identity, FilterKey(file, *read.filter));
      if (kept == nullptr) return false;
      for (const int i : *kept) needed.push_back(first + static_cast<size_t>(i));
    }
    first += count;
  }
  return true;
}

void Scan::TakePieces(const decache::Cache& cache, const shm::SegmentStore& store) {
  // Whether a dictionary pays, only all footers tell.
  std::set<Column> columns;
  for (const SourceRead& read : reads_) {
    for (const std::string& name : NamesOf(read)) {
      columns.insert({name, false});
      if (read.dictionary) columns.insert({name, true});
    }
  }
  for (size_t file = 0; file < files_.size(); ++file) {
    for (const decache::Block& block : footers_[file].blocks) {
      for (const Column& column : columns) {
        TakePiece({file, block.first_group, column}, cache, store);
      }
    }
  }
}

void Scan::TakePiece(const HaveKey& key, const decache::Cache& cache,
                     const shm::SegmentStore& store) {
  const auto& [file, first_group, column] = key;
  const decache::Entry* entry = cache.Find(KeyOf(file, first_group, column));
  if (entry == nullptr) return;
  Piece piece = {store.Find(entry->segment), entry->piece, entry->decode_s, /*hit=*/true, {}, {}};
  if (column.dictionary) {
    const decache::Entry* values = entry->values ? cache.Find(*entry->values) : nullptr;
    if (values == nullptr) return;
    piece.values = std::make_shared<const Piece>(
        Piece{store.Find(values->segment), values->piece, 0, /*hit=*/true, {}, {}});
    piece.values_key = entry->values;
  }
  had_[key] = std::move(piece);
}

// By any of the reads, each once.
std::vector<Scan::PieceKey> Scan::NeededPieces() const {
  std::set<PieceKey> needed;
  for (size_t read = 0; read < reads_.size(); ++read) {
    for (const Column& column : ColumnsOf(reads_[read])) {
      for (const size_t block : blocks_of_read_[read]) needed.emplace(block, column);
    }
  }
  return {needed.begin(), needed.end()};
}

const Scan::Piece* Scan::Find(const PieceKey& key) const {
  const auto& [block, column] = key;
  const auto decoded = decoded_.find(key);
  if (decoded != decoded_.end()) return &decoded->second;
  if (!blocks_[block].file) return nullptr;
  const auto had = had_.find({*blocks_[block].file, blocks_[block].rows.first_group, column});
  return had == had_.end() ? nullptr : &had->second;
}

decache::Columns Scan::Columns() const {
  decache::Columns columns;
  for (const SourceRead& read : reads_) {
    const auto names = NamesOf(read);
    for (const IdentifiedFile& file : files_) {
      columns[file.identity].insert(names.begin(), names.end());
    }
  }
  return columns;
}

arrow::Status Scan::Describe(TaskMessage& message) const {
  json& task = message.body;
  json& files = task["files"] = json::array();
  for (const IdentifiedFile& file : files_) {
    const decache::FileIdentity& identity = file.identity;
    files.push_back({{"path", identity.path},
                     {"identity",
                      {identity.device, identity.inode, identity.size_bytes, identity.mtime_ns,
                       identity.ctime_ns}},
                     {"partition", file.partition}});
  }
  json& reads = task["reads"] = json::array();
  for (const SourceRead& read : reads_) {
    reads.push_back({{"columns", NamesOf(read)},
                     {"filter", read.filter ? json(*read.filter) : json(nullptr)},
                     {"dictionary", read.dictionary}});
  }
  json& columns = task["columns"] = json::array();
  for (const ColumnDescription& column : source_.columns) {
    columns.push_back({{"name", column.name}, {"type", column.type}});
  }
  json& have = task["have"] = json::array();
  for (const auto& [key, piece] : had_) {
    const auto& [file, first_group, column] = key;
    have.push_back({file, first_group, column.name, column.dictionary});
  }
  task["table"] = source_.table;
  return DescribeBases(message);
}

// What filters were tried on has been decoded as well, though no read may need it.
CacheUse Scan::CountUse() const {
  CacheUse use;
  for (const PieceKey& key : NeededPieces()) {
    const Piece& piece = *Find(key);
    if (!piece.hit) continue;
    ++use.hits;
    use.hit_bytes += piece.column->data_bytes();
    use.saved_s += piece.decode_s;
  }
  for (const auto& [key, piece] : decoded_) {
    ++use.misses;
    use.miss_bytes += piece.column->data_bytes();
  }
  return use;
}

void Scan::LearnKept(Learned& learned) const {
  // Blocks of several files say nothing of each.
  if (std::ranges::any_of(blocks_, [](const Block& block) { return !block.file; })) return;
  for (size_t read = 0; read < reads_.size(); ++read) {
    if (!reads_[read].filter) continue;
    std::vector<std::vector<int>> kept(files_.size());
    for (const size_t block : blocks_of_read_[read]) {
      kept[*blocks_[block].file].push_back(blocks_[block].position);
    }
    for (size_t file = 0; file < files_.size(); ++file) {
      if (!files_[file].lasting) continue;
      learned.kept.push_back(
          {files_[file].identity, FilterKey(file, *reads_[read].filter), std::move(kept[file])});
    }
  }
}

// Blocks of several files, or of one that is still written to, aren't.
bool Scan::IsKept(const PieceKey& key) const {
  if (key.first >= blocks_.size()) return false;
  const std::optional<size_t>& file = blocks_[key.first].file;
  return file && files_[*file].lasting;
}

Scan::Learned Scan::Learn(const decache::Cache& cache) const {
  Learned learned;
  if (!use_cache_) return learned;
  for (size_t file = 0; file < files_.size(); ++file) {
    if (!files_[file].lasting || !footers_[file].schema) continue;
    learned.footers.emplace_back(files_[file].identity, footers_[file]);
  }
  LearnKept(learned);
  std::set<decache::EntryKey> used;
  for (const PieceKey& key : NeededPieces()) {
    const Piece& piece = *Find(key);
    if (!piece.hit) continue;
    used.insert(KeyOfPiece(key));
    if (piece.values_key) used.insert(*piece.values_key);
  }
  learned.used.assign(used.begin(), used.end());
  const auto values_keys = LearnValues(cache, learned);
  for (const auto& [key, piece] : decoded_) {
    if (!IsKept(key)) continue;
    Decoded& decoded = learned.entries.emplace_back(
        EntryOf(KeyOfPiece(key), piece, blocks_[key.first].rows.groups));
    if (piece.values) decoded.entry.values = values_keys.at(key.second.name);
  }
  return learned;
}

Scan::Decoded Scan::EntryOf(decache::EntryKey key, const Piece& piece, int groups) {
  decache::Entry entry;
  entry.piece = piece.column;
  entry.segment = piece.segment->id();
  entry.groups = groups;
  entry.bytes = std::max<int64_t>(piece.segment->size_bytes(), 1);
  entry.decode_s = piece.decode_s;
  return {std::move(key), std::move(entry), piece.segment};
}

}  // namespace zerrow::engine
