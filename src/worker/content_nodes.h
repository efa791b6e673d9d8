// What HashContent makes of a column: a tree as its type has it, to which arrays are added.
//
// A Node belongs to one thread; it keeps dictionaries that it has hashed until it dies.
#pragma once

// The hash that Arrow itself uses, from its headers.
#define XXH_INLINE_ALL
#include <arrow/vendored/xxhash.h>

#include <arrow/array/data.h>
#include <arrow/result.h>
#include <arrow/type.h>
#include <arrow/type_traits.h>

#include <cstdint>
#include <memory>

#include "worker/content_hash.h"

namespace zerrow::worker {

/// Bytes that come in pieces, however they are cut.
class Stream {
 public:
  Stream() { XXH3_128bits_reset(&state_); }

  void Add(const void* bytes, int64_t size) {
    if (size > 0) XXH3_128bits_update(&state_, bytes, static_cast<size_t>(size));
  }
  template <typename T>
  void AddValue(const T& value) {
    Add(&value, sizeof(value));
  }
  /// And begins anew.
  ContentHash Take() {
    const XXH128_hash_t hash = XXH3_128bits_digest(&state_);
    XXH3_128bits_reset(&state_);
    return {hash.low64, hash.high64};
  }

 private:
  XXH3_state_t state_;
};

/// All arrays of one place in a column's type, one after the other. Rows that are null, here or
/// further up, have no values: where they are is hashed apart.
class Node {
 public:
  virtual ~Node() = default;

  /// Rows of the array, whose own offset comes on top. Invalid: they refer to what isn't there.
  arrow::Status Add(const arrow::ArrayData& data, int64_t start, int64_t length);

  /// Of all that was added; begins anew.
  ContentHash Take();

 private:
  virtual arrow::Status AddValid(const arrow::ArrayData& data, int64_t start, int64_t length) = 0;
  virtual void TakeValues(Stream& all) = 0;
  void NoteValid(int64_t begin, int64_t length);

  int64_t rows_ = 0;
  int64_t valid_begin_ = 0;  // of the last run of rows that aren't null
  int64_t valid_end_ = 0;
  Stream valid_;
};

using NodePtr = std::unique_ptr<Node>;
/// NotImplemented: a type that isn't known here.
arrow::Result<NodePtr> MakeNode(const std::shared_ptr<arrow::DataType>& type);

}  // namespace zerrow::worker
