// Which rows of an input's column an array's rows are, where a library has cut or joined chunks.
//
// Looks in columns of as many rows as the output has, at the same rows: what keeps the rows and
// their order keeps their place, whatever chunks it makes of them. For values of fixed width and
// text. One thread; inputs must outlive it unchanged.
#pragma once

#include <arrow/table.h>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "sipc/address_map.h"
#include "sipc/layout.h"

namespace zerrow::worker {

class RowMatcher {
 public:
  using Data = std::shared_ptr<arrow::ArrayData>;

  RowMatcher(std::span<const std::shared_ptr<arrow::Table>> inputs,
             const sipc::AddressMap& segments)
      : inputs_(inputs), segments_(segments) {}

  /// Where an array stands in the output.
  struct Place {
    const std::string& column;  // a column of this name is looked at first
    int64_t first_row;
    int64_t table_rows;
  };
  struct Found {
    std::vector<Data> arrays;  // together equal to the array; empty: nothing was found
    int64_t bytes = 0;         // of them that are an input's
  };

  /// May the array be `split`, as the chunks of inputs are? Otherwise it is found as a whole.
  Found Find(const Data& data, const Place& place, bool split);

 private:
  using Kind = std::tuple<int64_t, sipc::LayoutKind, uint32_t>;  // rows, layout
  using Column = std::shared_ptr<arrow::ChunkedArray>;

  void Collect();
  std::vector<Column> Candidates(const arrow::ArrayData& data, const Place& place);
  bool IsSegments(std::span<const std::span<const uint8_t>> values) const;

  const std::span<const std::shared_ptr<arrow::Table>> inputs_;
  const sipc::AddressMap& segments_;
  bool collected_ = false;
  std::map<Kind, std::vector<std::pair<std::string, Column>>> columns_;
  Column last_;  // in which something was found
};

}  // namespace zerrow::worker
