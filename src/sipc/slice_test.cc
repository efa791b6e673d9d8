// What a slice of memory that isn't shared costs: about its own size, for every type.
#include <arrow/array/concatenate.h>
#include <gtest/gtest.h>

#include <string>

#include "sipc/check.h"
#include "sipc/reader.h"
#include "sipc/testing/arena.h"
#include "sipc/testing/random_table.h"
#include "sipc/writer.h"

namespace zerrow::sipc {
namespace {

constexpr int64_t kRows = 100000;

std::vector<std::shared_ptr<arrow::DataType>> Types() {
  auto item = arrow::field("item", arrow::utf8());
  auto number = arrow::field("n", arrow::int64());
  return {arrow::boolean(),
          arrow::int64(),
          arrow::utf8(),
          arrow::large_binary(),
          arrow::utf8_view(),
          arrow::list(item),
          arrow::large_list(arrow::field("l", arrow::list(item))),
          arrow::list_view(number),
          arrow::fixed_size_list(item, 3),
          arrow::struct_({item, number}),
          arrow::map(arrow::utf8(), arrow::int64()),
          arrow::sparse_union({item, number}),
          arrow::dense_union({item, number}),
          arrow::run_end_encoded(arrow::int32(), arrow::utf8()),
          arrow::list(arrow::field("v", arrow::utf8_view()))};
}

std::shared_ptr<arrow::Table> TableOf(const std::shared_ptr<arrow::Array>& array) {
  return arrow::Table::Make(arrow::schema({arrow::field("c", array->type())}), {array});
}

int64_t CopiedBytes(const arrow::Table& table) {
  const Encoded encoded = Encode(table, AddressMap()).ValueOrDie();
  auto reader = Reader::Open(encoded.message, [](SegmentId) {
                  return arrow::Status::KeyError("none");
                }).ValueOrDie();
  auto read = reader->ReadTable().ValueOrDie();
  EXPECT_TRUE(read->ValidateFull().ok()) << read->ValidateFull();
  EXPECT_TRUE(read->Equals(table));
  EXPECT_EQ(encoded.referenced_bytes, 0);
  return encoded.copied_bytes;
}

class HeapSlice : public ::testing::TestWithParam<std::shared_ptr<arrow::DataType>> {
 protected:
  // An array whose values lie in the order of its rows, as builders make them.
  void SetUp() override {
    testing::RandomTables tables(7, {});
    array_ = arrow::MakeArray(tables.Array(GetParam(), kRows));
    array_ = arrow::Concatenate({array_}).ValueOrDie();
  }
  std::shared_ptr<arrow::Array> array_;
};

TEST_P(HeapSlice, OnePercentCopiesAboutOnePercent) {
  const int64_t whole = CopiedBytes(*TableOf(array_));
  for (int64_t begin : {int64_t{0}, kRows / 2 + 77, kRows - kRows / 100}) {
    const int64_t part = CopiedBytes(*TableOf(array_->Slice(begin, kRows / 100)));
    EXPECT_LT(part, whole / 50) << begin;
  }
}

TEST_P(HeapSlice, AllSlicesTogetherCopyAboutTheWhole) {
  const int64_t whole = CopiedBytes(*TableOf(array_));
  arrow::ArrayVector slices;
  for (int64_t i = 0; i < 100; ++i) slices.push_back(array_->Slice(i * kRows / 100, kRows / 100));
  const auto chunked = std::make_shared<arrow::ChunkedArray>(slices);
  auto table = arrow::Table::Make(arrow::schema({arrow::field("c", array_->type())}), {chunked});
  EXPECT_LT(CopiedBytes(*table), whole * 11 / 10);
}

INSTANTIATE_TEST_SUITE_P(Types, HeapSlice, ::testing::ValuesIn(Types()), [](const auto& info) {
  return std::to_string(info.index) + "_" + std::string(info.param->name());
});

// A slice of shared memory refers to no more than it needs either: the rest can be freed.
TEST(SharedSlice, RefersToWhatItUses) {
  for (const auto& type : Types()) {
    auto arena = testing::Arena::Make(1, 256 << 20).ValueOrDie();
    AddressMap addresses;
    arena->AddTo(&addresses);
    testing::RandomTables tables(7, {});
    auto array =
        arrow::Concatenate({arrow::MakeArray(tables.Array(type, kRows))}, arena.get()).ValueOrDie();
    const auto slice = TableOf(array->Slice(kRows / 2 + 77, kRows / 100));
    const Encoded whole = Encode(*TableOf(array), addresses).ValueOrDie();
    const Encoded part = Encode(*slice, addresses).ValueOrDie();
    // Offsets of children stay from their first on.
    EXPECT_LT(part.referenced_bytes, whole.referenced_bytes / 3) << type->ToString();
    EXPECT_LT(part.copied_bytes, 50000) << type->ToString();
    EXPECT_GE(whole.referenced_bytes, 12000) << type->ToString();
  }
}

}  // namespace
}  // namespace zerrow::sipc
