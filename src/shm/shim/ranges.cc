#include "shm/shim/ranges.h"

namespace zerrow::shim {

bool Ranges::Intersects(uintptr_t begin, uintptr_t end) const {
  for (size_t i = 0; i < count_; ++i) {
    if (ranges_[i].begin < end && begin < ranges_[i].end) return true;
  }
  return false;
}

bool Ranges::Set(uintptr_t begin, uintptr_t end, int tag) {
  if (begin >= end || (tag == kNoTag && count_ == 0)) return true;
  if (full()) return false;  // cutting may split one range in two and the new one is one more
  CutOut(begin, end);
  if (tag == kNoTag) return true;
  for (size_t i = 0;
       i < count_;) {  // merge with neighbours, so that loops over pages stay one range
    const Range& other = ranges_[i];
    if (other.tag == tag && (other.end == begin || other.begin == end)) {
      begin = other.begin < begin ? other.begin : begin;
      end = other.end > end ? other.end : end;
      ranges_[i] = ranges_[--count_];
    } else {
      ++i;
    }
  }
  ranges_[count_++] = {begin, end, tag};
  return true;
}

void Ranges::CutOut(uintptr_t begin, uintptr_t end) {
  for (size_t i = 0; i < count_;) {
    Range& range = ranges_[i];
    if (range.end <= begin || end <= range.begin) {
      ++i;
    } else if (begin <= range.begin && range.end <= end) {
      range = ranges_[--count_];
    } else if (range.begin < begin && end < range.end) {
      ranges_[count_++] = {end, range.end, range.tag};
      range.end = begin;
      return;
    } else {
      (range.begin < begin ? range.end : range.begin) = range.begin < begin ? begin : end;
      ++i;
    }
  }
}

}  // namespace zerrow::shim
