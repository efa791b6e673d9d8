#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_primitive.h>
#include <gtest/gtest.h>

#include "sipc/check.h"
#include "sipc/reader.h"
#include "sipc/testing/arena.h"
#include "sipc/writer.h"

namespace zerrow::sipc {
namespace {

constexpr SegmentId kSegment = 9;

std::shared_ptr<arrow::Table> NumbersAndText(int64_t rows, arrow::MemoryPool* pool) {
  arrow::Int64Builder numbers(pool);
  arrow::StringBuilder text(pool);
  for (int64_t i = 0; i < rows; ++i) {
    EXPECT_TRUE((i % 7 == 0 ? numbers.AppendNull() : numbers.Append(i)).ok());
    EXPECT_TRUE(text.Append("row " + std::to_string(i)).ok());
  }
  auto schema = arrow::schema({arrow::field("n", arrow::int64()), arrow::field("t", arrow::utf8())},
                              arrow::key_value_metadata({"k"}, {"v"}));
  return arrow::Table::Make(schema, {numbers.Finish().ValueOrDie(), text.Finish().ValueOrDie()});
}

class RoundTrip : public ::testing::Test {
 protected:
  void SetUp() override {
    arena_ = testing::Arena::Make(kSegment, 64 << 20).ValueOrDie();
    arena_->AddTo(&map_);
  }

  // Encodes, checks and reads back; everything must be equal and valid.
  Encoded Pass(const arrow::Table& table, const AddressMap& map) {
    Encoded encoded = Encode(table, map).ValueOrDie();
    std::span<const uint8_t> bytes(encoded.message->data(), encoded.message->size());
    summary_ = Check(bytes, {{kSegment, arena_->size_bytes()}}).ValueOrDie();
    EXPECT_EQ(summary_.referenced_bytes, encoded.referenced_bytes);
    EXPECT_EQ(summary_.num_rows, table.num_rows());
    auto reader = Reader::Open(encoded.message, [&](SegmentId) {
                    return arena_->MapReadOnly();
                  }).ValueOrDie();
    auto read = reader->ReadTable().ValueOrDie();
    EXPECT_TRUE(read->ValidateFull().ok());
    EXPECT_TRUE(read->Equals(table, /*check_metadata=*/true));
    return encoded;
  }

  std::unique_ptr<testing::Arena> arena_;
  AddressMap map_;
  Summary summary_;
};

TEST_F(RoundTrip, SharedMemoryIsReferredToAndNotCopied) {
  auto table = NumbersAndText(100000, arena_.get());
  const Encoded encoded = Pass(*table, map_);
  EXPECT_EQ(encoded.copied_bytes, 0);
  EXPECT_GT(encoded.referenced_bytes, 2000000);
  EXPECT_LT(encoded.message->size(), 2000);
}

TEST_F(RoundTrip, ASliceRefersOnlyToWhatItUses) {
  auto table = NumbersAndText(1000000, arena_.get())->Slice(800000, 10000);
  const Encoded encoded = Pass(*table, map_);
  EXPECT_EQ(encoded.copied_bytes, 0);
  EXPECT_LT(encoded.referenced_bytes, 280000);
}

TEST_F(RoundTrip, HeapMemoryIsCopiedOnceHoweverManySlicesUseIt) {
  auto table = NumbersAndText(100000, arrow::default_memory_pool());
  const Encoded whole = Pass(*table, map_);
  std::vector<std::shared_ptr<arrow::Table>> slices;
  for (int64_t i = 0; i < 100; ++i) slices.push_back(table->Slice(i * 1000, 1000));
  auto chunked = arrow::ConcatenateTables(slices).ValueOrDie();
  const Encoded sliced = Pass(*chunked, map_);
  EXPECT_EQ(whole.referenced_bytes, 0);
  // Offsets are rewritten for each slice, from the last multiple of 64 rows on.
  EXPECT_LT(sliced.copied_bytes, whole.copied_bytes * 102 / 100);
}

TEST_F(RoundTrip, TablesOfNothing) {
  Pass(*arrow::Table::MakeEmpty(arrow::schema({arrow::field("a", arrow::utf8())})).ValueOrDie(),
       map_);
  Pass(*arrow::Table::Make(arrow::schema({}), arrow::ChunkedArrayVector{}, 5), map_);
  auto none = std::make_shared<arrow::ChunkedArray>(arrow::ArrayVector{}, arrow::utf8());
  Pass(*arrow::Table::Make(arrow::schema({arrow::field("a", arrow::utf8())}), {none}), map_);
}

}  // namespace
}  // namespace zerrow::sipc
