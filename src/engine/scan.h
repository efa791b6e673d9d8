// A reading of a source: what its readers need of it, what of that the cache has, what its worker
// has decoded besides, and the tables that become of both.
//
// A source's rows come in blocks (row groups that are decoded together), its columns in pieces: a
// column of a block, in a segment of its own. A table joins pieces without touching their bytes.
// Texts may be had as dictionaries, too: then a piece has indices, and the values are a piece of
// their own, one for the whole column. What a worker decodes besides extends the values that the
// cache has: a later version begins with all earlier ones, so that it serves their indices as well.
// Plain state; whoever works on it does so alone. What the worker says is untrusted and checked
// here.
#pragma once

#include <arrow/result.h>
#include <arrow/type.h>

#include <atomic>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/channel.h"
#include "decache/cache.h"
#include "decache/claims.h"
#include "engine/plan.h"
#include "engine/publish_output.h"
#include "engine/source_files.h"
#include "shm/segment_store.h"
#include "sipc/join.h"

namespace zerrow::engine {

struct TaskMessage;

class Scan {
 public:
  /// Of values of a dictionary; entries of their indices share it.
  using ValuesKey = std::shared_ptr<const decache::EntryKey>;
  /// How a column is decoded.
  struct Column {
    std::string name;
    bool dictionary = false;

    friend auto operator<=>(const Column&,
                            const Column&) = default;  // NOLINT(modernize-use-nullptr)
  };
  /// A column of a block, decoded.
  struct Piece {
    std::shared_ptr<const shm::Segment> segment;
    std::shared_ptr<const sipc::ColumnPiece> column;
    double decode_s = 0;
    bool hit = false;  // the cache had it
    // Of indices.
    std::shared_ptr<const Piece> values;
    ValuesKey values_key;  // if the cache had them
  };
  /// Of which blocks of a file a filter may keep rows.
  struct KeptBlocks {
    decache::FileIdentity file;
    std::string filter;
    std::vector<int> blocks;
  };
  /// A piece that the worker has decoded, as the cache's entry.
  struct Decoded {
    decache::EntryKey key;
    decache::Entry entry;
    std::shared_ptr<const shm::Segment> segment;
    std::optional<SegmentId> grown_from = std::nullopt;  // values that it takes the place of
  };
  /// What the cache should keep: of files that last.
  struct Learned {
    std::vector<std::pair<decache::FileIdentity, decache::Footer>> footers;
    std::vector<KeptBlocks> kept;
    std::vector<Decoded> entries;
    std::vector<decache::EntryKey> used;
    std::vector<std::pair<decache::EntryKey, double>> charged;  // values by what relies on them now
  };

  Scan(SourceDescription source, std::vector<SourceRead> reads, bool use_cache);

  const SourceDescription& source() const { return source_; }
  /// The cache could keep what a worker decodes.
  bool keeps() const;
  void SetFiles(std::vector<IdentifiedFile> files) { files_ = std::move(files); }

  /// Takes what the cache has. True: it is all that is needed, so that Assemble can follow.
  bool TakeFromCache(decache::Cache& cache, const shm::SegmentStore& store);
  /// What a worker decodes of which files, as far as nobody has it.
  decache::Columns Columns() const;
  /// Adds to a worker's task what it is to read, and which values it may extend. IOError.
  arrow::Status Describe(TaskMessage& task) const;

  /// The worker has decoded columns: "decoded" of docs/formats/worker_protocol.md.
  /// SerializationError: it is malformed or what it sent is no sealed column; IOError.
  arrow::Status TakeDecoded(base::Message decoded, shm::SegmentIds& ids,
                            const base::TaskThread& reaper);
  /// The worker has done its part: "scanned". SerializationError.
  arrow::Status TakeAnswer(const nlohmann::json& answer);

  /// The tables of all reads, as those of one. Errors as sipc::Join; IOError.
  arrow::Result<Publication> Assemble(shm::SegmentIds& ids, const base::TaskThread& reaper) const;
  /// What the worker has sent so far; from any thread.
  int64_t decoded_bytes() const { return decoded_bytes_; }
  /// For the cache as it is now, once all is there.
  Learned Learn(const decache::Cache& cache) const;

 private:
  struct Block {
    std::optional<size_t> file;  // nullopt: of several, which no cache keeps
    int position = 0;            // among the file's
    decache::Block rows;
  };
  // A column's values, which the cache has for so many rows.
  struct Base {
    std::shared_ptr<const Piece> values;
    ValuesKey key;
    int64_t rows = 0;
  };
  using PieceKey = std::pair<size_t, Column>;       // block, column
  using HaveKey = std::tuple<size_t, int, Column>;  // file, first row group, column

  std::vector<std::string> NamesOf(const SourceRead& read) const;
  std::vector<Column> ColumnsOf(const SourceRead& read) const;
  std::vector<std::string> AllColumns() const;
  bool DictionaryPays(const std::string& column) const;
  void FindDictionaries();
  decache::EntryKey KeyOf(size_t file, int first_group, const Column& column) const;
  decache::EntryKey KeyOfPiece(const PieceKey& piece) const;
  std::string FilterKey(size_t file, const std::string& filter) const;
  bool KnowBlocks(decache::Cache& cache);
  bool HasTypes(const arrow::Schema& schema) const;
  bool KnowKept(decache::Cache& cache, const SourceRead& read);
  void TakePieces(const decache::Cache& cache, const shm::SegmentStore& store);
  void TakePiece(const HaveKey& key, const decache::Cache& cache, const shm::SegmentStore& store);
  void FindBases();
  arrow::Status DescribeBases(TaskMessage& task) const;
  std::vector<PieceKey> NeededPieces() const;
  const Piece* Find(const PieceKey& key) const;
  arrow::Status TakeFiles(const nlohmann::json& answer);
  arrow::Status TakeBlocks(const nlohmann::json& answer);
  arrow::Status TakeReads(const nlohmann::json& answer);
  arrow::Status TakeValues();
  arrow::Status Extend(const std::string& column, const std::shared_ptr<const Piece>& values);
  bool IsKept(const PieceKey& key) const;
  std::map<std::string, ValuesKey> LearnValues(const decache::Cache& cache, Learned& learned) const;
  arrow::Result<std::shared_ptr<arrow::Schema>> SchemaOf(const std::vector<Column>& columns) const;
  arrow::Result<std::shared_ptr<const PublishedTable>> AssembleRead(size_t read,
                                                                    shm::SegmentIds& ids,
                                                                    const base::TaskThread& reaper,
                                                                    Publication& publication) const;
  CacheUse CountUse() const;
  void LearnKept(Learned& learned) const;
  static Decoded EntryOf(decache::EntryKey key, const Piece& piece, int groups);

  const SourceDescription source_;
  const std::vector<SourceRead> reads_;
  const bool use_cache_;
  std::map<std::string, std::string> types_;  // by column
  std::vector<IdentifiedFile> files_;

  std::vector<decache::Footer> footers_;             // by file, once they are known
  std::set<std::string> dictionaries_;               // columns; then, too
  std::vector<Block> blocks_;                        // once they are known
  std::vector<std::vector<size_t>> blocks_of_read_;  // by read; ascending
  std::map<HaveKey, Piece> had_;                     // by the cache
  std::map<std::string, Base> bases_;                // by column; a worker extends them
  std::map<PieceKey, Piece> decoded_;                // by the worker
  std::map<std::string, std::shared_ptr<const Piece>> decoded_values_;  // by column
  std::atomic<int64_t> decoded_bytes_{0};
};

}  // namespace zerrow::engine
