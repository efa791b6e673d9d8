#include <arrow/array/util.h>
#include <arrow/extension/bool8.h>
#include <arrow/extension/json.h>
#include <arrow/extension/uuid.h>
#include <arrow/extension_type.h>
#include <arrow/util/key_value_metadata.h>

#include <algorithm>
#include <mutex>

#include "sipc/testing/random_table.h"

namespace zerrow::sipc::testing {
namespace {

class Wrapper : public arrow::ExtensionType {
 public:
  explicit Wrapper(std::shared_ptr<arrow::DataType> storage)
      : arrow::ExtensionType(std::move(storage)) {}

  std::string extension_name() const override { return "zerrow.test.wrapper"; }
  std::string Serialize() const override { return "wrapped"; }
  bool ExtensionEquals(const arrow::ExtensionType& other) const override {
    return other.extension_name() == extension_name() &&
           other.storage_type()->Equals(*storage_type());
  }
  std::shared_ptr<arrow::Array> MakeArray(std::shared_ptr<arrow::ArrayData> data) const override {
    return std::make_shared<arrow::ExtensionArray>(std::move(data));
  }
  arrow::Result<std::shared_ptr<arrow::DataType>> Deserialize(
      std::shared_ptr<arrow::DataType> storage, const std::string& serialized) const override {
    if (serialized != "wrapped") return arrow::Status::Invalid("not a wrapper");
    return std::make_shared<Wrapper>(std::move(storage));
  }
};

void RegisterWrapper() {
  static std::once_flag once;
  std::call_once(
      once, [] { (void)arrow::RegisterExtensionType(std::make_shared<Wrapper>(arrow::null())); });
}

}  // namespace

std::shared_ptr<arrow::DataType> WrapperType(std::shared_ptr<arrow::DataType> storage) {
  return std::make_shared<Wrapper>(std::move(storage));
}

RandomTables::RandomTables(uint64_t seed, RandomTableOptions options)
    : random_(seed), options_(std::move(options)) {
  if (options_.pools.empty()) options_.pools.push_back(arrow::default_memory_pool());
  RegisterWrapper();
}

int64_t RandomTables::Between(int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random_);
}

std::shared_ptr<const arrow::KeyValueMetadata> RandomTables::Metadata() {
  if (!OneIn(3)) return nullptr;
  auto metadata = std::make_shared<arrow::KeyValueMetadata>();
  for (int64_t i = Between(1, 3); i > 0; --i) {
    metadata->Append("key" + std::to_string(i), std::string(Between(0, 20), 'v'));
  }
  return metadata;
}

std::shared_ptr<arrow::Field> RandomTables::Field(const std::string& name, int depth) {
  return arrow::field(name, Type(depth), /*nullable=*/true, Metadata());
}

std::shared_ptr<arrow::DataType> RandomTables::FlatType() {
  using arrow::TimeUnit;
  static const std::vector<std::shared_ptr<arrow::DataType>> types = {
      arrow::null(),
      arrow::boolean(),
      arrow::int8(),
      arrow::int16(),
      arrow::int32(),
      arrow::int64(),
      arrow::uint8(),
      arrow::uint16(),
      arrow::uint32(),
      arrow::uint64(),
      arrow::float16(),
      arrow::float32(),
      arrow::float64(),
      arrow::smallest_decimal(7, 2),
      arrow::decimal128(20, 3),
      arrow::decimal256(60, 10),
      arrow::date32(),
      arrow::date64(),
      arrow::time32(TimeUnit::SECOND),
      arrow::time64(TimeUnit::NANO),
      arrow::timestamp(TimeUnit::MICRO),
      arrow::timestamp(TimeUnit::NANO, "Europe/Berlin"),
      arrow::duration(TimeUnit::MILLI),
      arrow::month_interval(),
      arrow::day_time_interval(),
      arrow::month_day_nano_interval(),
      arrow::fixed_size_binary(0),
      arrow::fixed_size_binary(5),
      arrow::utf8(),
      arrow::binary(),
      arrow::large_utf8(),
      arrow::large_binary(),
      arrow::utf8_view(),
      arrow::binary_view(),
      arrow::extension::uuid(),
      arrow::extension::json(),
      arrow::extension::bool8(),
      arrow::decimal32(9, 0),
      arrow::decimal64(18, 6),
  };
  return types[static_cast<size_t>(Between(0, static_cast<int64_t>(types.size()) - 1))];
}

std::shared_ptr<arrow::DataType> RandomTables::Type(int depth) {
  if (depth >= options_.max_depth || OneIn(2)) return FlatType();
  return NestedType(depth + 1);
}

std::shared_ptr<arrow::DataType> RandomTables::NestedType(int depth) {
  switch (Between(0, 11)) {
    case 0:
      return arrow::list(Field("item", depth));
    case 1:
      return arrow::large_list(Field("item", depth));
    case 2:
      return arrow::list_view(Field("item", depth));
    case 3:
      return arrow::large_list_view(Field("item", depth));
    case 4:
      return arrow::fixed_size_list(Field("item", depth), static_cast<int32_t>(Between(0, 4)));
    case 5:
      return arrow::map(OneIn(2) ? arrow::utf8() : arrow::int32(), Field("value", depth));
    case 6: {
      arrow::FieldVector fields;
      for (int64_t i = Between(0, 3); i > 0; --i) {
        fields.push_back(Field("f" + std::to_string(i), depth));
      }
      return arrow::struct_(fields);
    }
    case 7:
    case 8:
      return UnionType(depth);
    case 9: {
      // Arrow's schema format has no dictionary whose values are dictionaries or extensions.
      auto values = Type(depth);
      while (values->id() == arrow::Type::DICTIONARY || values->id() == arrow::Type::EXTENSION) {
        values = Type(depth);
      }
      static const std::vector<std::shared_ptr<arrow::DataType>> indices = {
          arrow::int8(),  arrow::int16(),  arrow::int32(),  arrow::int64(),
          arrow::uint8(), arrow::uint16(), arrow::uint32(), arrow::uint64()};
      return arrow::dictionary(indices[static_cast<size_t>(Between(0, 7))], values, OneIn(4));
    }
    case 10: {
      static const std::vector<std::shared_ptr<arrow::DataType>> run_ends = {
          arrow::int16(), arrow::int32(), arrow::int64()};
      // Deep down arrays get longer than 16 bits can count.
      return arrow::run_end_encoded(run_ends[static_cast<size_t>(Between(depth > 2 ? 1 : 0, 2))],
                                    Type(depth));
    }
    default: {
      auto storage = Type(depth);
      while (storage->id() == arrow::Type::EXTENSION) storage = Type(depth);
      return WrapperType(storage);
    }
  }
}

std::shared_ptr<arrow::DataType> RandomTables::UnionType(int depth) {
  arrow::FieldVector fields;
  std::vector<int8_t> codes;
  int8_t code = -1;
  for (int64_t i = Between(1, 3); i > 0; --i) {
    fields.push_back(Field("u" + std::to_string(i), depth));
    code = static_cast<int8_t>(code + Between(1, 40));
    codes.push_back(code);
  }
  std::shuffle(codes.begin(), codes.end(), random_);
  return OneIn(2) ? arrow::sparse_union(fields, codes) : arrow::dense_union(fields, codes);
}

std::shared_ptr<arrow::Table> RandomTables::Table() {
  const int64_t num_columns = Between(0, options_.max_columns);
  const int64_t rows = OneIn(8) ? 0 : Between(0, options_.max_rows);
  arrow::FieldVector fields;
  std::vector<std::shared_ptr<arrow::ChunkedArray>> columns;
  for (int64_t i = 0; i < num_columns; ++i) {
    // Types that occur twice may share arrays.
    auto field = !fields.empty() && OneIn(4) ? fields.back() : Field("c" + std::to_string(i), 1);
    std::vector<int64_t> ends = {rows};
    for (int64_t cuts = Between(0, options_.max_chunks - 1); cuts > 0; --cuts) {
      ends.push_back(Between(0, rows));
    }
    std::sort(ends.begin(), ends.end());
    arrow::ArrayVector chunks;
    int64_t begin = 0;
    if (rows == 0 && OneIn(2)) ends.clear();
    for (int64_t end : ends) {
      chunks.push_back(arrow::MakeArray(Array(field->type(), end - begin)));
      begin = end;
    }
    columns.push_back(std::make_shared<arrow::ChunkedArray>(chunks, field->type()));
    fields.push_back(field);
  }
  return arrow::Table::Make(arrow::schema(fields, Metadata()), columns, rows);
}

}  // namespace zerrow::sipc::testing
