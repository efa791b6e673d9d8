// Columns of random texts in each form that Arrow holds texts in, for tests that compare what is
// made of them with what is made of plain texts.
#pragma once

#include <arrow/api.h>
#include <arrow/compute/api.h>

#include <optional>
#include <random>
#include <string>
#include <vector>

namespace zerrow::worker::testing {

namespace cp = arrow::compute;

template <typename T>
T Value(arrow::Result<T> result) {
  return std::move(result).ValueOrDie();
}

inline void Must(const arrow::Status& status) {
  if (!status.ok()) status.Abort();
}

using Texts = std::vector<std::optional<std::string>>;

template <typename Builder>
std::shared_ptr<arrow::Array> MakeArray(const Texts& texts) {
  Builder builder;
  for (const auto& text : texts) {
    Must(text ? builder.Append(*text) : builder.AppendNull());
  }
  return Value(builder.Finish());
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  /// 0 <= result < end.
  int64_t Below(int64_t end) { return std::uniform_int_distribution<int64_t>(0, end - 1)(engine_); }
  bool OneIn(int64_t n) { return Below(n) == 0; }

  /// Few values, so that many are equal; also in another case, with spaces, or not ASCII.
  std::optional<std::string> Text() {
    static const Texts kTexts = {std::nullopt,
                                 "",
                                 "a",
                                 "A",
                                 "b ",
                                 " b",
                                 "ab",
                                 "aB",
                                 "ß",
                                 "Éa",
                                 "éa",
                                 "a text that is longer than a view",
                                 "A text that is longer",
                                 "\tx\xc2\xa0",
                                 "[`{@z",
                                 "12345678Zz"};
    return kTexts[static_cast<size_t>(Below(static_cast<int64_t>(kTexts.size())))];
  }

  Texts SomeTexts(int64_t count) {
    Texts texts(static_cast<size_t>(count));
    for (auto& text : texts) text = Text();
    return texts;
  }

  std::shared_ptr<arrow::Array> Rows(int64_t count, int64_t end) {
    arrow::Int64Builder builder;
    for (int64_t i = 0; i < count; ++i) {
      Must(OneIn(9) ? builder.AppendNull() : builder.Append(Below(end)));
    }
    return Value(builder.Finish());
  }

  std::shared_ptr<arrow::Array> Mask(int64_t count) {
    arrow::BooleanBuilder builder;
    for (int64_t i = 0; i < count; ++i) {
      Must(OneIn(9) ? builder.AppendNull() : builder.Append(OneIn(2)));
    }
    return Value(builder.Finish());
  }

  /// Indices of the type into a dictionary of `values`, which may be of any length but 0.
  std::shared_ptr<arrow::Array> Dictionary(int64_t count, std::shared_ptr<arrow::Array> values,
                                           std::shared_ptr<arrow::DataType> index_type) {
    const auto indices = Value(cp::Cast(*Rows(count, values->length()), index_type));
    const auto type = arrow::dictionary(index_type, values->type());
    return Value(arrow::DictionaryArray::FromArrays(type, indices, values));
  }

 private:
  std::mt19937_64 engine_;
};

enum class Form { kPlain, kLarge, kView, kDictionary, kViewDictionary, kSharedDictionary };
constexpr Form kForms[] = {Form::kPlain,      Form::kLarge,          Form::kView,
                           Form::kDictionary, Form::kViewDictionary, Form::kSharedDictionary};

/// Some chunks in that form, some of them slices and some empty. Dictionaries have values that are
/// null, there twice, or not used.
inline std::shared_ptr<arrow::ChunkedArray> RandomColumn(Random& random, Form form) {
  const auto shared = MakeArray<arrow::StringBuilder>(random.SomeTexts(9));
  arrow::ArrayVector chunks;
  const int64_t count = 1 + random.Below(4);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t rows = random.OneIn(5) ? 0 : random.Below(40);
    const auto texts = random.SomeTexts(rows);
    const auto values = random.SomeTexts(1 + random.Below(12));
    std::shared_ptr<arrow::Array> chunk;
    switch (form) {
      case Form::kPlain:
        chunk = MakeArray<arrow::StringBuilder>(texts);
        break;
      case Form::kLarge:
        chunk = MakeArray<arrow::LargeStringBuilder>(texts);
        break;
      case Form::kView:
        chunk = MakeArray<arrow::StringViewBuilder>(texts);
        break;
      case Form::kDictionary:
        chunk = random.Dictionary(rows, MakeArray<arrow::StringBuilder>(values), arrow::int8());
        break;
      case Form::kViewDictionary:
        chunk =
            random.Dictionary(rows, MakeArray<arrow::StringViewBuilder>(values), arrow::uint32());
        break;
      case Form::kSharedDictionary:  // or its beginning
        chunk =
            random.Dictionary(rows, random.OneIn(2) ? shared : shared->Slice(0, 5), arrow::int32());
        break;
    }
    const int64_t begin = random.OneIn(2) || rows == 0 ? 0 : random.Below(rows);
    chunks.push_back(chunk->Slice(begin, random.OneIn(2) ? rows : random.Below(rows + 1)));
  }
  return std::make_shared<arrow::ChunkedArray>(chunks);
}

/// The same texts as one array of plain strings.
inline std::shared_ptr<arrow::Array> Plain(const arrow::ChunkedArray& column) {
  arrow::StringBuilder builder;
  for (int64_t i = 0; i < column.length(); ++i) {
    auto scalar = Value(column.GetScalar(i));
    if (scalar->type->id() == arrow::Type::DICTIONARY && scalar->is_valid) {
      scalar = Value(static_cast<const arrow::DictionaryScalar&>(*scalar).GetEncodedValue());
    }
    if (scalar->is_valid) {
      Must(builder.Append(static_cast<const arrow::BaseBinaryScalar&>(*scalar).view()));
    } else {
      Must(builder.AppendNull());
    }
  }
  return Value(builder.Finish());
}

}  // namespace zerrow::worker::testing
