// The folder on disk that copies of segments go to while memory is short.
//
// Its files have no name from the start on and are closed on exec, so nothing is left after a
// crash, and nobody but this process has a way to them. Their bytes are counted, and refused above
// the folder's limit. Any thread. Files keep the folder alive.
#pragma once

#include <arrow/result.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "base/fd.h"
#include "shm/descriptor_budget.h"

namespace zerrow::shm {

struct SpillOptions {
  int64_t limit_bytes = std::numeric_limits<int64_t>::max();
  /// What each file takes one descriptor of. Null: they aren't counted.
  std::shared_ptr<DescriptorBudget> descriptors;
  /// Past the page cache, where the file system can; else through it, and what was written is
  /// synced and dropped from it piece by piece.
  bool direct = true;
};

class SpillFolder : public std::enable_shared_from_this<SpillFolder> {
 public:
  /// What a file takes of the limit. Move-only; gives itself back.
  class Space {
   public:
    Space() = default;
    Space(Space&& other) noexcept
        : folder_(std::move(other.folder_)), bytes_(std::exchange(other.bytes_, 0)) {}
    Space& operator=(Space&& other) noexcept;
    ~Space() { Release(); }

    int64_t bytes() const { return bytes_; }

   private:
    friend class SpillFolder;
    Space(std::shared_ptr<SpillFolder> folder, int64_t bytes)
        : folder_(std::move(folder)), bytes_(bytes) {}
    void Release();

    std::shared_ptr<SpillFolder> folder_;
    int64_t bytes_ = 0;
  };

  /// Makes the folder, for this user alone, if it is missing. Invalid: what is in it would be in
  /// memory; IOError: it can't be made or used.
  static arrow::Result<std::shared_ptr<SpillFolder>> Make(std::string path,
                                                          SpillOptions options = {});

  const std::string& path() const { return path_; }
  /// Whether files pass by the page cache.
  bool direct() const { return options_.direct; }
  int64_t limit_bytes() const { return options_.limit_bytes; }
  int64_t used_bytes() const;
  /// What may still be written: by the limit, and by what this user may take of the disk. IOError.
  arrow::Result<int64_t> FreeBytes() const;

  /// CapacityError: it would be above the limit.
  arrow::Result<Space> Take(int64_t bytes);

  /// CapacityError: no descriptors are left for another file.
  arrow::Result<DescriptorBudget::Share> TakeDescriptor() const;

  /// A new file without a name, with blocks of the disk for so many bytes where that can be had
  /// beforehand. CapacityError: the disk is full; IOError.
  arrow::Result<base::UniqueFd> MakeFile(int64_t size_bytes) const;

 private:
  SpillFolder(std::string path, SpillOptions options)
      : path_(std::move(path)), options_(std::move(options)) {}
  arrow::Status Open();
  /// Whether direct I/O works here is tried once, with one page.
  arrow::Status TryDirect();
  arrow::Result<base::UniqueFd> OpenUnnamed() const;
  arrow::Status Allocate(int fd, int64_t size_bytes) const;

  const std::string path_;
  SpillOptions options_;
  base::UniqueFd folder_;
  mutable std::mutex mutex_;  // guards what follows
  int64_t used_bytes_ = 0;
};

}  // namespace zerrow::shm
