// A small set of disjoint address ranges, each with a tag: exceptions from what is usual.
//
// The Heap keeps three: ranges whose protection isn't read-write, ranges where something else than
// the chunk's file is mapped, and ranges with unusual advice. All are nearly always empty, so an
// unsorted array of fixed capacity does. Not thread safe: the Heap's lock guards it. Allocates
// nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zerrow::shim {

class Ranges {
 public:
  static constexpr size_t kCapacity = 2048;
  static constexpr int kNoTag = -1;

  constexpr Ranges() = default;

  bool empty() const { return count_ == 0; }
  /// True if Set could refuse.
  bool full() const { return count_ + 2 > kCapacity; }
  bool Intersects(uintptr_t begin, uintptr_t end) const;
  /// Gives [begin, end) the tag, or takes it out of the set (kNoTag). False, and nothing changed,
  /// if the set is too full.
  bool Set(uintptr_t begin, uintptr_t end, int tag);

  /// Calls visit(begin, end, tag) for consecutive pieces that make up [begin, end); kNoTag where
  /// it is outside the set. `visit` may change the set inside the piece that it was given.
  template <typename Visit>
  void ForEachPiece(uintptr_t begin, uintptr_t end, Visit visit) const {
    while (begin < end) {
      uintptr_t stop = end;
      int tag = kNoTag;
      for (size_t i = 0; i < count_; ++i) {
        if (ranges_[i].begin <= begin && begin < ranges_[i].end) {
          tag = ranges_[i].tag;
          stop = ranges_[i].end < end ? ranges_[i].end : end;
          break;
        }
        if (ranges_[i].begin > begin && ranges_[i].begin < stop) stop = ranges_[i].begin;
      }
      visit(begin, stop, tag);
      begin = stop;
    }
  }

 private:
  struct Range {
    uintptr_t begin;
    uintptr_t end;
    int tag;
  };

  void CutOut(uintptr_t begin, uintptr_t end);

  size_t count_ = 0;
  Range ranges_[kCapacity] = {};
};

}  // namespace zerrow::shim
