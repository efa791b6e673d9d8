// The sections of a message that is being made: where each comes to lie, and their bytes up to the
// body.
//
// Part of the writer and of Join. Set every section but the body, LayOut, Finish, WriteHead. One
// thread; borrows the records, which may still change after Set but not in number.
#pragma once

#include <arrow/result.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "sipc/format.h"

namespace zerrow::sipc {

class Sections {
 public:
  template <typename Record>
  void Set(SectionId id, const std::vector<Record>& records) {
    SetBytes(id, std::span(reinterpret_cast<const uint8_t*>(records.data()),
                           records.size() * sizeof(Record)));
  }
  void SetBytes(SectionId id, std::span<const uint8_t> records) { records_[id] = records; }

  /// Gives every section its place; where the body begins. CapacityError if there are more records
  /// than the format takes.
  arrow::Result<int64_t> LayOut();
  /// The message's size.
  int64_t Finish(int64_t num_rows, int64_t body_bytes);
  /// Writes all that stands in front of the body; gaps between sections are zeroed.
  void WriteHead(uint8_t* message) const;

 private:
  std::array<std::span<const uint8_t>, kNumSections> records_;
  HeaderRecord header_ = {};
};

}  // namespace zerrow::sipc
