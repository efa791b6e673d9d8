// What handing a table over costs: encoding, checking, opening, decoding. Tables of int64 columns
// in memory that stands in for segments; CPU time is what counts on a shared machine.
#include <arrow/array/data.h>
#include <arrow/array/util.h>
#include <arrow/table.h>
#include <arrow/util/logging.h>
#include <benchmark/benchmark.h>

#include <cstring>

#include "base/mapping.h"
#include "sipc/check.h"
#include "sipc/join.h"
#include "sipc/reader.h"
#include "sipc/testing/arena.h"
#include "sipc/writer.h"

namespace zerrow::sipc {
namespace {

constexpr SegmentId kSegment = 1;

struct Input {
  std::unique_ptr<testing::Arena> arena;
  AddressMap addresses;
  std::shared_ptr<arrow::Table> table;
  std::shared_ptr<arrow::Buffer> mapping;
};

/// `columns` int64 columns of `batches` chunks of `rows` rows. The pages are never touched, so
/// that tables larger than memory can be had: encoding doesn't read them.
Input Numbers(int64_t columns, int64_t batches, int64_t rows) {
  Input input;
  const int64_t bytes = (rows * 8 + 63) / 64 * 64;
  input.arena = testing::Arena::Make(kSegment, columns * batches * bytes).ValueOrDie();
  input.arena->AddTo(&input.addresses);
  input.mapping = input.arena->MapReadOnly().ValueOrDie();
  std::vector<arrow::ArrayVector> chunks(columns);
  for (int64_t batch = 0; batch < batches; ++batch) {
    for (auto& column : chunks) {
      // Not AllocateBuffer, which zeroes the padding and so touches a page.
      uint8_t* memory = nullptr;
      ARROW_CHECK_OK(input.arena->Allocate(rows * 8, 64, &memory));
      auto values = std::make_shared<arrow::Buffer>(memory, rows * 8);
      column.push_back(
          arrow::MakeArray(arrow::ArrayData::Make(arrow::int64(), rows, {nullptr, values}, 0)));
    }
  }
  arrow::FieldVector fields;
  arrow::ChunkedArrayVector columns_of;
  for (auto& column : chunks) {
    fields.push_back(arrow::field("column" + std::to_string(fields.size()), arrow::int64()));
    columns_of.push_back(std::make_shared<arrow::ChunkedArray>(std::move(column)));
  }
  input.table = arrow::Table::Make(arrow::schema(fields), columns_of);
  return input;
}

Input FromArguments(const benchmark::State& state) {
  return Numbers(state.range(0), state.range(1), state.range(2));
}

std::shared_ptr<Reader> Open(const Input& input, const Encoded& encoded) {
  return Reader::Open(encoded.message, [&](SegmentId) { return input.mapping; }).ValueOrDie();
}

// As a worker does it: into a fresh, sealed memfd.
void BM_Encode(benchmark::State& state) {
  const Input input = FromArguments(state);
  int64_t message_bytes = 0;
  for (auto _ : state) {
    EncodedFile file = EncodeToMemfd("bench", *input.table, input.addresses).ValueOrDie();
    message_bytes = base::FileSize(file.fd.get()).ValueOrDie();
  }
  state.counters["message_bytes"] = static_cast<double>(message_bytes);
}

// As an entry of the cache is made: all is copied. Google Benchmark's CPU time includes the
// system's.
void BM_EncodeCopied(benchmark::State& state) {
  const int64_t bytes = state.range(0) << 20;
  std::shared_ptr<arrow::Buffer> values = arrow::AllocateBuffer(bytes).ValueOrDie();
  std::memset(values->mutable_data(), 1, static_cast<size_t>(bytes));
  const auto array =
      arrow::MakeArray(arrow::ArrayData::Make(arrow::int64(), bytes / 8, {nullptr, values}, 0));
  const auto table =
      arrow::Table::Make(arrow::schema({arrow::field("a", arrow::int64())}), {array});
  for (auto _ : state) {
    benchmark::DoNotOptimize(EncodeToMemfd("bench", *table, {}).ValueOrDie());
  }
  state.SetBytesProcessed(state.iterations() * bytes);
}

// A hit of the cache: columns of pieces that are known become a message. What it says of them is
// the same whatever their size.
void BM_Join(benchmark::State& state) {
  const int64_t columns = state.range(0), blocks = state.range(1);
  const auto array = arrow::MakeArrayOfNull(arrow::int64(), 1000).ValueOrDie();
  const auto field = arrow::field("a", arrow::int64());
  const auto one = arrow::Table::Make(arrow::schema({field}), {array});
  const auto entry = Encode(*one, {}).ValueOrDie().message;
  const std::span<const uint8_t> bytes(entry->data(), static_cast<size_t>(entry->size()));
  std::vector<std::unique_ptr<ColumnPiece>> pieces;
  std::vector<std::vector<JoinedPart>> table(static_cast<size_t>(columns));
  for (auto& column : table) {
    for (int64_t i = 0; i < blocks; ++i) {
      pieces.push_back(std::make_unique<ColumnPiece>(
          ColumnPiece::Read(bytes, static_cast<SegmentId>(pieces.size() + 1)).ValueOrDie()));
      column.push_back(pieces.back().get());
    }
  }
  const auto schema = arrow::schema(arrow::FieldVector(table.size(), field));
  for (auto _ : state) {
    benchmark::DoNotOptimize(Join(*schema, 1000 * blocks, table).ValueOrDie());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(pieces.size()));
}

void BM_ReadPiece(benchmark::State& state) {
  const auto array = arrow::MakeArrayOfNull(arrow::int64(), 1000).ValueOrDie();
  const auto table =
      arrow::Table::Make(arrow::schema({arrow::field("a", arrow::int64())}), {array});
  const auto entry = Encode(*table, {}).ValueOrDie().message;
  const std::span<const uint8_t> bytes(entry->data(), static_cast<size_t>(entry->size()));
  for (auto _ : state) benchmark::DoNotOptimize(ColumnPiece::Read(bytes, 1).ValueOrDie());
}

void BM_Check(benchmark::State& state) {
  const Input input = FromArguments(state);
  const Encoded encoded = Encode(*input.table, input.addresses).ValueOrDie();
  std::span<const uint8_t> bytes(encoded.message->data(), encoded.message->size());
  for (auto _ : state) {
    benchmark::DoNotOptimize(Check(bytes, {{kSegment, input.arena->size_bytes()}}).ValueOrDie());
  }
}

void BM_Open(benchmark::State& state) {
  const Input input = FromArguments(state);
  const Encoded encoded = Encode(*input.table, input.addresses).ValueOrDie();
  for (auto _ : state) benchmark::DoNotOptimize(Open(input, encoded));
}

void BM_DecodeAllBatches(benchmark::State& state) {
  const Input input = FromArguments(state);
  const Encoded encoded = Encode(*input.table, input.addresses).ValueOrDie();
  auto reader = Open(input, encoded);
  for (auto _ : state) {
    std::vector<std::shared_ptr<arrow::RecordBatch>> batches(reader->num_batches());
    for (int64_t i = 0; i < reader->num_batches(); ++i) {
      batches[i] = reader->ReadBatch(i).ValueOrDie();
    }
    state.PauseTiming();
    batches.clear();
    state.ResumeTiming();
  }
}

void BM_ReadTable(benchmark::State& state) {
  const Input input = FromArguments(state);
  const Encoded encoded = Encode(*input.table, input.addresses).ValueOrDie();
  auto reader = Open(input, encoded);
  for (auto _ : state) {
    auto table = reader->ReadTable().ValueOrDie();
    state.PauseTiming();
    table.reset();
    state.ResumeTiming();
  }
}

// Published to table: maps the message and the segment, opens, reads.
void BM_Handover(benchmark::State& state) {
  const Input input = FromArguments(state);
  const EncodedFile file = EncodeToMemfd("bench", *input.table, input.addresses).ValueOrDie();
  const int64_t size = base::FileSize(file.fd.get()).ValueOrDie();
  for (auto _ : state) {
    auto mapping =
        base::Mapping::Map(file.fd.get(), size, base::Mapping::Access::kReadOnly).ValueOrDie();
    auto message = std::make_shared<arrow::Buffer>(mapping.data(), size);
    auto reader =
        Reader::Open(message, [&](SegmentId) { return input.arena->MapReadOnly(); }).ValueOrDie();
    benchmark::DoNotOptimize(reader->ReadTable().ValueOrDie());
  }
}

// Columns, batches, rows of a batch.
void Wide(benchmark::internal::Benchmark* bench) {
  bench->Args({1000, 100, 1310})->Args({10, 1000, 1310})->Unit(benchmark::kMillisecond);
}

// 1 MB to 4 GB in 10 columns.
void Sizes(benchmark::internal::Benchmark* bench) {
  for (int64_t megabytes : {1, 16, 256, 1024, 4096}) bench->Args({10, 1, megabytes * 13107});
  bench->Unit(benchmark::kMicrosecond);
}

BENCHMARK(BM_Encode)->Apply(Wide);
BENCHMARK(BM_Check)->Apply(Wide);
BENCHMARK(BM_Open)->Apply(Wide);
BENCHMARK(BM_DecodeAllBatches)->Apply(Wide);
BENCHMARK(BM_ReadTable)->Apply(Wide);
BENCHMARK(BM_Encode)->Apply(Sizes);
BENCHMARK(BM_Handover)->Apply(Sizes);
// Columns, blocks of row groups.
BENCHMARK(BM_Join)->Args({10, 10})->Args({100, 1})->Args({1, 100})->Args({16, 256});
BENCHMARK(BM_ReadPiece);
BENCHMARK(BM_EncodeCopied)->Arg(1)->Arg(16)->Arg(64)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace zerrow::sipc

BENCHMARK_MAIN();
