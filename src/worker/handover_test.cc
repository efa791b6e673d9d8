#include "worker/handover.h"

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/writer.h>
#include <arrow/json/from_string.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "base/mapping.h"
#include "worker/table_buffers.h"

namespace zerrow::worker {
namespace {

using base::Mapping;

template <typename T>
T Value(arrow::Result<T> result) {
  return std::move(result).ValueOrDie();
}

// A chunk as the shim would have it: a file that is mapped writable, and arrays in it.
class Chunk {
 public:
  explicit Chunk(SegmentId id, int64_t size_bytes = 1 << 20)
      : id_(id),
        fd_(Value(base::MakeMemfd("chunk", size_bytes))),
        mapping_(Value(Mapping::Map(fd_.get(), size_bytes, Mapping::Access::kReadWrite))) {}

  std::shared_ptr<arrow::Array> Int64s(int64_t count, int64_t first) {
    uint8_t* place = mapping_.data() + used_;
    used_ += (count * 8 + 63) / 64 * 64;
    std::iota(reinterpret_cast<int64_t*>(place), reinterpret_cast<int64_t*>(place) + count, first);
    auto buffer = std::make_shared<arrow::Buffer>(place, count * 8);
    return std::make_shared<arrow::Int64Array>(count, std::move(buffer));
  }

  ShareableRange range() const { return {id_, mapping_.data(), mapping_.size()}; }
  GrantedSegment grant() const { return {id_, mapping_.size(), fd_.get()}; }

 private:
  SegmentId id_;
  base::UniqueFd fd_;
  Mapping mapping_;
  int64_t used_ = 0;
};

std::shared_ptr<arrow::Table> MakeTable(const arrow::ArrayVector& columns) {
  arrow::FieldVector fields;
  for (size_t i = 0; i < columns.size(); ++i) {
    fields.push_back(arrow::field("c" + std::to_string(i), columns[i]->type()));
  }
  return arrow::Table::Make(arrow::schema(fields), columns);
}

TEST(HandoverTest, WhatLiesInAChunkIsPublishedByReference) {
  Chunk chunk(7);
  const auto table = MakeTable({chunk.Int64s(10'000, 5)});
  Handover producer;
  const std::vector<ShareableRange> shareable = {chunk.range()};
  const Published published = Value(producer.PublishByReference(*table, shareable));
  EXPECT_EQ(published.format, Format::kSipc);
  EXPECT_TRUE(base::IsSealed(published.message.get()));
  EXPECT_EQ(published.bytes.new_bytes, 80'000);
  EXPECT_EQ(published.bytes.reshared_bytes, 0);
  EXPECT_EQ(published.bytes.copied_bytes, 0);
  EXPECT_EQ(published.bytes.total(), 80'000);
  EXPECT_EQ(published.rows, 10'000);

  Handover consumer;
  const std::vector<GrantedSegment> granted = {chunk.grant()};
  const auto opened = Value(consumer.Open(Format::kSipc, published.message.get(), granted));
  EXPECT_TRUE(opened->Equals(*table));
}

TEST(HandoverTest, WhatAnInputHasIsReshared) {
  Chunk source(7);
  Chunk own(8);
  Handover producer;
  const auto made = MakeTable({source.Int64s(10'000, 0), source.Int64s(10'000, 1)});
  const std::vector<ShareableRange> source_ranges = {source.range()};
  const Published first = Value(producer.PublishByReference(*made, source_ranges));

  Handover worker;
  const std::vector<GrantedSegment> granted = {source.grant()};
  const auto input = Value(worker.Open(Format::kSipc, first.message.get(), granted));
  // A renamed column, half of another one and a new one; one more is in nobody's memory.
  arrow::Int64Builder private_memory;
  ASSERT_TRUE(private_memory.AppendValues(std::vector<int64_t>(5'000, 3)).ok());
  const auto output = MakeTable({input->column(1)->chunk(0)->Slice(0, 5'000),
                                 input->column(0)->chunk(0)->Slice(5'000, 5'000),
                                 own.Int64s(5'000, 2), Value(private_memory.Finish())});
  const std::vector<ShareableRange> own_ranges = {own.range()};
  const Published second = Value(worker.PublishByReference(*output, own_ranges));
  // A slice starts at a multiple of 64 rows: 8 rows before the 5,000th are referred to as well.
  EXPECT_EQ(second.bytes.reshared_bytes, 80'000 + 8 * 8);
  EXPECT_EQ(second.bytes.new_bytes, 40'000);
  EXPECT_EQ(second.bytes.copied_bytes, 40'000);

  Handover consumer;
  const std::vector<GrantedSegment> both = {source.grant(), own.grant()};
  EXPECT_TRUE(Value(consumer.Open(Format::kSipc, second.message.get(), both))->Equals(*output));
}

TEST(HandoverTest, WhatWasCopiedIntoAMessageIsReshared) {
  std::vector<int64_t> numbers(10'000);
  auto heap = std::make_shared<arrow::Int64Array>(10'000, arrow::Buffer::Wrap(numbers));
  Handover producer;
  const Published first = Value(producer.PublishByReference(*MakeTable({heap}), {}));
  EXPECT_EQ(first.bytes.copied_bytes, 80'000);

  Handover consumer;
  const auto opened = Value(consumer.Open(Format::kSipc, first.message.get(), {}, 9));
  const Published second = Value(consumer.PublishByReference(*opened, {}));
  EXPECT_EQ(second.bytes.reshared_bytes, 80'000);
  EXPECT_EQ(second.bytes.copied_bytes, 0);

  Handover last;
  const int64_t size_bytes = Value(base::FileSize(first.message.get()));
  const std::vector<GrantedSegment> granted = {{9, size_bytes, first.message.get()}};
  const auto read = Value(last.Open(Format::kSipc, second.message.get(), granted));
  EXPECT_TRUE(read->Equals(*MakeTable({heap})));

  // One that isn't a segment can't be referred to.
  Handover other;
  const auto unknown = Value(other.Open(Format::kSipc, first.message.get(), {}));
  EXPECT_EQ(Value(other.PublishByReference(*unknown, {})).bytes.copied_bytes, 80'000);
}

// A table of many columns with few bytes each, as it comes out of a heap.
std::shared_ptr<arrow::Table> ManyColumns(int columns, int64_t rows) {
  arrow::ArrayVector arrays;
  for (int i = 0; i < columns; ++i) {
    arrow::Int64Builder builder;
    EXPECT_TRUE(builder.AppendValues(std::vector<int64_t>(rows, i)).ok());
    arrays.push_back(Value(builder.Finish()));
  }
  return MakeTable(arrays);
}

TEST(HandoverTest, AThousandSmallColumnsArePassedOnByReference) {
  for (const int64_t rows : {128, 640}) {
    const auto table = ManyColumns(1'000, rows);
    Handover producer;
    const Published first = Value(producer.PublishByReference(*table, {}));
    Handover worker;
    const auto opened = Value(worker.Open(Format::kSipc, first.message.get(), {}, 9));
    const Published second = Value(worker.PublishByReference(*opened, {}));
    EXPECT_EQ(second.bytes.reshared_bytes, 1'000 * rows * 8);
    EXPECT_EQ(second.bytes.copied_bytes, 0);
    EXPECT_LT(Value(base::FileSize(second.message.get())), 120'000) << "names and structure";
    Handover last;
    const std::vector<GrantedSegment> granted = {
        {9, Value(base::FileSize(first.message.get())), first.message.get()}};
    const auto read = Value(last.Open(Format::kSipc, second.message.get(), granted));
    EXPECT_TRUE(read->Equals(*table));
  }
}

TEST(HandoverTest, SmallBuffersDontKeepALargeSegment) {
  Chunk source(7);
  Handover producer;
  const auto made = MakeTable({source.Int64s(10'000, 0), source.Int64s(10'000, 1)});
  const std::vector<ShareableRange> source_ranges = {source.range()};
  const Published first = Value(producer.PublishByReference(*made, source_ranges));
  Handover worker;
  const std::vector<GrantedSegment> granted = {source.grant()};
  const auto input = Value(worker.Open(Format::kSipc, first.message.get(), granted));
  // As a library makes them: buffers of their own over a part of the memory.
  const auto part = [&](int64_t rows) {
    auto values = arrow::SliceBuffer(input->column(0)->chunk(0)->data()->buffers[1], 0, rows * 8);
    return std::make_shared<arrow::Int64Array>(rows, std::move(values));
  };
  const Published alone = Value(worker.PublishByReference(*MakeTable({part(100)}), {}));
  EXPECT_EQ(alone.bytes.copied_bytes, 800);
  EXPECT_EQ(alone.bytes.reshared_bytes, 0);
  // Beside a large one they cost nothing, and tiny ones stay copies.
  const auto large = input->column(1)->chunk(0)->Slice(0, 1'000);
  const auto both = arrow::Table::Make(
      arrow::schema({arrow::field("large", arrow::int64()), arrow::field("small", arrow::int64())}),
      arrow::ChunkedArrayVector{std::make_shared<arrow::ChunkedArray>(large),
                                std::make_shared<arrow::ChunkedArray>(
                                    arrow::ArrayVector{part(400), part(400), part(193), part(7)})});
  const Published beside = Value(worker.PublishByReference(*both, {}));
  EXPECT_EQ(beside.bytes.reshared_bytes, 8'000 + 400 * 8);
  EXPECT_EQ(beside.bytes.copied_bytes, 7 * 8);
}

TEST(HandoverTest, WhatIsReadIntoTheHeapIsNoReference) {
  Chunk source(7);
  Handover producer;
  const auto made = MakeTable({source.Int64s(10'000, 0), source.Int64s(10'000, 1)});
  const std::vector<ShareableRange> ranges = {source.range()};
  const Published published = Value(producer.PublishByReference(*made, ranges));
  Handover worker;
  const std::vector<GrantedSegment> granted = {source.grant()};
  const auto opened = Value(worker.Open(Format::kSipcHeap, published.message.get(), granted, 9));
  EXPECT_TRUE(opened->Equals(*made));
  EXPECT_EQ(Value(worker.PublishByReference(*opened, {})).bytes.reshared_bytes, 0);
}

TEST(HandoverTest, OpenedTablesOutliveTheHandoverAndTheDescriptors) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  std::shared_ptr<arrow::Table> opened;
  {
    Chunk chunk(7);
    const auto table = MakeTable({chunk.Int64s(10'000, 0)});
    Handover handover;
    const std::vector<ShareableRange> ranges = {chunk.range()};
    const std::vector<GrantedSegment> granted = {chunk.grant()};
    const Published published = Value(handover.PublishByReference(*table, ranges));
    opened = Value(handover.Open(Format::kSipc, published.message.get(), granted));
  }
  const auto& values = static_cast<const arrow::Int64Array&>(*opened->column(0)->chunk(0));
  EXPECT_EQ(values.Value(9'999), 9'999);
  // Inputs are mapped read-only.
  EXPECT_DEATH(const_cast<int64_t*>(values.raw_values())[0] = 1, "");
}

TEST(HandoverTest, ASegmentThatWasNotGrantedIsAnError) {
  Chunk chunk(7);
  Handover handover;
  const std::vector<ShareableRange> ranges = {chunk.range()};
  const Published published =
      Value(handover.PublishByReference(*MakeTable({chunk.Int64s(10'000, 0)}), ranges));
  EXPECT_TRUE(
      Handover().Open(Format::kSipc, published.message.get(), {}).status().IsSerializationError());
  // One that is smaller than what the message refers to.
  Chunk small(7, 4096);
  const std::vector<GrantedSegment> granted = {small.grant()};
  EXPECT_TRUE(Handover()
                  .Open(Format::kSipc, published.message.get(), granted)
                  .status()
                  .IsSerializationError());
}

TEST(HandoverTest, MalformedMessagesAreErrors) {
  const auto garbage = Value(base::MakeSealedMemfd("message", std::string(1000, 'x')));
  const auto nothing = Value(base::MakeSealedMemfd("message", ""));
  for (Format format : {Format::kSipc, Format::kArrowFile, Format::kArrowFileHeap}) {
    EXPECT_FALSE(Handover().Open(format, garbage.get(), {}).ok());
    EXPECT_FALSE(Handover().Open(format, nothing.get(), {}).ok());
  }
  EXPECT_TRUE(ParseFormat("pickle").status().IsInvalid());
}

TEST(HandoverTest, PublishByCopyIsASealedArrowStream) {
  Chunk chunk(7);
  const auto table = MakeTable({chunk.Int64s(10'000, 0)});
  Handover handover;
  const Published published = Value(handover.PublishByCopy(*table));
  EXPECT_EQ(published.format, Format::kArrowFile);
  EXPECT_TRUE(base::IsSealed(published.message.get()));
  EXPECT_EQ(published.bytes.copied_bytes, published.bytes.total());
  EXPECT_GE(published.bytes.total(), 80'000);
  for (Format format : {Format::kArrowFile, Format::kArrowFileHeap}) {
    EXPECT_TRUE(Value(Handover().Open(format, published.message.get(), {}))->Equals(*table));
  }
}

std::shared_ptr<arrow::Array> Dictionary(const std::string& indices, const std::string& values) {
  const auto type = arrow::dictionary(arrow::int8(), arrow::utf8());
  return Value(arrow::json::DictArrayFromJSONString(type, indices, values));
}

TEST(HandoverTest, PublishByCopyKeepsAnyDictionaryOfAnyChunk) {
  const auto first = Dictionary("[0, 1, null, 2]", R"(["a", null, "b"])");
  const auto second = Dictionary("[2, 1, 0]", R"([null, "b", "c"])");
  const auto again = Dictionary("[1]", R"(["a", null, "b"])");
  const auto nested = [](const std::shared_ptr<arrow::Array>& values) {
    const auto offsets = Value(arrow::json::ArrayFromJSONString(
        arrow::int32(), "[0, 0, 2, " + std::to_string(values->length()) + "]"));
    return Value(arrow::ListArray::FromArrays(*offsets, *values));
  };
  for (const arrow::ArrayVector& chunks :
       {arrow::ArrayVector{first, second, again}, arrow::ArrayVector{nested(first), nested(second)},
        arrow::ArrayVector{}}) {
    const auto type = chunks.empty() ? first->type() : chunks[0]->type();
    const auto column = std::make_shared<arrow::ChunkedArray>(chunks, type);
    const auto table = arrow::Table::Make(arrow::schema({arrow::field("d", type)}), {column});
    const Published published = Value(Handover().PublishByCopy(*table));
    for (Format format : {Format::kArrowFile, Format::kArrowFileHeap}) {
      const auto opened = Value(Handover().Open(format, published.message.get(), {}));
      EXPECT_TRUE(opened->ValidateFull().ok());
      EXPECT_TRUE(opened->Equals(*table)) << opened->ToString();
    }
  }
}

TEST(HandoverTest, TablesWithoutRowsOrColumns) {
  const auto no_rows =
      Value(arrow::Table::MakeEmpty(arrow::schema({arrow::field("a", arrow::int64())})));
  const auto no_columns = arrow::Table::Make(arrow::schema({}), arrow::ChunkedArrayVector{}, 42);
  for (const auto& table : {no_rows, no_columns}) {
    Handover handover;
    const Published referred = Value(handover.PublishByReference(*table, {}));
    const auto by_reference = Value(handover.Open(Format::kSipc, referred.message.get(), {}));
    EXPECT_EQ(by_reference->num_rows(), table->num_rows());
    EXPECT_TRUE(by_reference->schema()->Equals(*table->schema()));
    const Published copied = Value(handover.PublishByCopy(*table));
    const auto by_copy = Value(handover.Open(Format::kArrowFile, copied.message.get(), {}));
    EXPECT_EQ(by_copy->num_rows(), table->num_rows());
    EXPECT_TRUE(by_copy->schema()->Equals(*table->schema()));
  }
}

// Where the module is loaded (make test-kernel); skipped elsewhere.
class HandoverByMoving : public ::testing::TestWithParam<shm::KernelZero::Leaves> {};

TEST_P(HandoverByMoving, IsReadAsItWas) {
  if (const shm::Capability found = shm::ProbeKernelZero(); !found.available) {
    GTEST_SKIP() << found.detail;
  }
  const bool is_empty = GetParam() == shm::KernelZero::Leaves::kZeros;
  const auto make = [] {
    std::vector<int64_t> large(1'000'000), middle(2'500), small(10);
    std::iota(large.begin(), large.end(), 1);
    std::iota(middle.begin(), middle.end(), 2);
    arrow::ArrayVector chunks;
    for (auto* numbers : {&large, &middle, &small}) {
      const auto buffer = Value(arrow::Buffer::Wrap(*numbers)->CopySlice(
          0, static_cast<int64_t>(numbers->size() * sizeof(int64_t)), arrow::system_memory_pool()));
      chunks.push_back(std::make_shared<arrow::Int64Array>(numbers->size(), buffer));
    }
    // Copied, as it is small, though the memory that it is part of moves.
    const auto part = arrow::SliceBuffer(chunks[0]->data()->buffers[1], 80'000, 800);
    chunks.push_back(std::make_shared<arrow::Int64Array>(100, part));
    return arrow::Table::Make(arrow::schema({arrow::field("n", arrow::int64())}),
                              {std::make_shared<arrow::ChunkedArray>(chunks)});
  };
  const auto expected = make();
  const auto table = make();
  constexpr SegmentId kSegment = 5;
  Handover producer;
  const Published published = Value(producer.PublishByMoving(*table, kSegment, GetParam()));
  ASSERT_TRUE(published.moved.valid()) << published.not_moved;
  // The chunk of 20,000 bytes moves only where that is cheap.
  EXPECT_EQ(published.bytes.new_bytes + published.bytes.copied_bytes,
            8'000'000 + 20'000 + 80 + 800);
  EXPECT_GE(published.bytes.copied_bytes, (is_empty ? 0 : 20'000) + 80 + 800);

  Handover consumer;
  const int64_t size_bytes = Value(base::FileSize(published.moved.get()));
  const std::vector<GrantedSegment> granted = {{kSegment, size_bytes, published.moved.get()}};
  EXPECT_TRUE(
      Value(consumer.Open(Format::kSipc, published.message.get(), granted))->Equals(*expected));
  const auto& first = static_cast<const arrow::Int64Array&>(*table->column(0)->chunk(0));
  EXPECT_EQ(first.Value(500'000), is_empty ? 0 : 500'001);
}

INSTANTIATE_TEST_SUITE_P(Leaves, HandoverByMoving,
                         ::testing::Values(shm::KernelZero::Leaves::kViews,
                                           shm::KernelZero::Leaves::kZeros));

}  // namespace
}  // namespace zerrow::worker
