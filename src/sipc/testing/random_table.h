// Random tables of every Arrow type, for property tests: valid, reproducible from their seed.
//
// They have what makes formats stumble: arrays sliced at every level, buffers that start in the
// middle of others, offsets that don't start at 0, arrays and dictionaries used by several columns
// and chunks, columns with different chunks, unknown null counts, nulls with data behind them,
// empty everything. One generator belongs to one thread; the pools must outlive its tables.
#pragma once

#include <arrow/array/data.h>
#include <arrow/memory_pool.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace zerrow::sipc::testing {

struct RandomTableOptions {
  int max_columns = 8;
  int max_chunks = 4;
  int64_t max_rows = 600;
  int max_depth = 4;
  /// Each buffer comes from one of these, at random; the default pool if empty.
  std::vector<arrow::MemoryPool*> pools;
};

/// An extension type over any storage, so that every layout occurs as one. Registered with Arrow
/// by the first RandomTables.
std::shared_ptr<arrow::DataType> WrapperType(std::shared_ptr<arrow::DataType> storage);

class RandomTables {
 public:
  RandomTables(uint64_t seed, RandomTableOptions options);

  std::shared_ptr<arrow::Table> Table();
  std::shared_ptr<arrow::DataType> Type(int depth = 1);
  /// An array of `type` that is possibly a slice, and whose memory may belong to others too.
  std::shared_ptr<arrow::ArrayData> Array(const std::shared_ptr<arrow::DataType>& type,
                                          int64_t length);

 private:
  using Data = std::shared_ptr<arrow::ArrayData>;
  using Buffer = std::shared_ptr<arrow::Buffer>;

  int64_t Between(int64_t low, int64_t high);  // both included
  bool OneIn(int n) { return Between(1, n) == 1; }
  std::shared_ptr<arrow::DataType> FlatType();
  std::shared_ptr<arrow::DataType> NestedType(int depth);
  std::shared_ptr<arrow::DataType> UnionType(int depth);
  std::shared_ptr<arrow::Field> Field(const std::string& name, int depth);
  std::shared_ptr<const arrow::KeyValueMetadata> Metadata();

  Buffer Bytes(int64_t size);
  template <typename T>
  Buffer Values(const std::vector<T>& values);
  Buffer Bitmap(int64_t length, int nulls_of_ten);

  Data NewArray(const std::shared_ptr<arrow::DataType>& type, int64_t length);
  Data CutAtStart(const Data& data);
  Data FixedArray(const std::shared_ptr<arrow::DataType>& type, int64_t length);
  template <typename Offset>
  Data BinaryArray(const std::shared_ptr<arrow::DataType>& type, int64_t length);
  Data ViewArray(const std::shared_ptr<arrow::DataType>& type, int64_t length);
  template <typename Offset>
  Data ListArray(const std::shared_ptr<arrow::DataType>& type, int64_t length);
  template <typename Offset>
  Data ListViewArray(const std::shared_ptr<arrow::DataType>& type, int64_t length);
  Data StructArray(const std::shared_ptr<arrow::DataType>& type, int64_t length);
  Data UnionArray(const std::shared_ptr<arrow::DataType>& type, int64_t length);
  Data DictionaryArray(const std::shared_ptr<arrow::DataType>& type, int64_t length);
  Data RunEndEncodedArray(const std::shared_ptr<arrow::DataType>& type, int64_t length);
  Data ArrayWithoutNulls(const std::shared_ptr<arrow::DataType>& type, int64_t length);
  template <typename Offset>
  Buffer Offsets(int64_t length, int64_t limit);

  std::mt19937_64 random_;
  RandomTableOptions options_;
  std::vector<Data> made_;          // to be used again
  std::vector<Data> dictionaries_;  // likewise
};

}  // namespace zerrow::sipc::testing
