// Decoded columns of Parquet files: which are kept, which go, and what is known of the files.
//
// Pure: decides about segments that others own and free, without system calls, threads or clocks.
// One Cache belongs to one thread. Pointers that it returns are valid until its next change. It
// dies with the engine; nothing of it outlives that.
//
// What goes when the budget is full: the entry with the smallest
//     H = L + uses * decode_s / bytes
// at its last use, where L is the H of what went or was refused last (0 at first) and `uses` counts
// the decoding and each hit, up to kMostUses. That is Greedy-Dual-Size-Frequency (Cherkasova, HP
// Labs report HPL-98-69, 1998), which adds `uses` to GreedyDual-Size (Cao & Irani, USITS 1997).
// Without it a single pass over a large file, whose columns cost as much per byte as any others,
// would drive out those that every run reads. L ages what isn't used any more, and the bound on
// `uses` sees to it that popularity ends within kMostUses turnovers of the cache.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "decache/footers.h"
#include "decache/identity.h"
#include "sipc/join.h"
#include "zerrow/reference.h"

namespace zerrow::decache {

struct EntryKey {
  FileIdentity file;
  int first_group = 0;  // of the block
  std::string column;
  std::string options;  // how it was decoded, e.g. to which type

  friend auto operator<=>(const EntryKey&,
                          const EntryKey&) = default;  // NOLINT(modernize-use-nullptr)
};

struct Entry {
  std::shared_ptr<const sipc::ColumnPiece> piece;
  std::shared_ptr<const EntryKey> values;  // of a dictionary: the entry that has those; or null
  SegmentId segment = 0;
  int groups = 1;       // in the block
  int64_t bytes = 0;    // that dropping it frees; above 0
  double decode_s = 0;  // CPU time that decoding took
  int64_t hits = 0;     // readers that were served since
  double saved_s = 0;   // decoding that they were spared
};

/// One line of `zerrow cache ls`.
struct Listed {
  EntryKey key;
  Entry entry;
};

class Cache {
 public:
  static constexpr int64_t kMostUses = 8;

  struct Limits {
    int64_t bytes = 0;         // of entries
    size_t entries = 0;        // each costs a file descriptor
    int64_t footer_bytes = 0;  // of footers, and of what filters keep
  };

  explicit Cache(const Limits& limits) : limits_(limits), footers_(limits.footer_bytes) {}
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  /// The entry, or null. Doesn't count as a use.
  const Entry* Find(const EntryKey& key) const;

  /// A reader was served from the entry. Nothing happens if there is none.
  void Use(const EntryKey& key);

  /// Keeps an entry if all that must go for it is worth less; where the key has an entry already,
  /// that one stays, unless its values are gone. The segments to be freed, each once: of entries
  /// that went, or the new entry's if it isn't kept. One above the whole budget never is, nor one
  /// whose values aren't here.
  [[nodiscard]] std::vector<SegmentId> Insert(const EntryKey& key, Entry entry);

  /// A later version of values, grown from those in `base`, takes their place, so that all entries
  /// that name the key have it; what it cost is added to what they did. Nothing else may: if the
  /// key has another version or none, the new one isn't kept. If it has become too large, the key
  /// has none any more. The segments to be freed as those of Insert.
  [[nodiscard]] std::vector<SegmentId> Replace(const EntryKey& key, SegmentId base, Entry entry);

  /// More was decoded that is of no use without this entry.
  void Charge(const EntryKey& key, double decode_s);

  /// Other limits from now on. The segments of what no longer fits.
  [[nodiscard]] std::vector<SegmentId> Resize(const Limits& limits);

  /// Forgets the entry that is that segment; false: there is none.
  bool Remove(SegmentId segment);

  /// Forgets entries, footers and filters. The entries' segments.
  [[nodiscard]] std::vector<SegmentId> Clear();

  /// Forgets all that is known of the path under other identities than this, as those bytes are
  /// gone. The entries' segments.
  [[nodiscard]] std::vector<SegmentId> Supersede(const FileIdentity& file);

  // What is known of files: as the methods of Footers.
  const Footer* FindFooter(const FileIdentity& file) { return footers_.Find(file); }
  void InsertFooter(const FileIdentity& file, Footer footer) {
    footers_.Insert(file, std::move(footer));
  }
  const std::vector<int>* FindKept(const FileIdentity& file, std::string_view filter) {
    return footers_.FindKept(file, filter);
  }
  void InsertKept(const FileIdentity& file, std::string filter, std::vector<int> blocks) {
    footers_.InsertKept(file, std::move(filter), std::move(blocks));
  }

  /// All entries, by file, block, column.
  std::vector<Listed> List() const;

  const Limits& limits() const { return limits_; }
  int64_t bytes() const { return bytes_; }
  size_t num_entries() const { return entries_.size(); }
  int64_t footer_bytes() const { return footers_.bytes(); }

 private:
  // The file's identity as a number, so that an entry needn't hold its path.
  struct Key {
    uint64_t file;
    int first_group;
    std::string column;
    std::string options;

    friend auto operator<=>(const Key&, const Key&) = default;  // NOLINT(modernize-use-nullptr)
  };
  // H, and which of equal ones is older; what is smallest goes first.
  using Rank = std::pair<double, uint64_t>;
  struct Stored {
    Entry entry;
    Rank rank;
  };
  using Entries = std::map<Key, Stored>;
  // Exists while it has entries.
  struct File {
    uint64_t number = 0;
    size_t num_entries = 0;
  };
  using Files = std::map<FileIdentity, File>;

  std::optional<Key> KeyOf(const EntryKey& key) const;
  Entries::iterator FindStored(const EntryKey& key);
  bool HasValues(const Entry& entry) const;
  Rank NextRank(const Entry& entry);
  void RankAnew(Entries::iterator entry);
  bool IsWorthIt(const Rank& rank, int64_t bytes) const;
  void Add(const EntryKey& key, Entry entry, const Rank& rank);
  SegmentId Drop(Entries::iterator entry);
  void Evict(std::vector<SegmentId>* dropped);

  Limits limits_;
  Footers footers_;
  Files files_;
  std::map<uint64_t, Files::iterator> files_by_number_;
  uint64_t next_file_ = 1;
  Entries entries_;
  std::map<SegmentId, Entries::iterator> by_segment_;
  std::map<Rank, Entries::iterator> ranks_;
  uint64_t next_rank_ = 0;
  double inflation_ = 0;  // L
  int64_t bytes_ = 0;
};

}  // namespace zerrow::decache
