#include "worker/content_reshare.h"

#include <arrow/array.h>
#include <arrow/builder.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>

#include "sipc/testing/arena.h"
#include "sipc/testing/random_table.h"
#include "worker/buffer_parts.h"

namespace zerrow::worker {
namespace {

using Data = std::shared_ptr<arrow::ArrayData>;
using Tables = std::vector<std::shared_ptr<arrow::Table>>;
using sipc::testing::Arena;

std::shared_ptr<arrow::Buffer> Copied(const std::shared_ptr<arrow::Buffer>& buffer) {
  if (buffer == nullptr) return nullptr;
  auto copy = arrow::AllocateBuffer(buffer->size()).ValueOrDie();
  if (buffer->size() > 0) std::memcpy(copy->mutable_data(), buffer->data(), buffer->size());
  return copy;
}

Data Copied(const Data& data) {
  auto copy = std::make_shared<arrow::ArrayData>(*data);
  for (auto& buffer : copy->buffers) buffer = Copied(buffer);
  for (auto& child : copy->child_data) child = Copied(child);
  if (copy->dictionary != nullptr) copy->dictionary = Copied(copy->dictionary);
  return copy;
}

std::shared_ptr<arrow::ChunkedArray> Copied(const arrow::ChunkedArray& column) {
  arrow::ArrayVector chunks;
  for (const auto& chunk : column.chunks()) chunks.push_back(MakeArray(Copied(chunk->data())));
  return std::make_shared<arrow::ChunkedArray>(chunks, column.type());
}

using Visitor = std::function<void(const arrow::ArrayData&, const arrow::ArrayData&)>;

// Arrays of two tables of the same structure, in pairs.
void VisitBoth(const arrow::ArrayData& a, const arrow::ArrayData& b, const Visitor& visit) {
  visit(a, b);
  ASSERT_EQ(a.child_data.size(), b.child_data.size());
  for (size_t i = 0; i < a.child_data.size(); ++i) {
    VisitBoth(*a.child_data[i], *b.child_data[i], visit);
  }
  ASSERT_EQ(a.dictionary == nullptr, b.dictionary == nullptr);
  if (a.dictionary != nullptr) VisitBoth(*a.dictionary, *b.dictionary, visit);
}

void VisitBoth(const arrow::ChunkedArray& a, const arrow::ChunkedArray& b, const Visitor& visit) {
  ASSERT_EQ(a.num_chunks(), b.num_chunks());
  for (int i = 0; i < a.num_chunks(); ++i) {
    VisitBoth(*a.chunk(i)->data(), *b.chunk(i)->data(), visit);
  }
}

class ContentReshareTest : public ::testing::Test {
 protected:
  void SetUp() override {
    arena_ = Arena::Make(3, int64_t{1} << 30).ValueOrDie();
    arena_->AddTo(&segments_);
  }

  bool IsInput(const uint8_t* bytes) const {
    return bytes >= arena_->data() && bytes < arena_->data() + arena_->size_bytes();
  }

  template <typename Type = arrow::Int64Type>
  std::shared_ptr<arrow::Array> Numbers(int64_t count, int64_t first, arrow::MemoryPool* pool) {
    typename arrow::TypeTraits<Type>::BuilderType builder(pool);
    for (int64_t i = 0; i < count; ++i) {
      EXPECT_TRUE(builder.Append(static_cast<typename Type::c_type>(first + i)).ok());
    }
    return builder.Finish().ValueOrDie();
  }
  std::shared_ptr<arrow::Array> Texts(int64_t count, const std::string& start,
                                      arrow::MemoryPool* pool) {
    arrow::StringBuilder builder(pool);
    for (int64_t i = 0; i < count; ++i) {
      EXPECT_TRUE(builder.Append(start + std::to_string(i)).ok());
    }
    return builder.Finish().ValueOrDie();
  }
  static std::shared_ptr<arrow::Table> TableOf(const arrow::ArrayVector& columns) {
    arrow::FieldVector fields;
    for (const auto& column : columns) fields.push_back(arrow::field("c", column->type()));
    return arrow::Table::Make(arrow::schema(fields), columns);
  }
  Reshared Reshare(const std::shared_ptr<arrow::Table>& output, const Tables& inputs) {
    Reshared reshared = ReshareContent(output, inputs, segments_);
    EXPECT_TRUE(reshared.table->ValidateFull().ok());
    EXPECT_TRUE(reshared.table->Equals(*output, /*check_metadata=*/true));
    return reshared;
  }

  std::unique_ptr<Arena> arena_;
  sipc::AddressMap segments_;
  arrow::MemoryPool* heap_ = arrow::default_memory_pool();
};

TEST_F(ContentReshareTest, WhatWasCopiedIsTheInputsAgain) {
  const auto input = TableOf({Numbers(10'000, 0, arena_.get()), Texts(10'000, "x", arena_.get())});
  const auto numbers = Numbers(10'000, 0, heap_);
  const auto texts = Texts(10'000, "x", heap_);
  const auto reshared = Reshare(TableOf({texts, numbers, Numbers(10'000, 1, heap_)}), {input});
  EXPECT_EQ(reshared.table->column(0)->chunk(0)->data()->buffers[2]->data(),
            input->column(1)->chunk(0)->data()->buffers[2]->data());
  EXPECT_EQ(reshared.table->column(1)->chunk(0)->data()->buffers[1]->data(),
            input->column(0)->chunk(0)->data()->buffers[1]->data());
  EXPECT_FALSE(IsInput(reshared.table->column(2)->chunk(0)->data()->buffers[1]->data()));
  const auto& data = *texts->data();
  const int64_t text_bytes = static_cast<const arrow::StringArray&>(*texts).total_values_length();
  EXPECT_EQ(reshared.bytes, 80'000 + 4 * (data.length + 1) + text_bytes);
}

TEST_F(ContentReshareTest, AnInputsOwnMemoryIsLeftAlone) {
  const auto input = TableOf({Numbers(10'000, 0, arena_.get()), Numbers(10'000, 0, arena_.get())});
  const auto reshared = Reshare(input, {input});
  EXPECT_EQ(reshared.table, input);
  EXPECT_EQ(reshared.bytes, 0);
  EXPECT_EQ(CountDuplicateBytes(input, Tables{input}), 0);
}

TEST_F(ContentReshareTest, OnlySegmentsAreReferredToButAllDuplicatesCounted) {
  const auto input = TableOf({Numbers(10'000, 0, heap_), Numbers(10, 0, heap_)->Slice(0, 0)});
  const auto output = TableOf({Numbers(10'000, 0, heap_), Numbers(10'000, 2, heap_)});
  EXPECT_EQ(Reshare(output, {input}).bytes, 0);
  EXPECT_EQ(CountDuplicateBytes(output, Tables{input}), 80'000);
  EXPECT_EQ(CountDuplicateBytes(output, {}), 0);
}

TEST_F(ContentReshareTest, BytesDecideNotTypes) {
  const auto input = TableOf({Numbers(10'000, 0, arena_.get())});
  const auto times = Numbers<arrow::UInt64Type>(10'000, 0, heap_)
                         ->View(arrow::timestamp(arrow::TimeUnit::NANO))
                         .ValueOrDie();
  const auto reshared = Reshare(TableOf({times}), {input});
  EXPECT_EQ(reshared.bytes, 80'000);
  EXPECT_TRUE(reshared.table->schema()->field(0)->type()->Equals(times->type()));
}

TEST_F(ContentReshareTest, OfSlicesTheUsedRowsCount) {
  const auto all = Numbers(30'000, 0, arena_.get());
  // An input's slice that was copied, and one behind rows that it doesn't share.
  const auto input = TableOf({all->Slice(1'000, 10'000)});
  EXPECT_EQ(Reshare(TableOf({Numbers(10'000, 1'000, heap_)}), {input}).bytes, 80'000);
  auto behind = Numbers(10'500, 500, heap_);
  std::memset(const_cast<uint8_t*>(behind->data()->buffers[1]->data()), 9, 8);
  EXPECT_EQ(Reshare(TableOf({behind->Slice(500)}), {input}).bytes, 80'000);
  // Other rows of the same bytes: nothing lies that far in front of them.
  auto wide = Numbers(10'000, 1'000, arena_.get())->data()->Copy();
  wide->type = arrow::fixed_size_binary(16);
  wide->length = 5'000;
  const auto at_start = TableOf({arrow::MakeArray(wide)});
  EXPECT_EQ(Reshare(TableOf({behind->Slice(500)}), {at_start}).bytes, 0);
  EXPECT_EQ(Reshare(TableOf({Numbers(10'000, 1'000, heap_)}), {at_start}).bytes, 80'000);
}

TEST_F(ContentReshareTest, OfTheLastByteOnlyUsedBitsCount) {
  const auto bits = [&](arrow::MemoryPool* pool, bool last) {
    arrow::BooleanBuilder builder(pool);
    for (int i = 0; i < 80'003; ++i) EXPECT_TRUE(builder.Append(i % 3 == 0).ok());
    EXPECT_TRUE(builder.Append(last).ok());
    return builder.Finish().ValueOrDie();
  };
  const auto input = TableOf({bits(arena_.get(), true)->Slice(0, 80'003)});
  EXPECT_EQ(Reshare(TableOf({bits(heap_, false)->Slice(0, 80'003)}), {input}).bytes, 10'001);
  const auto whole = TableOf({bits(arena_.get(), true)});
  EXPECT_EQ(Reshare(TableOf({bits(heap_, false)}), {whole}).bytes, 0);
  EXPECT_EQ(Reshare(TableOf({bits(heap_, true)}), {whole}).bytes, 10'001);
}

TEST_F(ContentReshareTest, WhatIsReadAsNumbersStaysAligned) {
  const auto bytes = Numbers<arrow::UInt8Type>(80'001, 0, arena_.get());
  const auto input = TableOf({bytes->Slice(1)});
  auto memory = Copied(arrow::SliceBuffer(bytes->data()->buffers[1], 1, 80'000));
  const auto numbers = arrow::MakeArray(
      arrow::ArrayData::Make(arrow::int64(), 10'000, {nullptr, std::move(memory)}, 0));
  EXPECT_EQ(Reshare(TableOf({numbers}), {input}).bytes, 0);
}

// Columns that differ where no sample is taken.
TEST_F(ContentReshareTest, NearlyEqualIsNotEqual) {
  arrow::ArrayVector inputs;
  for (int i = 0; i < 5; ++i) {
    inputs.push_back(Numbers(10'000, 0, arena_.get()));
    const auto& values = inputs.back()->data()->buffers[1];
    reinterpret_cast<int64_t*>(const_cast<uint8_t*>(values->data()))[100 + i] = -1;
  }
  const auto input = TableOf(inputs);
  EXPECT_EQ(Reshare(TableOf({Numbers(10'000, 0, heap_)}), {input}).bytes, 0);
}

// An array that says more than its buffers have is nobody's here: publishing refuses it.
TEST_F(ContentReshareTest, TooShortBuffersAreLeftAlone) {
  const auto input = TableOf({Numbers(10'000, 0, arena_.get())});
  const auto numbers = Numbers(10'000, 0, heap_)->data()->Copy();
  numbers->length = 1'000'000;
  const auto text = Texts(10'000, "", heap_)->data()->Copy();
  text->buffers[2] = nullptr;
  const auto far = numbers->Copy();
  far->offset = INT64_MAX / 2;
  const auto output =
      TableOf({arrow::MakeArray(numbers), arrow::MakeArray(text), arrow::MakeArray(far)});
  EXPECT_EQ(ReshareContent(output, Tables{input}, segments_).table, output);
}

// Changes a used byte of a value that is any bytes, if the column has one.
bool ChangeOneByte(const arrow::ChunkedArray& column, std::mt19937_64& random) {
  if (column.num_chunks() == 0 || !arrow::is_integer(column.type()->id())) return false;
  const auto& data = *column.chunk(static_cast<int>(random() % column.num_chunks()))->data();
  const auto parts = BufferPartsOf(data);
  if (parts.empty() || parts.back().buffer != 1 || parts.back().size.bytes == 0) return false;
  const int64_t at = parts.back().begin + static_cast<int64_t>(random() % parts.back().size.bytes);
  const_cast<uint8_t*>(data.buffers[1]->data())[at] ^= 1;
  return true;
}

// An input in chunks, and outputs in other ones.
TEST_F(ContentReshareTest, RowsAreFoundInOtherChunks) {
  const auto numbers = Numbers(100'000, 0, arena_.get());
  const auto texts = Texts(100'000, "x", arena_.get());
  const auto input = TableOf({numbers, texts});
  const auto copies = TableOf({Numbers(100'000, 0, heap_), Texts(100'000, "x", heap_)});
  // Smaller ones lie in one of the input's each.
  arrow::TableBatchReader reader(*copies);
  reader.set_chunksize(30'000);
  const auto small = reader.ToTable().ValueOrDie()->SelectColumns({1, 0}).ValueOrDie();
  Tables parts;
  for (int64_t at = 0; at < 100'000; at += 25'000) parts.push_back(input->Slice(at, 25'000));
  const auto chunked = arrow::ConcatenateTables(parts).ValueOrDie();
  const int64_t text_bytes = static_cast<const arrow::StringArray&>(*texts).total_values_length();
  const auto by_column = Reshare(small, {input});
  EXPECT_EQ(by_column.bytes, 800'000 + 4 * (100'000 + 4) + text_bytes);
  EXPECT_EQ(by_column.table->column(0)->num_chunks(), 4);

  // Joined ones must be split for that.
  EXPECT_EQ(Reshare(copies, {chunked}).table, copies);
  const auto split = ReshareContent(copies, Tables{chunked}, segments_, /*split=*/true);
  EXPECT_TRUE(split.table->Equals(*copies));
  EXPECT_EQ(split.table->column(0)->num_chunks(), 4);
  EXPECT_EQ(split.bytes, 800'000 + 4 * (100'000 + 4) + text_bytes);
}

TEST_F(ContentReshareTest, OfSplitRowsOnlyEqualOnesAreTheInputs) {
  const auto numbers = Numbers(100'000, 0, arena_.get());
  const arrow::ArrayVector chunks = {numbers->Slice(0, 50'001), numbers->Slice(50'001)};
  const auto column = std::make_shared<arrow::ChunkedArray>(chunks);
  const auto schema = arrow::schema({arrow::field("c", arrow::int64())});
  const auto changed = Numbers(100'000, 0, heap_);
  const_cast<uint8_t*>(changed->data()->buffers[1]->data())[8 * 70'000] ^= 1;
  const Tables inputs = {arrow::Table::Make(schema, {column})};
  const auto output = TableOf({changed});
  const auto reshared = ReshareContent(output, inputs, segments_, /*split=*/true);
  EXPECT_TRUE(reshared.table->Equals(*output));
  EXPECT_EQ(reshared.bytes, 8 * 50'001);
}

// The same values in chunks of other sizes, copied.
std::shared_ptr<arrow::ChunkedArray> Rechunked(const arrow::ChunkedArray& column,
                                               std::mt19937_64& random) {
  const auto whole = arrow::Concatenate(column.chunks()).ValueOrDie();
  arrow::ArrayVector chunks;
  for (int64_t row = 0; row < whole->length();) {
    const auto most = static_cast<uint64_t>(whole->length() - row);
    const auto count = static_cast<int64_t>(1 + random() % most);
    chunks.push_back(arrow::MakeArray(Copied(whole->Slice(row, count)->data())));
    row += count;
  }
  return std::make_shared<arrow::ChunkedArray>(chunks, column.type());
}

TEST_F(ContentReshareTest, RandomChunksKeepEachByte) {
  const std::vector<std::shared_ptr<arrow::DataType>> types = {
      arrow::int8(),    arrow::int64(), arrow::float64(),
      arrow::boolean(), arrow::utf8(),  arrow::large_binary()};
  const char* only = std::getenv("ZERROW_CONTENT_SEED");
  const uint64_t first = only != nullptr ? std::strtoull(only, nullptr, 10) : 0;
  int64_t reshared_bytes = 0;
  for (uint64_t seed = first; seed < (only != nullptr ? first + 1 : 300); ++seed) {
    SCOPED_TRACE("ZERROW_CONTENT_SEED=" + std::to_string(seed));
    std::mt19937_64 random(seed);
    sipc::testing::RandomTableOptions options;
    options.pools = {arena_.get()};
    sipc::testing::RandomTables arrays(seed, options);
    const auto& type = types[random() % types.size()];
    arrow::ArrayVector chunks;
    for (auto count = 1 + random() % 3; count > 0; --count) {
      const auto rows = static_cast<int64_t>(random() % 100'000);
      chunks.push_back(arrow::MakeArray(arrays.Array(type, rows)));
    }
    const auto column = std::make_shared<arrow::ChunkedArray>(chunks, type);
    const auto schema = arrow::schema({arrow::field("c", type)});
    const Tables inputs = {arrow::Table::Make(schema, {column})};
    const auto copy = Rechunked(*column, random);
    if (random() % 2 == 0) ChangeOneByte(*copy, random);
    const auto output = arrow::Table::Make(schema, {copy});
    const auto reshared = ReshareContent(output, inputs, segments_, random() % 2 == 0);
    reshared_bytes += reshared.bytes;
    ASSERT_TRUE(reshared.table->ValidateFull().ok());
    if (column->length() == 0) continue;
    const auto mine = arrow::Concatenate(reshared.table->column(0)->chunks()).ValueOrDie();
    const auto was = arrow::Concatenate(copy->chunks()).ValueOrDie();
    ASSERT_EQ(mine->null_count(), was->null_count());
    for (const BufferPart& part : BufferPartsOf(*was->data())) {
      if (part.buffer == 0 && was->null_count() == 0) continue;
      ASSERT_EQ(std::memcmp(mine->data()->buffers[part.buffer]->data(),
                            was->data()->buffers[part.buffer]->data(),
                            static_cast<size_t>(part.size.bytes)),
                0);
    }
  }
  EXPECT_TRUE(only != nullptr || reshared_bytes > 1 << 20);
}

TEST_F(ContentReshareTest, RandomTablesKeepEachByte) {
  const char* only = std::getenv("ZERROW_CONTENT_SEED");
  const uint64_t first = only != nullptr ? std::strtoull(only, nullptr, 10) : 0;
  int64_t reshared_bytes = 0;
  int changed = 0;
  for (uint64_t seed = first; seed < (only != nullptr ? first + 1 : 200); ++seed) {
    SCOPED_TRACE("ZERROW_CONTENT_SEED=" + std::to_string(seed));
    std::mt19937_64 random(seed);
    sipc::testing::RandomTableOptions options;
    options.max_rows = 20'000;
    options.max_depth = 3;
    options.pools = {arena_.get()};
    sipc::testing::RandomTables tables(seed, options);
    const auto input = tables.Table();
    // Columns that are passed on, copied, or copied and then changed; in another order.
    arrow::FieldVector fields;
    arrow::ChunkedArrayVector columns;
    std::vector<bool> found_whole;
    for (int i = input->num_columns() - 1; i >= 0; --i) {
      const auto choice = random() % 3;
      fields.push_back(input->schema()->field(i));
      columns.push_back(choice == 0 ? input->column(i) : Copied(*input->column(i)));
      const bool change = choice == 2 && ChangeOneByte(*columns.back(), random);
      found_whole.push_back(!change);
      changed += change ? 1 : 0;
    }
    const auto output = arrow::Table::Make(arrow::schema(fields), columns, input->num_rows());
    const auto reshared = ReshareContent(output, Tables{input}, segments_);
    reshared_bytes += reshared.bytes;
    ASSERT_TRUE(reshared.table->ValidateFull().ok());
    for (int i = 0; i < output->num_columns(); ++i) {
      VisitBoth(
          *reshared.table->column(i), *output->column(i), [&](const auto& mine, const auto& was) {
            const auto parts = BufferPartsOf(was);
            ASSERT_EQ(BufferPartsOf(mine).size(), parts.size());
            for (const BufferPart& part : parts) {
              const uint8_t* bytes = mine.buffers[part.buffer]->data() + part.begin;
              const uint8_t* expected = was.buffers[part.buffer]->data() + part.begin;
              ASSERT_EQ(std::memcmp(bytes, expected, static_cast<size_t>(part.size.bytes)), 0);
              EXPECT_TRUE(IsInput(bytes) || part.size.bytes < 4096 || !found_whole[i]);
            }
          });
    }
  }
  if (only == nullptr) {
    EXPECT_GT(reshared_bytes, 1 << 20);
    EXPECT_GT(changed, 20);
  }
}

}  // namespace
}  // namespace zerrow::worker
