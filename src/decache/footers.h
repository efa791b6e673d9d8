// What is known of Parquet files without their data, bounded; those that weren't used for longest
// go first.
//
// Pure; one thread. Pointers are valid until the next change.
#pragma once

#include <arrow/type.h>

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "decache/identity.h"

namespace zerrow::decache {

/// Row groups of a file that are decoded together: `groups` of them from `first_group` on.
struct Block {
  int first_group = 0;
  int groups = 1;
  int64_t rows = 0;

  friend bool operator==(const Block&, const Block&) = default;
};

/// What is known of a file without its data.
struct Footer {
  std::shared_ptr<const arrow::Schema> schema;
  std::vector<Block> blocks;
  /// Texts whose column chunks all begin with a dictionary: their uncompressed bytes.
  std::map<std::string, int64_t, std::less<>> encoded;
  int64_t size_bytes = 0;  // what it counts as in the budget; its serialized size will do
};

class Footers {
 public:
  /// Filters that one file may have; one more, and those before are forgotten.
  static constexpr size_t kMaxFilters = 64;

  explicit Footers(int64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  /// The footer, or null. Counts as a use.
  const Footer* Find(const FileIdentity& file);

  /// In place of an earlier one that says something else, and of the filters that went with it. A
  /// footer above the whole limit isn't kept.
  void Insert(const FileIdentity& file, Footer footer);

  /// Of which of the file's blocks a filter may keep rows, as indexes into Footer::blocks; null if
  /// unknown. Counts as a use of the footer.
  const std::vector<int>* FindKept(const FileIdentity& file, std::string_view filter);

  /// Remembers that for as long as the footer; nothing happens without one.
  void InsertKept(const FileIdentity& file, std::string filter, std::vector<int> blocks);

  void Resize(int64_t limit_bytes);
  void Clear();
  /// Forgets what is known of the path under other identities.
  void Supersede(const FileIdentity& file);

  size_t size() const { return files_.size(); }
  int64_t bytes() const { return bytes_; }

 private:
  struct File;
  using Files = std::map<FileIdentity, File>;
  using Recency = std::list<Files::iterator>;
  struct File {
    Footer footer;
    std::map<std::string, std::vector<int>, std::less<>> kept;
    int64_t bytes = 0;  // of both
    Recency::iterator recency;
  };

  File* Touch(const FileIdentity& file);
  void Drop(Files::iterator file);
  void Evict();
  void Charge(File* file, int64_t bytes);

  int64_t limit_bytes_;
  int64_t bytes_ = 0;
  Files files_;
  Recency recency_;  // used last at the end
};

}  // namespace zerrow::decache
