#include "worker/content_hash.h"

#include <arrow/array/array_dict.h>
#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>
#include <arrow/json/from_string.h>
#include <arrow/util/key_value_metadata.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

#include "sipc/testing/random_table.h"

namespace zerrow::worker {
namespace {

using arrow::Array;
using ArrayPtr = std::shared_ptr<Array>;
using TablePtr = std::shared_ptr<arrow::Table>;

std::string HashOf(const TablePtr& table) {
  const auto hash = HashContent(*table);
  EXPECT_TRUE(hash.ok()) << hash.status().ToString();
  return hash.ok() ? ToString(*hash) : "";
}

TablePtr TableOf(arrow::ArrayVector chunks,
                 std::shared_ptr<arrow::KeyValueMetadata> metadata = {}) {
  auto field = arrow::field("a", chunks[0]->type(), true, std::move(metadata));
  auto column = std::make_shared<arrow::ChunkedArray>(std::move(chunks));
  return arrow::Table::Make(arrow::schema({field}), {column});
}
std::string HashOf(const ArrayPtr& array) { return HashOf(TableOf({array})); }

template <typename Builder, typename Value>
ArrayPtr ArrayOf(const std::vector<std::optional<Value>>& values) {
  Builder builder;
  for (const auto& value : values) {
    EXPECT_TRUE((value ? builder.Append(*value) : builder.AppendNull()).ok());
  }
  return builder.Finish().ValueOrDie();
}
ArrayPtr Int64s(const std::vector<std::optional<int64_t>>& values) {
  return ArrayOf<arrow::Int64Builder>(values);
}
ArrayPtr Doubles(const std::vector<std::optional<double>>& values) {
  return ArrayOf<arrow::DoubleBuilder>(values);
}
ArrayPtr Texts(const std::vector<std::optional<std::string>>& values) {
  return ArrayOf<arrow::StringBuilder>(values);
}
ArrayPtr Dictionary(const std::vector<std::optional<int64_t>>& indices, ArrayPtr values) {
  auto type = arrow::dictionary(arrow::int64(), values->type());
  return arrow::DictionaryArray::FromArrays(type, Int64s(indices), std::move(values)).ValueOrDie();
}
ArrayPtr Json(const std::shared_ptr<arrow::DataType>& type, std::string_view text) {
  return arrow::json::ArrayFromJSONString(type, text).ValueOrDie();
}

TablePtr ThroughIpc(const arrow::Table& table) {
  auto sink = arrow::io::BufferOutputStream::Create().ValueOrDie();
  auto writer = arrow::ipc::MakeStreamWriter(sink, table.schema()).ValueOrDie();
  EXPECT_TRUE(writer->WriteTable(table).ok());
  EXPECT_TRUE(writer->Close().ok());
  arrow::io::BufferReader source(sink->Finish().ValueOrDie());
  return arrow::ipc::RecordBatchStreamReader::Open(&source).ValueOrDie()->ToTable().ValueOrDie();
}

class RandomContent : public ::testing::TestWithParam<int> {
 protected:
  TablePtr Cut(const TablePtr& table) {
    std::vector<TablePtr> parts;
    for (int64_t row = 0; row < table->num_rows();) {
      const auto rows =
          std::uniform_int_distribution<int64_t>(1, 1 + table->num_rows() / 3)(random_);
      parts.push_back(table->Slice(row, rows));
      row += rows;
    }
    // Without columns the rows would be lost.
    if (parts.empty() || table->num_columns() == 0) return table;
    return arrow::ConcatenateTables(parts).ValueOrDie();
  }
  std::mt19937_64 random_{static_cast<uint64_t>(GetParam())};
};

TEST_P(RandomContent, DoesNotDependOnItsMemory) {
  sipc::testing::RandomTables tables(static_cast<uint64_t>(GetParam()), {});
  std::set<std::string> hashes;
  for (int i = 0; i < 10; ++i) {
    const TablePtr table = tables.Table();
    const std::string hash = HashOf(table);
    EXPECT_EQ(HashOf(table), hash);
    EXPECT_EQ(HashOf(Cut(table)), hash) << table->schema()->ToString();
    EXPECT_EQ(HashOf(ThroughIpc(*table)), hash) << table->schema()->ToString();
    EXPECT_EQ(HashOf(Cut(ThroughIpc(*table))), hash) << table->schema()->ToString();
    if (table->num_rows() == 0 || table->num_columns() == 0) continue;
    EXPECT_NE(HashOf(table->Slice(0, table->num_rows() - 1)), hash);
    EXPECT_NE(HashOf(table->RemoveColumn(0).ValueOrDie()), hash);
    hashes.insert(hash);
  }
  EXPECT_GT(hashes.size(), 4u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomContent, ::testing::Range(0, 60));

TEST(ContentHash, EachOfTheseIsAnotherContent) {
  const double nan = std::nan("1");
  const auto lists = arrow::list(arrow::int32());
  const auto structs = arrow::struct_({arrow::field("x", arrow::int32())});
  const std::vector<ArrayPtr> arrays = {
      Int64s({}),
      Int64s({1}),
      Int64s({1, 2}),
      Int64s({2, 1}),
      Int64s({1, 2, 2}),
      Int64s({1, {}}),
      Int64s({{}, 1}),
      Int64s({0, 1}),
      Int64s({{}, {}}),
      Doubles({0.0}),
      Doubles({-0.0}),
      Doubles({nan}),
      Doubles({std::nan("2")}),
      Doubles({}),
      Texts({"ab", "c"}),
      Texts({"a", "bc"}),
      Texts({"", {}}),
      Texts({{}, ""}),
      Texts({"", ""}),
      Json(arrow::int32(), "[1, 2]"),
      Json(arrow::uint32(), "[1, 2]"),
      Json(arrow::large_utf8(), R"(["ab", "c"])"),
      Json(arrow::utf8_view(), R"(["ab", "c"])"),
      Json(arrow::binary(), R"(["ab", "c"])"),
      Json(arrow::boolean(), "[true, false]"),
      Json(arrow::boolean(), "[false, true]"),
      Json(arrow::null(), "[null]"),
      Json(arrow::null(), "[null, null]"),
      Json(lists, "[[1], [2, 3]]"),
      Json(lists, "[[1, 2], [3]]"),
      Json(lists, "[[1, 2, 3], []]"),
      Json(lists, "[[1, 2, 3], null]"),
      Json(lists, "[[1, 2, null], null]"),
      Json(arrow::large_list(arrow::int32()), "[[1], [2, 3]]"),
      Json(arrow::list_view(arrow::int32()), "[[1], [2, 3]]"),
      Json(arrow::list_view(arrow::int32()), "[[1, 2], [3]]"),
      Json(structs, R"([{"x": null}])"),
      Json(structs, "[null]"),
      Json(structs, R"([{"x": 1}])"),
      Dictionary({0, 1}, Texts({"ab", "c"})),
      Dictionary({1, 0}, Texts({"ab", "c"})),
      Dictionary({0, {}}, Texts({"ab", "c"})),
  };
  std::map<std::string, size_t> seen;
  for (size_t i = 0; i < arrays.size(); ++i) {
    const auto [known, is_new] = seen.emplace(HashOf(arrays[i]), i);
    EXPECT_TRUE(is_new) << arrays[known->second]->ToString() << " and " << arrays[i]->ToString();
  }
}

TEST(ContentHash, NamesAndNullabilityCountMetadataDoesNot) {
  const TablePtr table = TableOf({Int64s({1})});
  const auto with = [&](const std::shared_ptr<arrow::Field>& field) {
    return HashOf(arrow::Table::Make(arrow::schema({field}), table->columns()));
  };
  EXPECT_NE(with(arrow::field("b", arrow::int64())), HashOf(table));
  EXPECT_NE(with(arrow::field("a", arrow::int64(), false)), HashOf(table));
  const auto metadata = arrow::key_value_metadata({{"made", "today"}});
  EXPECT_EQ(with(arrow::field("a", arrow::int64(), true, metadata)), HashOf(table));
  EXPECT_EQ(HashOf(table->ReplaceSchemaMetadata(metadata)), HashOf(table));
}

TEST(ContentHash, WhatLiesBehindNullsDoesNotCount) {
  const auto behind = [](int64_t value) {
    const ArrayPtr array = Int64s({1, {}, 3});
    auto data = array->data()->Copy();
    auto values = arrow::Buffer::FromVector(std::vector<int64_t>{1, value, 3});
    data->buffers[1] = values;
    return HashOf(arrow::MakeArray(data));
  };
  EXPECT_EQ(behind(5), behind(6));
  EXPECT_EQ(behind(5), HashOf(Int64s({1, {}, 3})));

  // A list that is null and has rows all the same, among them a text.
  const ArrayPtr lists = Json(arrow::list(arrow::utf8()), R"([["a"], ["hidden"], ["b"]])");
  auto data = lists->data()->Copy();
  data->buffers[0] = arrow::Buffer::FromVector(std::vector<uint8_t>{0b101});
  data->null_count = 1;
  EXPECT_EQ(HashOf(arrow::MakeArray(data)),
            HashOf(Json(arrow::list(arrow::utf8()), R"([["a"], null, ["b"]])")));
}

TEST(ContentHash, ABitmapOfNoNullsIsNone) {
  auto data = Int64s({1, 2})->data()->Copy();
  data->buffers[0] = arrow::Buffer::FromVector(std::vector<uint8_t>{0xff});
  data->null_count = arrow::kUnknownNullCount;
  EXPECT_EQ(HashOf(arrow::MakeArray(data)), HashOf(Int64s({1, 2})));
}

TEST(ContentHash, OfADictionaryWhatItsIndicesMeanCounts) {
  const ArrayPtr one = Dictionary({0, 1, {}, 0}, Texts({"x", "y"}));
  const ArrayPtr other = Dictionary({3, 2, {}, 3}, Texts({"z", "unused", "y", "x"}));
  EXPECT_EQ(HashOf(one), HashOf(other));
  EXPECT_EQ(HashOf(TableOf({one, other})), HashOf(TableOf({other, one})));
}

TEST(ContentHash, AMarkedDictionaryIsThePlainTextThatItStandsFor) {
  const ArrayPtr plain = Texts({"x", "y", {}, "x"});
  const ArrayPtr encoded = Dictionary({0, 1, {}, 0}, Texts({"x", "y"}));
  const auto mark = arrow::key_value_metadata({{"zerrow:dictionary", "auto"}});
  EXPECT_EQ(HashOf(TableOf({encoded}, mark)), HashOf(plain));
  EXPECT_EQ(HashOf(TableOf({encoded, encoded->Slice(1)}, mark)),
            HashOf(TableOf({plain, plain->Slice(1)})));
  EXPECT_NE(HashOf(encoded), HashOf(plain));
}

TEST(ContentHash, RunsOfEqualValuesMayBeCutAnywhere) {
  const auto type = arrow::run_end_encoded(arrow::int32(), arrow::int64());
  const auto runs = [&](std::string_view ends, std::vector<std::optional<int64_t>> values) {
    auto data = arrow::ArrayData::Make(type, 5, {nullptr}, 0);
    data->child_data = {Json(arrow::int32(), ends)->data(), Int64s(values)->data()};
    return arrow::MakeArray(data);
  };
  const ArrayPtr whole = runs("[3, 5]", {7, 8});
  EXPECT_EQ(HashOf(runs("[1, 3, 4, 5]", {7, 7, 8, 8})), HashOf(whole));
  EXPECT_EQ(HashOf(TableOf({whole->Slice(0, 2), whole->Slice(2)})), HashOf(whole));
  EXPECT_NE(HashOf(runs("[2, 5]", {7, 8})), HashOf(whole));
}

TEST(ContentHash, WhatRefersOutsideIsAnError) {
  auto data = Texts({"abc", "def"})->data()->Copy();
  data->buffers[1] = arrow::Buffer::FromVector(std::vector<int32_t>{0, 5, 3});
  EXPECT_TRUE(HashContent(*TableOf({arrow::MakeArray(data)})).status().IsInvalid());
  auto indices = Dictionary({0, 1}, Texts({"x", "y"}))->data()->Copy();
  for (const int64_t index : {int64_t{2}, int64_t{-1}, INT64_MAX}) {
    indices->buffers[1] = arrow::Buffer::FromVector(std::vector<int64_t>{0, index});
    EXPECT_TRUE(HashContent(*TableOf({arrow::MakeArray(indices)})).status().IsInvalid());
  }
}

TEST(ContentHash, IsWrittenInThirtyTwoDigits) {
  EXPECT_EQ(ToString(ContentHash{0xab, 0x1}), "000000000000000100000000000000ab");
}

}  // namespace
}  // namespace zerrow::worker
