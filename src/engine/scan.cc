#include "engine/scan.h"

#include <algorithm>
#include <set>

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

std::vector<std::string> Scan::ColumnsOf(const SourceRead& read) const {
  return read.columns ? *read.columns : AllColumns();
}

decache::EntryKey Scan::KeyOf(size_t file, int first_group, const std::string& column) const {
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
  if (!use_cache_) return false;
  const bool known = KnowBlocks(cache);
  TakePieces(cache, store);
  if (!known) return false;
  return std::ranges::all_of(NeededPieces(), [&](const PieceKey& piece) {
    return Find(piece.first, piece.second) != nullptr;
  });
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
  std::set<std::string> columns;
  for (const SourceRead& read : reads_) {
    const auto names = ColumnsOf(read);
    columns.insert(names.begin(), names.end());
  }
  for (size_t file = 0; file < files_.size(); ++file) {
    for (const decache::Block& block : footers_[file].blocks) {
      for (const std::string& column : columns) {
        const auto* entry = cache.Find(KeyOf(file, block.first_group, column));
        if (entry == nullptr) continue;
        had_[{file, block.first_group, column}] = {store.Find(entry->segment), entry->piece,
                                                   entry->decode_s, /*hit=*/true};
      }
    }
  }
}

// By any of the reads, each once.
std::vector<Scan::PieceKey> Scan::NeededPieces() const {
  std::set<PieceKey> needed;
  for (size_t read = 0; read < reads_.size(); ++read) {
    for (const std::string& column : ColumnsOf(reads_[read])) {
      for (const size_t block : blocks_of_read_[read]) needed.emplace(block, column);
    }
  }
  return {needed.begin(), needed.end()};
}

const Scan::Piece* Scan::Find(size_t block, const std::string& column) const {
  const auto decoded = decoded_.find({block, column});
  if (decoded != decoded_.end()) return &decoded->second;
  if (!blocks_[block].file) return nullptr;
  const auto had = had_.find({*blocks_[block].file, blocks_[block].rows.first_group, column});
  return had == had_.end() ? nullptr : &had->second;
}

decache::Columns Scan::Columns() const {
  decache::Columns columns;
  for (const SourceRead& read : reads_) {
    const auto names = ColumnsOf(read);
    for (const IdentifiedFile& file : files_) {
      columns[file.identity].insert(names.begin(), names.end());
    }
  }
  return columns;
}

void Scan::Describe(json& task) const {
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
    reads.push_back({{"columns", ColumnsOf(read)},
                     {"filter", read.filter ? json(*read.filter) : json(nullptr)}});
  }
  json& columns = task["columns"] = json::array();
  for (const ColumnDescription& column : source_.columns) {
    columns.push_back({{"name", column.name}, {"type", column.type}});
  }
  json& have = task["have"] = json::array();
  for (const auto& [key, piece] : had_) {
    have.push_back({std::get<0>(key), std::get<1>(key), std::get<2>(key)});
  }
  task["table"] = source_.table;
}

// What filters were tried on has been decoded as well, though no read may need it.
CacheUse Scan::CountUse() const {
  CacheUse use;
  for (const auto& [block, column] : NeededPieces()) {
    const Piece& piece = *Find(block, column);
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

Scan::Learned Scan::Learn() const {
  Learned learned;
  if (!use_cache_) return learned;
  for (size_t file = 0; file < files_.size(); ++file) {
    if (!files_[file].lasting || !footers_[file].schema) continue;
    learned.footers.emplace_back(files_[file].identity, footers_[file]);
  }
  LearnKept(learned);
  for (const auto& [block, column] : NeededPieces()) {
    if (!Find(block, column)->hit) continue;
    learned.used.push_back(KeyOf(*blocks_[block].file, blocks_[block].rows.first_group, column));
  }
  for (const auto& [key, piece] : decoded_) {
    const auto& [index, column] = key;
    if (index >= blocks_.size()) continue;
    const Block& block = blocks_[index];
    if (!block.file || !files_[*block.file].lasting) continue;
    decache::Entry entry;
    entry.piece = piece.column;
    entry.segment = piece.segment->id();
    entry.groups = block.rows.groups;
    entry.bytes = std::max<int64_t>(piece.segment->size_bytes(), 1);
    entry.decode_s = piece.decode_s;
    learned.entries.push_back(
        {KeyOf(*block.file, block.rows.first_group, column), std::move(entry), piece.segment});
  }
  return learned;
}

}  // namespace zerrow::engine
