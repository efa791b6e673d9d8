// What operators and text functions leave where it is.
#include <arrow/compute/initialize.h>
#include <gtest/gtest.h>

#include "worker/operators/dictionaries.h"
#include "worker/operators/operators.h"
#include "worker/operators/testing/forms.h"
#include "worker/operators/text_functions.h"
#include "worker/operators/view_kernels.h"

namespace zerrow::worker {
namespace {

using namespace testing;  // NOLINT

class KeptMemoryTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    ASSERT_TRUE(cp::Initialize().ok());
    ASSERT_TRUE(RegisterViewKernels().ok());
    ASSERT_TRUE(RegisterTextFunctions().ok());
  }
};

using ArrayPtr = std::shared_ptr<arrow::Array>;

ArrayPtr Encoded(const std::vector<int>& indices, const Texts& values) {
  arrow::Int32Builder builder;
  Must(builder.AppendValues(indices));
  return Value(arrow::DictionaryArray::FromArrays(Value(builder.Finish()),
                                                  MakeArray<arrow::StringBuilder>(values)));
}

TablePtr TableOf(arrow::ArrayVector chunks) {
  const auto column = std::make_shared<arrow::ChunkedArray>(std::move(chunks));
  return arrow::Table::Make(arrow::schema({arrow::field("x", column->type())}), {column});
}

const DataPtr& DictionaryOf(const TablePtr& table, int chunk = 0) {
  return table->column(0)->chunk(chunk)->data()->dictionary;
}

ArrayPtr Call(const std::string& function, const ArrayPtr& array) {
  return Value(cp::CallFunction(function, {array})).make_array();
}

TEST_F(KeptMemoryTest, SortTakeAndFilterKeepTheDictionary) {
  const auto column = Encoded({1, 0, 1, 2}, {"b", "a", "c"});
  const auto table = TableOf({column, column->Slice(1, 2)});
  const auto sorted = Value(SortTable(table, {{"x"}}));
  EXPECT_TRUE(SameMemory(*DictionaryOf(sorted), *column->data()->dictionary));
  const auto rows = std::make_shared<arrow::ChunkedArray>(Random(1).Rows(5, 6));
  const auto taken = Value(TakeTable(table, rows));
  EXPECT_TRUE(SameMemory(*DictionaryOf(taken), *column->data()->dictionary));
  const auto text = cp::call("cast", {cp::field_ref("x")}, cp::CastOptions::Safe(arrow::utf8()));
  const auto kept = Value(FilterTable(table, cp::not_equal(text, cp::literal("a"))));
  EXPECT_TRUE(SameMemory(*DictionaryOf(kept), *column->data()->dictionary));
}

TEST_F(KeptMemoryTest, TheNewestVersionOfADictionaryServesAllChunks) {
  const auto newest = Encoded({3, 0}, {"b", "a", std::nullopt, "d"});
  const auto before = Encoded({1, 1}, {"b", "a", std::nullopt});
  const auto column = Value(ShareDictionaries(TableOf({before, newest})->column(0)));
  EXPECT_TRUE(SameMemory(*column->chunk(0)->data()->dictionary, *newest->data()->dictionary));
  EXPECT_EQ(column->chunk(0)->data()->buffers[1], before->data()->buffers[1]);
  EXPECT_EQ(column->chunk(1)->data()->buffers[1], newest->data()->buffers[1]);
}

TEST_F(KeptMemoryTest, ChunksWithTooManyValuesForTheirIndicesGetWiderOnes) {
  arrow::ArrayVector chunks;
  for (int i = 0; i < 2; ++i) {
    Texts values;
    for (int k = 0; k < 100; ++k) values.emplace_back(std::to_string(i * 100 + k));
    chunks.push_back(
        Random(7).Dictionary(50, MakeArray<arrow::StringBuilder>(values), arrow::int8()));
  }
  const auto table = TableOf(chunks);
  const auto sorted = Value(SortTable(table, {{"x"}}));
  ASSERT_TRUE(sorted->ValidateFull().ok());
  EXPECT_TRUE(
      sorted->schema()->field(0)->type()->Equals(arrow::dictionary(arrow::int32(), arrow::utf8())));
  const auto nested = Value(arrow::StructArray::Make({chunks[0]}, std::vector<std::string>{"x"}));
  const auto other = Value(arrow::StructArray::Make({chunks[1]}, std::vector<std::string>{"x"}));
  EXPECT_TRUE(ShareDictionaries(TableOf({nested, other})->column(0)).status().IsInvalid());
}

TEST_F(KeptMemoryTest, ConcatKeepsAllThatHasTheTypeAlready) {
  const auto first = Encoded({0, 1}, {"a", "b"});
  const auto second = Encoded({1, 0}, {"c", "b"});
  const auto texts = MakeArray<arrow::StringBuilder>({"x", std::nullopt});
  const auto joined = Value(
      ConcatTables({{"a", TableOf({first})}, {"b", TableOf({second})}, {"c", TableOf({texts})}}));
  EXPECT_EQ(joined->column(0)->chunk(0)->data()->buffers, first->data()->buffers);
  EXPECT_EQ(joined->column(0)->chunk(1)->data()->buffers, second->data()->buffers);
  EXPECT_TRUE(SameMemory(*DictionaryOf(joined, 1), *second->data()->dictionary));
  // Other indices: still the same dictionary.
  const auto narrow = Random(3).Dictionary(4, texts, arrow::int8());
  const auto mixed = Value(ConcatTables({{"a", TableOf({first})}, {"b", TableOf({narrow})}}));
  EXPECT_TRUE(SameMemory(*DictionaryOf(mixed, 1), *narrow->data()->dictionary));
}

TEST_F(KeptMemoryTest, ConcatRefusesWhatDoesNotFit) {
  const auto texts = TableOf({MakeArray<arrow::StringBuilder>({"x"})});
  const auto numbers = TableOf({Random(1).Rows(3, 3)});
  const auto renamed = Value(texts->RenameColumns({"y"}));
  const auto both = Value(texts->AddColumn(1, arrow::field("y", arrow::utf8()), texts->column(0)));
  const auto status = [&](const TablePtr& other) {
    return ConcatTables({{"a", texts}, {"b", other}}).status();
  };
  EXPECT_TRUE(status(numbers).IsTypeError());
  EXPECT_EQ(status(numbers).message(), "column 'x' is string in 'a' and int64 in 'b'");
  EXPECT_EQ(status(renamed).message(), "column 'x' of 'a' is there 0 times in 'b'");
  EXPECT_EQ(status(both).message(), "column 'y' of 'b' isn't in 'a'");
  EXPECT_TRUE(ConcatTables({}).status().IsInvalid());
}

// Where a condition fails for a value that no row has, it fails for no row.
TEST_F(KeptMemoryTest, AConditionIsThatOfTheRows) {
  const auto table = TableOf({Encoded({0, 0, 0}, {"1", "x"})});
  const auto text = cp::call("cast", {cp::field_ref("x")}, cp::CastOptions::Safe(arrow::utf8()));
  const auto number = cp::call("cast", {text}, cp::CastOptions::Safe(arrow::int64()));
  EXPECT_EQ(Value(FilterTable(table, cp::equal(number, cp::literal(1))))->num_rows(), 3);
  const auto with_x = TableOf({Encoded({0, 1, 0}, {"1", "x"})});
  EXPECT_TRUE(FilterTable(with_x, cp::equal(number, cp::literal(1))).status().IsInvalid());
}

TEST_F(KeptMemoryTest, TakeChecksItsRows) {
  const auto table = TableOf({Encoded({0}, {"a"})});
  const auto rows = std::make_shared<arrow::ChunkedArray>(
      arrow::ArrayVector{Value(arrow::MakeArrayFromScalar(arrow::Int64Scalar(1), 1))});
  EXPECT_TRUE(TakeTable(table, rows).status().IsIndexError());
  EXPECT_TRUE(TakeTable(table, table->column(0)).status().IsTypeError());
}

TEST_F(KeptMemoryTest, UpperOfADictionaryKeepsTheIndices) {
  const auto column = Encoded({1, 0, 1}, {"b", "a"})->Slice(1);
  const auto upper = Call("zerrow_upper", column);
  EXPECT_EQ(upper->data()->buffers, column->data()->buffers);
  EXPECT_EQ(upper->offset(), 1);
  EXPECT_TRUE(arrow::MakeArray(upper->data()->dictionary)
                  ->Equals(MakeArray<arrow::StringBuilder>({"B", "A"})));
  // Values that become equal are one value: then there are new indices.
  const auto merged = Call("zerrow_upper", Encoded({1, 0, 1}, {"b", "B"}));
  EXPECT_EQ(merged->data()->dictionary->length, 1);
}

TEST_F(KeptMemoryTest, ADictionaryOfManyChunksIsComputedOnce) {
  const auto column = Encoded({1, 0, 1, 1}, {"b", "B"});
  const auto chunks = TableOf({column->Slice(0, 2), column->Slice(2)})->column(0);
  const auto upper = Value(cp::CallFunction("zerrow_upper", {chunks})).chunked_array();
  EXPECT_EQ(upper->chunk(0)->data()->dictionary, upper->chunk(1)->data()->dictionary);
}

TEST_F(KeptMemoryTest, CaseOfAsciiKeepsOffsetsAndValidity) {
  for (const std::string function : {"zerrow_upper", "zerrow_lower"}) {
    for (const ArrayPtr& texts :
         {MakeArray<arrow::StringBuilder>({"aB", std::nullopt, "", "a longer text, Z[{@`"}),
          MakeArray<arrow::LargeStringBuilder>({"aB", std::nullopt, "", "a longer text, Z[{@`"})}) {
      const auto changed = Call(function, texts);
      EXPECT_EQ(changed->data()->buffers[0], texts->data()->buffers[0]);
      EXPECT_EQ(changed->data()->buffers[1], texts->data()->buffers[1]);
      EXPECT_NE(changed->data()->buffers[2], texts->data()->buffers[2]);
      const auto slice = texts->Slice(1, 3);
      EXPECT_EQ(Call(function, slice)->data()->buffers[1], texts->data()->buffers[1]);
    }
  }
}

// Where a slice is a small part, keeping its offsets would need all the text before it.
TEST_F(KeptMemoryTest, CaseOfASmallSliceStoresOnlyItsOwnText) {
  Texts texts;
  for (int i = 0; i < 1000; ++i) texts.emplace_back("text number " + std::to_string(i));
  const auto slice = MakeArray<arrow::StringBuilder>(texts)->Slice(990);
  const auto upper = Call("zerrow_upper", slice);
  ASSERT_TRUE(upper->ValidateFull().ok());
  EXPECT_EQ(upper->data()->buffers[2]->size(), 10 * std::ssize(std::string("text number 990")));
  EXPECT_EQ(Value(upper->GetScalar(9))->ToString(), "TEXT NUMBER 999");
}

TEST_F(KeptMemoryTest, CaseOfAsciiViewsIsThatOfTheirText) {
  Texts texts;
  for (int i = 0; i < 100; ++i) {
    texts.emplace_back("a text, longer than a view: " + std::to_string(i));
    texts.emplace_back("z" + std::to_string(i));
    texts.emplace_back(std::nullopt);
  }
  const auto views = MakeArray<arrow::StringViewBuilder>(texts);
  for (const ArrayPtr& slice : {views, views->Slice(7, 290), views->Slice(290, 3)}) {
    const auto upper = Call("zerrow_upper", slice);
    ASSERT_TRUE(upper->ValidateFull().ok()) << upper->ValidateFull();
    EXPECT_TRUE(Plain(arrow::ChunkedArray(upper))
                    ->Equals(Call("utf8_upper", Plain(arrow::ChunkedArray(slice)))));
    // Few views into much text leave it behind.
    EXPECT_EQ(upper->data()->buffers[0] == slice->data()->buffers[0], slice->length() > 3);
  }
}

TEST_F(KeptMemoryTest, PartsOfViewsAreViewsOfTheSameText) {
  const auto views = MakeArray<arrow::StringViewBuilder>(
      {"  a text, longer than a view", std::nullopt, "short ", "another text that is long  "});
  const arrow::Datum spaces(std::make_shared<arrow::StringScalar>());
  for (const std::string function : {"zerrow_trim", "zerrow_ltrim", "zerrow_rtrim"}) {
    const auto part = Value(cp::CallFunction(function, {views, spaces})).make_array();
    EXPECT_EQ(part->data()->buffers[0], views->data()->buffers[0]);
    EXPECT_EQ(part->data()->buffers.at(2), views->data()->buffers.at(2)) << function;
  }
  const auto cut = [&](int64_t start, int64_t stop) {
    const std::vector<arrow::Datum> arguments = {views, arrow::Datum(start), arrow::Datum(stop)};
    return Value(cp::CallFunction("zerrow_substring", arguments)).make_array()->data();
  };
  EXPECT_EQ(cut(3, 20)->buffers.at(2), views->data()->buffers.at(2));
  EXPECT_EQ(cut(0, 5)->buffers.size(), 2);  // short enough for the views themselves
}

TEST_F(KeptMemoryTest, WhatIsNotChangedIsTheInput) {
  for (const ArrayPtr& texts : {MakeArray<arrow::StringBuilder>({"AB", std::nullopt, "É"}),
                                MakeArray<arrow::StringBuilder>({"AB", "123"}),
                                MakeArray<arrow::StringViewBuilder>({"AB", std::nullopt, "É"})}) {
    EXPECT_EQ(Call("zerrow_upper", texts)->data()->buffers, texts->data()->buffers);
  }
  const auto column = Encoded({0, 1}, {"A", "B"});
  EXPECT_TRUE(SameMemory(*Call("zerrow_upper", column)->data(), *column->data()));
}

TEST_F(KeptMemoryTest, TextFunctionsRefuseWhatHasNoTexts) {
  const auto numbers = Random(1).Rows(3, 3);
  EXPECT_FALSE(cp::CallFunction("zerrow_upper", {numbers}).ok());
  const auto encoded = Random(1).Dictionary(3, numbers, arrow::int8());
  EXPECT_TRUE(cp::CallFunction("zerrow_upper", {encoded}).status().IsTypeError());
  const auto texts = MakeArray<arrow::StringBuilder>({"a", "b", "c"});
  EXPECT_TRUE(cp::CallFunction("zerrow_trim", {texts, texts}).status().IsInvalid());
  EXPECT_TRUE(RegisterTextFunctions().ok());
}

}  // namespace
}  // namespace zerrow::worker
