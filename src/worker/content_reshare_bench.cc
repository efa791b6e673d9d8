// What looking for unchanged bytes costs where there are none, and where all is unchanged.
#include <arrow/array/data.h>
#include <arrow/array/util.h>
#include <arrow/table.h>
#include <benchmark/benchmark.h>

#include <cstring>

#include "sipc/testing/arena.h"
#include "worker/content_reshare.h"

namespace zerrow::worker {
namespace {

/// Columns of int64 whose values are `seed`, another one in each column.
std::shared_ptr<arrow::Table> Numbers(int64_t columns, int64_t rows, int64_t seed,
                                      arrow::MemoryPool* pool) {
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  for (int64_t column = 0; column < columns; ++column) {
    std::shared_ptr<arrow::Buffer> values = arrow::AllocateBuffer(rows * 8, pool).ValueOrDie();
    auto* value = reinterpret_cast<int64_t*>(values->mutable_data());
    for (int64_t row = 0; row < rows; ++row) value[row] = row * 1'000'003 + column + seed;
    arrays.push_back(
        arrow::MakeArray(arrow::ArrayData::Make(arrow::int64(), rows, {nullptr, values}, 0)));
    fields.push_back(arrow::field("c" + std::to_string(column), arrow::int64()));
  }
  return arrow::Table::Make(arrow::schema(fields), arrays);
}

/// Arguments: columns, rows, whether the output is equal to the input.
void BM_Reshare(benchmark::State& state) {
  const int64_t columns = state.range(0);
  const int64_t rows = state.range(1);
  const auto arena =
      sipc::testing::Arena::Make(1, columns * (rows * 8 + 64) + (1 << 20)).ValueOrDie();
  sipc::AddressMap segments;
  arena->AddTo(&segments);
  const std::vector<std::shared_ptr<arrow::Table>> inputs = {
      Numbers(columns, rows, 0, arena.get())};
  const auto output = Numbers(columns, rows, state.range(2) != 0 ? 0 : int64_t{1} << 40,
                              arrow::default_memory_pool());
  for (auto _ : state) {
    benchmark::DoNotOptimize(ReshareContent(output, inputs, segments, /*split=*/true).bytes);
  }
  state.SetBytesProcessed(state.iterations() * columns * rows * 8);
}
BENCHMARK(BM_Reshare)
    ->ArgNames({"columns", "rows", "equal"})
    ->ArgsProduct({{10}, {1'000'000, 10'000'000}, {0, 1}})
    ->ArgsProduct({{1'000}, {1'000, 100'000}, {0, 1}})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace zerrow::worker

BENCHMARK_MAIN();
