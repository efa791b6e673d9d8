// Which bytes a path leads to: what cached columns are kept under.
//
// Plain values, made from what stat() says of a file. A file that was written anew, replaced or
// touched has another identity, and so is another file.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

namespace zerrow::decache {

struct FileIdentity {
  std::string path;  // first: identities of one path are neighbours in order
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t size_bytes = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;

  friend auto operator<=>(const FileIdentity&,
                          const FileIdentity&) = default;  // NOLINT(modernize-use-nullptr)
};

/// Not behind any other identity of the path, in order.
inline FileIdentity FirstIdentity(std::string path) {
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
  return {std::move(path), 0, 0, kLeast, kLeast, kLeast};
}

}  // namespace zerrow::decache
