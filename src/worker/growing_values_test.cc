#include "worker/growing_values.h"

#include <arrow/builder.h>
#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace zerrow::worker {
namespace {

template <typename T>
T Value(arrow::Result<T> result) {
  EXPECT_TRUE(result.ok()) << result.status().ToString();
  return std::move(result).ValueOrDie();
}

using Texts = std::vector<std::optional<std::string>>;

std::shared_ptr<arrow::Array> ArrayOf(const Texts& texts) {
  arrow::StringBuilder builder;
  for (const auto& text : texts) {
    EXPECT_TRUE((text ? builder.Append(*text) : builder.AppendNull()).ok());
  }
  return Value(builder.Finish());
}

std::shared_ptr<arrow::Array> Encoded(const Texts& texts) {
  arrow::StringDictionary32Builder builder;
  for (const auto& text : texts) {
    EXPECT_TRUE((text ? builder.Append(*text) : builder.AppendNull()).ok());
  }
  return Value(builder.Finish());
}

Texts Decoded(const arrow::Array& indices, const arrow::Array& values) {
  EXPECT_EQ(indices.type_id(), arrow::Type::INT32);
  const auto& texts = static_cast<const arrow::StringArray&>(values);
  Texts decoded;
  for (int64_t row = 0; row < indices.length(); ++row) {
    if (indices.IsNull(row)) {
      decoded.emplace_back();
    } else {
      decoded.emplace_back(
          texts.GetString(static_cast<const arrow::Int32Array&>(indices).Value(row)));
    }
  }
  return decoded;
}

TEST(GrowingValues, BeginWithWhatTheyWere) {
  const auto first = ArrayOf({"z", "b", ""});
  const auto values = Value(GrowingValues::Make(*first));
  const auto column = Value(arrow::ChunkedArray::Make(
      {Encoded({"b", std::nullopt, "a"}), Encoded({}), Encoded({"", "a", "ab"})}));
  const auto indices = Value(values->IndicesOf(*column));
  const auto all = Value(values->Finish());
  EXPECT_TRUE(all->Equals(ArrayOf({"z", "b", "", "a", "ab"})));
  EXPECT_EQ(Decoded(*indices, *all), (Texts{"b", std::nullopt, "a", "", "a", "ab"}));
}

TEST(GrowingValues, OfAnEmptyColumn) {
  const auto type = arrow::dictionary(arrow::int32(), arrow::utf8());
  const auto values = Value(GrowingValues::Make(*ArrayOf({})));
  EXPECT_EQ(Value(values->IndicesOf(*Value(arrow::ChunkedArray::Make({}, type))))->length(), 0);
  const auto nulls = Value(values->IndicesOf(arrow::ChunkedArray(Encoded({std::nullopt}))));
  EXPECT_EQ(nulls->null_count(), 1);
  EXPECT_EQ(Value(values->Finish())->length(), 0);
}

TEST(GrowingValues, WhatIsNoDictionaryOfTheirTypeIsRefused) {
  const auto values = Value(GrowingValues::Make(*ArrayOf({"a"})));
  EXPECT_TRUE(values->IndicesOf(arrow::ChunkedArray(ArrayOf({"a"}))).status().IsTypeError());
  arrow::BinaryDictionary32Builder binary;
  EXPECT_TRUE(binary.Append("b").ok());
  EXPECT_FALSE(values->IndicesOf(arrow::ChunkedArray(Value(binary.Finish()))).ok());
  EXPECT_TRUE(Value(values->Finish())->Equals(ArrayOf({"a"})));
  EXPECT_FALSE(values->IndicesOf(arrow::ChunkedArray(Encoded({"a"}))).ok());
  EXPECT_FALSE(values->Finish().ok());
}

TEST(GrowingValues, OfManyThreadsEachHasItsRows) {
  const auto values = Value(GrowingValues::Make(*ArrayOf({"7"})));
  std::vector<std::shared_ptr<arrow::Array>> indices(64);
  std::vector<Texts> rows(64);
  std::mt19937 random(1);
  for (Texts& texts : rows) {
    for (int i = 0; i < 200; ++i) texts.emplace_back(std::to_string(random() % 500));
  }
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (size_t i = thread; i < rows.size(); i += 4) {
        indices[i] = Value(values->IndicesOf(arrow::ChunkedArray(Encoded(rows[i]))));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto all = Value(values->Finish());
  EXPECT_EQ(static_cast<const arrow::StringArray&>(*all).GetString(0), "7");
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(Decoded(*indices[i], *all), rows[i]) << i;
}

}  // namespace
}  // namespace zerrow::worker
