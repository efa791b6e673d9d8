#include "worker/operators/operators.h"

#include <arrow/compute/api.h>
#include <arrow/compute/initialize.h>
#include <gtest/gtest.h>

#include <functional>
#include <numeric>

#include "worker/operators/view_kernels.h"

namespace zerrow::worker {
namespace {

namespace cp = arrow::compute;
using arrow::Array;
using cp::field_ref;
using cp::literal;

template <typename T>
T Value(arrow::Result<T> result) {
  return std::move(result).ValueOrDie();
}

class OperatorsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ASSERT_TRUE(cp::Initialize().ok());
    ASSERT_TRUE(RegisterViewKernels().ok());
  }
};

std::shared_ptr<Array> Int64s(const std::vector<int64_t>& values) {
  arrow::Int64Builder builder;
  EXPECT_TRUE(builder.AppendValues(values).ok());
  return Value(builder.Finish());
}

template <typename Builder>
std::shared_ptr<Array> Texts(const std::vector<std::string>& values) {
  Builder builder;
  for (const std::string& value : values) {
    EXPECT_TRUE((value == "null" ? builder.AppendNull() : builder.Append(value)).ok());
  }
  return Value(builder.Finish());
}

TablePtr MakeTable(
    const std::vector<std::pair<std::string, std::vector<std::shared_ptr<Array>>>>& columns) {
  arrow::FieldVector fields;
  arrow::ChunkedArrayVector values;
  for (const auto& [name, chunks] : columns) {
    values.push_back(std::make_shared<arrow::ChunkedArray>(chunks));
    fields.push_back(arrow::field(name, chunks[0]->type()));
  }
  return arrow::Table::Make(arrow::schema(fields), values);
}

std::string LongText(int64_t i) {
  return "a text that is longer than a view: " + std::to_string(i);
}

TEST_F(OperatorsTest, FilterKeepsTrueRowsOnly) {
  auto values = Value(arrow::MakeArrayOfNull(arrow::int64(), 1));
  auto table = MakeTable({{"a", {Int64s({1, 5, 2, 9}), values, Int64s({7})}}});
  auto kept = Value(FilterTable(table, cp::greater(field_ref("a"), literal(4))));
  ASSERT_TRUE(kept->ValidateFull().ok());
  EXPECT_EQ(kept->column(0)->ToString(),
            std::make_shared<arrow::ChunkedArray>(arrow::ArrayVector{Int64s({5, 9}), Int64s({7})})
                ->ToString());
}

TEST_F(OperatorsTest, FilterSharesWhatIsOnePiece) {
  std::vector<int64_t> rows(1000);
  std::iota(rows.begin(), rows.end(), 0);
  const auto input = Int64s(rows);
  auto table = MakeTable({{"a", {input}}});
  auto upper_half = Value(FilterTable(table, cp::greater_equal(field_ref("a"), literal(500))));
  EXPECT_EQ(upper_half->num_rows(), 500);
  EXPECT_EQ(upper_half->column(0)->chunk(0)->data()->buffers[1], input->data()->buffers[1]);
  // A small piece isn't worth holding all of the input.
  auto piece = Value(FilterTable(table, cp::greater_equal(field_ref("a"), literal(950))));
  EXPECT_EQ(piece->num_rows(), 50);
  EXPECT_NE(piece->column(0)->chunk(0)->data()->buffers[1], input->data()->buffers[1]);
}

TEST_F(OperatorsTest, FilterByAConstantOrByNull) {
  auto table = MakeTable({{"a", {Int64s({1, 2})}}});
  EXPECT_EQ(Value(FilterTable(table, literal(true)))->num_rows(), 2);
  EXPECT_EQ(Value(FilterTable(table, literal(false)))->num_rows(), 0);
  const auto null = literal(std::make_shared<arrow::BooleanScalar>());
  EXPECT_EQ(Value(FilterTable(table, null))->num_rows(), 0);
  EXPECT_TRUE(FilterTable(table, field_ref("a")).status().IsTypeError());
  EXPECT_FALSE(FilterTable(table, cp::equal(field_ref("b"), literal(1))).ok());
}

// Filters and takes must give what Arrow gives for plain strings, and leave the text where it is.
TEST_F(OperatorsTest, ViewsKeepTheirText) {
  std::vector<std::string> texts;
  for (int64_t i = 0; i < 200; ++i) {
    texts.push_back(i % 7 == 0 ? "null" : i % 3 == 0 ? "short" : LongText(i));
  }
  const auto views = Texts<arrow::StringViewBuilder>(texts);
  const auto plain = Texts<arrow::StringBuilder>(texts);
  const auto sliced_views = views->Slice(3, 150);
  const auto sliced_plain = plain->Slice(3, 150);
  arrow::BooleanBuilder mask_builder;
  for (int64_t i = 0; i < 150; ++i) ASSERT_TRUE(mask_builder.Append(i % 2 == 0).ok());
  const auto mask = Value(mask_builder.Finish());
  const auto kept = Value(cp::Filter(sliced_views, mask)).make_array();
  ASSERT_TRUE(kept->ValidateFull().ok()) << kept->ValidateFull();
  EXPECT_EQ(kept->data()->buffers.at(2), views->data()->buffers.at(2));
  const auto expected = Value(cp::Filter(sliced_plain, mask)).make_array();
  EXPECT_EQ(Value(cp::Cast(*kept, arrow::utf8()))->ToString(), expected->ToString());

  const auto column = std::make_shared<arrow::ChunkedArray>(
      arrow::ArrayVector{sliced_views, views->Slice(150), views->Slice(0, 2)});
  std::vector<int64_t> order(static_cast<size_t>(column->length()));
  std::iota(order.rbegin(), order.rend(), 0);
  const auto reversed = Value(cp::Take(column, Int64s(order))).chunked_array();
  ASSERT_TRUE(reversed->ValidateFull().ok());
  EXPECT_EQ(Value(reversed->GetScalar(0))->ToString(), LongText(1));
}

TEST_F(OperatorsTest, ViewsSortLikeStrings) {
  const std::vector<std::string> texts = {LongText(2), "b", "null", LongText(1), "", "null", "a"};
  const auto views = Texts<arrow::StringViewBuilder>(texts);
  const auto plain = Texts<arrow::StringBuilder>(texts);
  for (const auto order : {cp::SortOrder::Ascending, cp::SortOrder::Descending}) {
    EXPECT_TRUE(Value(cp::SortIndices(*views->Slice(1), order))
                    ->Equals(Value(cp::SortIndices(*plain->Slice(1), order))));
  }
}

TEST_F(OperatorsTest, NullsOfAViewFilterAreHonoured) {
  const auto views = Texts<arrow::StringViewBuilder>({"a", "b", LongText(1)});
  arrow::BooleanBuilder builder;
  ASSERT_TRUE(builder.AppendNull().ok());
  ASSERT_TRUE(builder.AppendValues(std::vector<bool>{false, true}).ok());
  const auto mask = Value(builder.Finish());
  const cp::FilterOptions emit_null(cp::FilterOptions::EMIT_NULL);
  const auto kept = Value(cp::Filter(views, mask, emit_null)).make_array();
  ASSERT_TRUE(kept->ValidateFull().ok());
  EXPECT_EQ(kept->length(), 2);
  EXPECT_TRUE(kept->IsNull(0));
  EXPECT_EQ(Value(cp::Filter(views, mask)).length(), 1);
  EXPECT_TRUE(cp::Take(views, Int64s({7})).status().IsIndexError());
}

TEST_F(OperatorsTest, RegisteringTwiceIsHarmless) { EXPECT_TRUE(RegisterViewKernels().ok()); }

TEST_F(OperatorsTest, NestedViewsAreChosenToo) {
  arrow::ListBuilder builder(arrow::default_memory_pool(),
                             std::make_shared<arrow::StringViewBuilder>());
  auto& items = static_cast<arrow::StringViewBuilder&>(*builder.value_builder());
  for (int64_t i = 0; i < 10; ++i) {
    ASSERT_TRUE(builder.Append().ok());
    for (int64_t j = 0; j < i % 3; ++j) ASSERT_TRUE(items.Append(LongText(i * 10 + j)).ok());
  }
  const auto lists = Value(builder.Finish());
  const auto structs = Value(arrow::StructArray::Make(
      {lists, Int64s({0, 1, 2, 3, 4, 5, 6, 7, 8, 9})}, std::vector<std::string>{"texts", "n"}));
  auto table = MakeTable({{"s", {structs}}, {"a", {Int64s({9, 8, 7, 6, 5, 4, 3, 2, 1, 0})}}});
  const auto sorted = Value(SortTable(table, {{"a"}}));
  ASSERT_TRUE(sorted->ValidateFull().ok()) << sorted->ValidateFull();
  EXPECT_TRUE(Value(sorted->column(0)->GetScalar(0))->Equals(*Value(structs->GetScalar(9))));
  EXPECT_TRUE(Value(sorted->column(0)->GetScalar(7))->Equals(*Value(structs->GetScalar(2))));
}

TEST_F(OperatorsTest, SortIsStableAndPutsNullsLast) {
  auto key = Texts<arrow::StringBuilder>({"b", "null", "a", "b", "a"});
  auto table = MakeTable({{"k", {key}}, {"row", {Int64s({0, 1}), Int64s({2, 3, 4})}}});
  const auto rows = [&](const std::vector<SortColumn>& by) {
    const auto sorted = Value(SortTable(table, by));
    std::vector<int64_t> order;
    for (int64_t i = 0; i < sorted->num_rows(); ++i) {
      order.push_back(std::stoll(Value(sorted->column(1)->GetScalar(i))->ToString()));
    }
    return order;
  };
  EXPECT_EQ(rows({{"k"}}), (std::vector<int64_t>{2, 4, 0, 3, 1}));
  EXPECT_EQ(rows({{"k", true}}), (std::vector<int64_t>{0, 3, 2, 4, 1}));
  EXPECT_EQ(rows({{"k"}, {"row", true}}), (std::vector<int64_t>{4, 2, 3, 0, 1}));
  EXPECT_TRUE(SortTable(table, {{"nope"}}).status().IsKeyError());
}

TEST_F(OperatorsTest, SortsByWhatArrowCannotSortATableBy) {
  const std::vector<std::string> texts = {"b", "null", "a"};
  const auto plain = Texts<arrow::StringBuilder>(texts);
  const auto expected = Int64s({2, 0, 1});
  for (const auto& key :
       {Texts<arrow::StringViewBuilder>(texts), Texts<arrow::BinaryViewBuilder>(texts),
        Value(cp::DictionaryEncode(plain)).make_array()}) {
    auto table = MakeTable({{"k", {key, key->Slice(0, 0)}}, {"row", {Int64s({0, 1, 2})}}});
    auto sorted = Value(SortTable(table, {{"k"}}));
    EXPECT_TRUE(sorted->column(1)->chunk(0)->Equals(expected)) << key->type()->ToString();
    EXPECT_TRUE(sorted->schema()->Equals(*table->schema()));
  }
}

TEST_F(OperatorsTest, SortKeepsTheDictionary) {
  const auto encoded =
      Value(cp::DictionaryEncode(Texts<arrow::StringBuilder>({"x", "y", "x"}))).make_array();
  auto sorted = Value(SortTable(MakeTable({{"d", {encoded}}}), {{"d", true}}));
  EXPECT_EQ(sorted->column(0)->chunk(0)->data()->dictionary->buffers[2],
            encoded->data()->dictionary->buffers[2]);
}

TEST_F(OperatorsTest, AggregateByKeysInTheirOrder) {
  auto table = MakeTable(
      {{"k", {Texts<arrow::StringBuilder>({"b", "a"}), Texts<arrow::StringBuilder>({"b", "null"})}},
       {"v", {Int64s({1, 2, 3, 4})}}});
  auto groups = Value(AggregateTable(
      table, {"k"}, {{"n", "count", ""}, {"total", "sum", "v"}, {"mean", "mean", "v"}}));
  ASSERT_TRUE(groups->ValidateFull().ok());
  EXPECT_EQ(groups->ColumnNames(), (std::vector<std::string>{"k", "n", "total", "mean"}));
  EXPECT_TRUE(groups->column(1)->chunk(0)->Equals(Int64s({1, 2, 1})));
  EXPECT_TRUE(groups->column(2)->chunk(0)->Equals(Int64s({2, 4, 4})));
}

TEST_F(OperatorsTest, AggregateOfEverything) {
  auto table = MakeTable({{"v", {Int64s({1, 2, 3, 6})}}});
  auto total = Value(AggregateTable(table, {}, {{"n", "count", ""}, {"mean", "mean", "v"}}));
  EXPECT_EQ(total->num_rows(), 1);
  EXPECT_EQ(Value(total->column(1)->GetScalar(0))->ToString(), "3");
  EXPECT_TRUE(AggregateTable(table, {}, {{"x", "nope", "v"}}).status().IsInvalid());
  EXPECT_TRUE(AggregateTable(table, {}, {{"x", "sum", ""}}).status().IsInvalid());
  EXPECT_FALSE(AggregateTable(table, {"nope"}, {{"n", "count", ""}}).ok());
}

TEST_F(OperatorsTest, EveryAggregateFunctionWorksBothWays) {
  arrow::BooleanBuilder builder;
  ASSERT_TRUE(builder.AppendValues(std::vector<bool>{true, false, true}).ok());
  auto table = MakeTable(
      {{"k", {Int64s({1, 1, 2})}}, {"v", {Int64s({1, 2, 3})}}, {"b", {Value(builder.Finish())}}});
  for (const std::string& function : AggregateFunctions()) {
    const std::string column = function == "all" || function == "any" ? "b" : "v";
    EXPECT_TRUE(AggregateTable(table, {}, {{"x", function, column}}).ok()) << function;
    EXPECT_TRUE(AggregateTable(table, {"k"}, {{"x", function, column}}).ok()) << function;
  }
}

TEST_F(OperatorsTest, GroupsByChunksWithDifferentDictionaries) {
  const auto encode = [](const std::vector<std::string>& texts) {
    return Value(cp::DictionaryEncode(Texts<arrow::StringBuilder>(texts))).make_array();
  };
  auto table = MakeTable({{"k", {encode({"a", "b"}), encode({"b", "c"})}}});
  auto groups = Value(AggregateTable(table, {"k"}, {{"n", "count", ""}}));
  EXPECT_TRUE(groups->column(1)->chunk(0)->Equals(Int64s({1, 2, 1})));
}

}  // namespace
}  // namespace zerrow::worker
