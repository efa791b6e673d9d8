// Whatever form a column of texts has, operators make of it what they make of plain texts.
#include <arrow/compute/initialize.h>
#include <gtest/gtest.h>

#include <numeric>

#include "worker/operators/dictionaries.h"
#include "worker/operators/operators.h"
#include "worker/operators/testing/forms.h"
#include "worker/operators/text_functions.h"
#include "worker/operators/view_kernels.h"

namespace zerrow::worker {
namespace {

using namespace testing;  // NOLINT

constexpr uint64_t kSeeds = 100;

class FormsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    ASSERT_TRUE(cp::Initialize().ok());
    ASSERT_TRUE(RegisterViewKernels().ok());
    ASSERT_TRUE(RegisterTextFunctions().ok());
  }

  // For each form and seed.
  template <typename Check>
  void ForEach(Check&& check) {
    for (const Form form : kForms) {
      for (uint64_t seed = 0; seed < kSeeds && !HasFailure(); ++seed) {
        SCOPED_TRACE("form " + std::to_string(static_cast<int>(form)) + " seed " +
                     std::to_string(seed));
        Random random(seed);
        check(random, RandomColumn(random, form));
      }
    }
  }
};

TablePtr MakeTable(const ColumnPtr& column) {
  arrow::Int64Builder builder;
  for (int64_t i = 0; i < column->length(); ++i) Must(builder.Append(i));
  const auto numbers = std::make_shared<arrow::ChunkedArray>(Value(builder.Finish()));
  return arrow::Table::Make(
      arrow::schema({arrow::field("x", column->type()), arrow::field("row", arrow::int64())}),
      {column, numbers});
}

ColumnPtr PlainColumn(const arrow::ChunkedArray& column) {
  return std::make_shared<arrow::ChunkedArray>(Plain(column));
}

// The same rows, and a form as before (only indices may have become wider).
void ExpectSame(const TablePtr& actual, const TablePtr& expected, const ColumnPtr& input) {
  ASSERT_TRUE(actual->ValidateFull().ok()) << actual->ValidateFull();
  EXPECT_EQ(actual->column(0)->type()->id(), input->type()->id());
  EXPECT_TRUE(Plain(*actual->column(0))->Equals(Plain(*expected->column(0))));
  EXPECT_TRUE(actual->column(1)->Equals(expected->column(1)))
      << actual->ToString() << expected->ToString();
}

TEST_F(FormsTest, SortTakesTheOrderOfTheTexts) {
  ForEach([](Random& random, const ColumnPtr& column) {
    const std::vector<SortColumn> by = {{"x", random.OneIn(2)}};
    const auto plain = MakeTable(PlainColumn(*column));
    ExpectSame(Value(SortTable(MakeTable(column), by)), Value(SortTable(plain, by)), column);
  });
}

TEST_F(FormsTest, TakeAndFilter) {
  ForEach([](Random& random, const ColumnPtr& column) {
    const auto table = MakeTable(column);
    const auto plain = MakeTable(PlainColumn(*column));
    const auto rows = std::make_shared<arrow::ChunkedArray>(
        random.Rows(column->length() == 0 ? 0 : 50, std::max<int64_t>(1, column->length())));
    ExpectSame(Value(TakeTable(table, rows)), Value(TakeTable(plain, rows)), column);
    const auto even = cp::less(cp::field_ref("row"), cp::literal(random.Below(100)));
    ExpectSame(Value(FilterTable(table, even)), Value(FilterTable(plain, even)), column);
    const auto mask = std::make_shared<arrow::ChunkedArray>(random.Mask(column->length()));
    const auto with_mask = [&](const TablePtr& before) {
      const auto added = before->AddColumn(2, arrow::field("m", arrow::boolean()), mask);
      return Value(FilterTable(Value(added), cp::field_ref("m")));
    };
    ExpectSame(with_mask(table), with_mask(plain), column);
  });
}

// Conditions over a dictionary are evaluated by value, also for null and for values twice.
TEST_F(FormsTest, FilterByTexts) {
  const auto text = [](const cp::Expression& texts) {
    return cp::call("cast", {texts}, cp::CastOptions::Safe(arrow::utf8()));
  };
  const auto x = cp::field_ref("x");
  const auto is_null = cp::call("is_null", {x}, cp::NullOptions());
  const auto small = cp::less(cp::field_ref("row"), cp::literal(30));
  const std::vector<cp::Expression> conditions = {
      cp::equal(text(x), cp::literal("a")),
      cp::equal(text(cp::call("zerrow_upper", {x})), cp::literal("AB")),
      is_null,
      cp::not_(is_null),
      cp::or_(is_null, cp::greater(text(x), cp::literal("b"))),
      cp::and_(
          {cp::greater(text(x), cp::literal("a")), small, cp::less(text(x), cp::literal("\xc3"))}),
      cp::or_(cp::equal(text(x), cp::literal("a")), small),
      cp::call("coalesce", {cp::equal(text(x), cp::literal("a")), cp::literal(true)}),
      cp::literal(true),
  };
  ForEach([&](Random& random, const ColumnPtr& column) {
    const auto& condition =
        conditions[static_cast<size_t>(random.Below(static_cast<int64_t>(conditions.size())))];
    ExpectSame(Value(FilterTable(MakeTable(column), condition)),
               Value(FilterTable(MakeTable(PlainColumn(*column)), condition)), column);
  });
}

TEST_F(FormsTest, NestedDictionariesAndViews) {
  ForEach([](Random& random, const ColumnPtr& column) {
    const auto nest = [](const arrow::ChunkedArray& texts) {
      arrow::ArrayVector chunks;
      for (const auto& chunk : texts.chunks()) {
        chunks.push_back(Value(arrow::StructArray::Make({chunk}, std::vector<std::string>{"x"})));
      }
      return MakeTable(std::make_shared<arrow::ChunkedArray>(chunks));
    };
    const auto rows = std::make_shared<arrow::ChunkedArray>(
        random.Rows(column->length() == 0 ? 0 : 50, std::max<int64_t>(1, column->length())));
    const auto taken = Value(TakeTable(nest(*column), rows));
    ASSERT_TRUE(taken->ValidateFull().ok()) << taken->ValidateFull();
    const auto expected = Value(TakeTable(nest(*PlainColumn(*column)), rows));
    EXPECT_TRUE(Plain(*Value(taken->Flatten())->column(0))
                    ->Equals(Plain(*Value(expected->Flatten())->column(0))));
  });
}

TEST_F(FormsTest, SharedDictionariesAreOneDictionary) {
  ForEach([](Random&, const ColumnPtr& column) {
    const ColumnPtr shared = Value(ShareDictionaries(column));
    ASSERT_TRUE(shared->ValidateFull().ok()) << shared->ValidateFull();
    EXPECT_TRUE(Plain(*shared)->Equals(Plain(*column)));
    for (const auto& chunk : shared->chunks()) {
      EXPECT_EQ(chunk->data()->dictionary, shared->chunk(0)->data()->dictionary);
    }
  });
}

TEST_F(FormsTest, ConcatOfTwoForms) {
  for (const Form first : kForms) {
    ForEach([&](Random& random, const ColumnPtr& second) {
      const ColumnPtr column = RandomColumn(random, first);
      const auto joined =
          Value(ConcatTables({{"first", MakeTable(column)}, {"second", MakeTable(second)}}));
      ASSERT_TRUE(joined->ValidateFull().ok()) << joined->ValidateFull();
      const auto expected = Value(arrow::Concatenate({Plain(*column), Plain(*second)}));
      EXPECT_TRUE(Plain(*joined->column(0))->Equals(expected)) << joined->ToString();
      EXPECT_EQ(joined->num_rows(), column->length() + second->length());
    });
  }
}

TEST_F(FormsTest, EncodedColumnsHaveOneDictionaryOfPlainTexts) {
  ForEach([](Random&, const ColumnPtr& column) {
    const auto encoded = Value(EncodeColumns(MakeTable(column), {"x"}));
    ASSERT_TRUE(encoded->ValidateFull().ok()) << encoded->ValidateFull();
    EXPECT_TRUE(Plain(*encoded->column(0))->Equals(Plain(*column)));
    ASSERT_EQ(encoded->column(0)->type()->id(), arrow::Type::DICTIONARY);
    if (column->type()->id() == arrow::Type::DICTIONARY) {
      EXPECT_EQ(encoded->column(0), column);
    } else {
      EXPECT_FALSE(arrow::is_binary_view_like(
          DictionaryTypeOf(*encoded->column(0)->type()).value_type()->id()));
      EXPECT_EQ(encoded->schema()->field(0)->type(), encoded->column(0)->type());
    }
  });
}

// Groups by what the rows' values are, not by their indices.
TEST_F(FormsTest, AggregateByTexts) {
  ForEach([](Random&, const ColumnPtr& column) {
    if (arrow::is_binary_view_like(column->type()->id())) return;  // Arrow has no such keys
    const std::vector<Measure> measures = {{"first", "min", "row"}, {"n", "count", ""}};
    if (column->type()->id() == arrow::Type::DICTIONARY &&
        arrow::is_binary_view_like(DictionaryTypeOf(*column->type()).value_type()->id())) {
      return;
    }
    const auto groups = Value(AggregateTable(MakeTable(column), {"x"}, measures));
    const auto expected = Value(AggregateTable(MakeTable(PlainColumn(*column)), {"x"}, measures));
    ExpectSame(groups, expected, column);
    EXPECT_TRUE(groups->column(2)->Equals(expected->column(2)));
  });
}

struct TextCase {
  std::string ours;
  std::vector<arrow::Datum> arguments;
  std::string arrows;
  std::shared_ptr<cp::FunctionOptions> options;
};

std::vector<TextCase> TextCases() {
  const auto text = [](const std::string& value) { return arrow::Datum(value); };
  const arrow::Datum null(std::make_shared<arrow::StringScalar>());
  const arrow::Datum two(int64_t{2});
  return {
      {"zerrow_upper", {}, "utf8_upper", nullptr},
      {"zerrow_lower", {}, "utf8_lower", nullptr},
      {"zerrow_trim", {null}, "utf8_trim_whitespace", nullptr},
      {"zerrow_ltrim", {null}, "utf8_ltrim_whitespace", nullptr},
      {"zerrow_rtrim", {null}, "utf8_rtrim_whitespace", nullptr},
      {"zerrow_trim", {text(" ab")}, "utf8_trim", std::make_shared<cp::TrimOptions>(" ab")},
      {"zerrow_ltrim", {text("a")}, "utf8_ltrim", std::make_shared<cp::TrimOptions>("a")},
      {"zerrow_rtrim", {text("a")}, "utf8_rtrim", std::make_shared<cp::TrimOptions>("a")},
      {"zerrow_replace",
       {text("a"), text("xy")},
       "replace_substring",
       std::make_shared<cp::ReplaceSubstringOptions>("a", "xy")},
      {"zerrow_substring",
       {arrow::Datum(int64_t{1}), two},
       "utf8_slice_codeunits",
       std::make_shared<cp::SliceOptions>(1, 2)},
      {"zerrow_length", {}, "utf8_length", nullptr},
  };
}

TEST_F(FormsTest, TextFunctions) {
  for (const TextCase& function : TextCases()) {
    SCOPED_TRACE(function.ours);
    ForEach([&](Random&, const ColumnPtr& column) {
      std::vector<arrow::Datum> arguments = {column};
      arguments.insert(arguments.end(), function.arguments.begin(), function.arguments.end());
      const auto result = Value(cp::CallFunction(function.ours, arguments)).chunked_array();
      ASSERT_TRUE(result->ValidateFull().ok()) << result->ValidateFull();
      const auto expected =
          Value(cp::CallFunction(function.arrows, {Plain(*column)}, function.options.get()))
              .make_array();
      if (function.ours == "zerrow_length") {
        EXPECT_TRUE(result->Equals(arrow::ChunkedArray(expected)));
        return;
      }
      EXPECT_TRUE(result->type()->Equals(column->type()));
      EXPECT_TRUE(Plain(*result)->Equals(expected)) << result->ToString();
    });
  }
}

// pandas refuses a dictionary with equal values, Arrow groups by it wrongly.
TEST_F(FormsTest, NoTextFunctionMakesEqualValuesInADictionary) {
  ForEach([](Random&, const ColumnPtr& column) {
    if (column->type()->id() != arrow::Type::DICTIONARY) return;
    const auto upper = Value(cp::CallFunction("zerrow_upper", {column})).chunked_array();
    for (int i = 0; i < upper->num_chunks(); ++i) {
      const DataPtr& values = upper->chunk(i)->data()->dictionary;
      if (values == column->chunk(i)->data()->dictionary) continue;  // nothing was changed
      const bool changed = !arrow::MakeArray(values)->Equals(
          *arrow::MakeArray(column->chunk(i)->data()->dictionary));
      if (changed) {
        EXPECT_EQ(Value(FindDistinct(values)).positions, nullptr);
      }
    }
  });
}

}  // namespace
}  // namespace zerrow::worker
