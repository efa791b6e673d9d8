#include "engine/scan.h"

#include <algorithm>
#include <set>

namespace zerrow::engine {

using nlohmann::json;

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
  const auto described = std::ranges::find(source_.columns, column, &ColumnDescription::name);
  if (described != source_.columns.end()) key.options = described->type;
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

CacheUse Scan::CountUse() const {
  CacheUse use;
  for (const auto& [block, column] : NeededPieces()) {
    const Piece& piece = *Find(block, column);
    ++(piece.hit ? use.hits : use.misses);
    (piece.hit ? use.hit_bytes : use.miss_bytes) += piece.column->data_bytes();
    if (piece.hit) use.saved_s += piece.decode_s;
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
    if (!blocks_[block].file || !files_[*blocks_[block].file].lasting) continue;
    const Piece& piece = *Find(block, column);
    const decache::Block& rows = blocks_[block].rows;
    decache::EntryKey key = KeyOf(*blocks_[block].file, rows.first_group, column);
    if (piece.hit) {
      learned.used.push_back(std::move(key));
    } else {
      learned.entries.emplace_back(
          std::move(key), decache::Entry{.piece = piece.column,
                                         .segment = piece.segment->id(),
                                         .groups = rows.groups,
                                         .bytes = std::max<int64_t>(piece.segment->size_bytes(), 1),
                                         .decode_s = piece.decode_s});
    }
  }
  return learned;
}

}  // namespace zerrow::engine
