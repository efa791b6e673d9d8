// What a slice of memory that isn't shared costs: about its own size, for every type.
#include <arrow/array/concatenate.h>
#include <gtest/gtest.h>

#include <algorithm>
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
          arrow::list(arrow::field("s", arrow::struct_({item, number}))),
          arrow::large_list(arrow::field("m", arrow::map(arrow::utf8(), arrow::int64()))),
          arrow::list_view(arrow::field("s", arrow::struct_({item, number}))),
          arrow::dense_union({arrow::field("s", arrow::struct_({item})), number}),
          arrow::sparse_union({item, number}),
          arrow::dense_union({item, number}),
          arrow::run_end_encoded(arrow::int32(), arrow::utf8()),
          arrow::list(arrow::field("v", arrow::utf8_view()))};
}

// Whether there is anything in an array's lists and texts.
bool HasValues(const arrow::ArrayData& data) {
  const auto& buffers = data.buffers;
  if (buffers.size() > 2 && (buffers[2] == nullptr || buffers[2]->size() == 0)) return false;
  return std::all_of(data.child_data.begin(), data.child_data.end(),
                     [](const auto& child) { return child->length > 0 && HasValues(*child); });
}

// An array whose values lie in the order of its rows, as builders make them.
std::shared_ptr<arrow::Array> ArrayOf(const std::shared_ptr<arrow::DataType>& type,
                                      arrow::MemoryPool* pool = arrow::default_memory_pool()) {
  if (type->id() == arrow::Type::LIST_VIEW) {
    const auto lists = ArrayOf(arrow::list(type->field(0)), pool);
    return arrow::ListViewArray::FromList(static_cast<const arrow::ListArray&>(*lists), pool)
        .ValueOrDie();
  }
  for (uint64_t seed = 7;; ++seed) {
    testing::RandomTables tables(seed, {});
    const auto array = arrow::MakeArray(tables.Array(type, kRows));
    if (HasValues(*array->data())) return arrow::Concatenate({array}, pool).ValueOrDie();
  }
}

std::shared_ptr<arrow::Table> TableOf(const std::shared_ptr<arrow::Array>& array) {
  return arrow::Table::Make(arrow::schema({arrow::field("c", array->type())}), {array});
}

std::shared_ptr<arrow::Table> Read(const Encoded& encoded) {
  auto reader = Reader::Open(encoded.message, [](SegmentId) {
                  return arrow::Status::KeyError("none");
                }).ValueOrDie();
  return reader->ReadTable().ValueOrDie();
}

int64_t CopiedBytes(const arrow::Table& table) {
  const Encoded encoded = Encode(table, AddressMap()).ValueOrDie();
  const auto read = Read(encoded);
  EXPECT_TRUE(read->ValidateFull().ok()) << read->ValidateFull();
  EXPECT_TRUE(read->Equals(table));
  EXPECT_EQ(encoded.referenced_bytes, 0);
  return encoded.copied_bytes;
}

class HeapSlice : public ::testing::TestWithParam<std::shared_ptr<arrow::DataType>> {
 protected:
  const std::shared_ptr<arrow::Array> array_ = ArrayOf(GetParam());
};

TEST_P(HeapSlice, OnePercentCopiesAboutOnePercent) {
  const int64_t whole = CopiedBytes(*TableOf(array_));
  for (int64_t begin : {int64_t{0}, kRows / 2 + 77, kRows - kRows / 100}) {
    const int64_t part = CopiedBytes(*TableOf(array_->Slice(begin, kRows / 100)));
    EXPECT_LT(part, whole / 50) << begin;
  }
}

void ExpectChildrenWithoutOffset(const arrow::ArrayData& data) {
  for (const auto& child : data.child_data) {
    EXPECT_EQ(child->offset, 0) << child->type->ToString();
    ExpectChildrenWithoutOffset(*child);
  }
}

// Others take it for granted: DuckDB refuses a struct with an offset below a list.
TEST_P(HeapSlice, ChildrenHaveNoOffsetThatTheyDidntHave) {
  for (int64_t begin : {100, 130, 50077}) {
    const auto slice = TableOf(array_->Slice(begin, 100));
    const auto read = Read(Encode(*slice, AddressMap()).ValueOrDie());
    EXPECT_TRUE(read->Equals(*slice));
    ExpectChildrenWithoutOffset(*read->column(0)->chunk(0)->data());
  }
}

// MapArray's own keys() and items() pay no heed to an offset of the entries.
TEST(HeapSliceOfMaps, HasItsKeysAndItems) {
  arrow::Int32Builder numbers;
  for (int i = 0; i <= 300; ++i) ASSERT_TRUE(numbers.Append(i).ok());
  const auto offsets = numbers.Finish().ValueOrDie();
  const auto values = offsets->Slice(0, 300);
  const auto whole = arrow::MapArray::FromArrays(offsets, values, values).ValueOrDie();
  const auto slice = std::static_pointer_cast<arrow::MapArray>(whole->Slice(100, 100));
  const auto table = Read(Encode(*TableOf(slice), AddressMap()).ValueOrDie());
  const auto read = std::static_pointer_cast<arrow::MapArray>(table->column(0)->chunk(0));
  for (int64_t row = 0; row < slice->length(); ++row) {
    const auto of = [row](const arrow::MapArray& map, const arrow::Array& values) {
      return values.Slice(map.value_offset(row), map.value_length(row));
    };
    EXPECT_TRUE(of(*read, *read->keys())->Equals(of(*slice, *slice->keys()))) << row;
    EXPECT_TRUE(of(*read, *read->items())->Equals(of(*slice, *slice->items()))) << row;
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
    const auto array = ArrayOf(type, arena.get());
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
