// Random tables through the whole of SIPC. Each failure names the seed that brings it back:
// ZERROW_SIPC_SEED=n runs that one only, ZERROW_SIPC_SEEDS=n the first n.
#include <arrow/io/memory.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>

#include "sipc/check.h"
#include "sipc/ranges.h"
#include "sipc/reader.h"
#include "sipc/stream.h"
#include "sipc/testing/arena.h"
#include "sipc/testing/random_table.h"
#include "sipc/writer.h"

namespace zerrow::sipc {
namespace {

constexpr SegmentId kSegment = 3;
constexpr SegmentId kMessageSegment = 4;

using BufferVisitor = std::function<void(const arrow::Buffer&)>;

void VisitBuffers(const arrow::ArrayData& data, const BufferVisitor& visit) {
  for (const auto& buffer : data.buffers) {
    if (buffer) visit(*buffer);
  }
  for (const auto& child : data.child_data) VisitBuffers(*child, visit);
  if (data.dictionary) VisitBuffers(*data.dictionary, visit);
}

void VisitBuffers(const arrow::Table& table, const BufferVisitor& visit) {
  for (const auto& column : table.columns()) {
    for (const auto& chunk : column->chunks()) VisitBuffers(*chunk->data(), visit);
  }
}

void VisitDictionaries(const arrow::ArrayData& data, std::set<const arrow::ArrayData*>* found) {
  if (data.dictionary) found->insert(data.dictionary.get());
  if (data.dictionary) VisitDictionaries(*data.dictionary, found);
  for (const auto& child : data.child_data) VisitDictionaries(*child, found);
}

size_t CountDictionaries(const arrow::Table& table) {
  std::set<const arrow::ArrayData*> found;
  for (const auto& column : table.columns()) {
    for (const auto& chunk : column->chunks()) VisitDictionaries(*chunk->data(), &found);
  }
  return found.size();
}

/// The bytes of the table's buffers that may be copied: small, or not in the map. Each once.
int64_t CopyableBytes(const arrow::Table& table, const AddressMap& map, int64_t inline_below) {
  std::vector<Reference> memory;
  VisitBuffers(table, [&](const arrow::Buffer& buffer) {
    if (buffer.size() >= inline_below && map.Find(buffer.data(), buffer.size())) return;
    memory.push_back({1, static_cast<int64_t>(buffer.address()), buffer.size()});
  });
  return TotalBytes(MergeReferences(std::move(memory)));
}

/// What offsets and the like take that may be rewritten, for each array that has them.
int64_t RewritableBytes(const arrow::ArrayData& data) {
  int64_t total = 0;
  for (size_t i = 1; i < std::min<size_t>(data.buffers.size(), 3); ++i) {
    if (data.buffers[i]) total += data.buffers[i]->size();
  }
  for (const auto& child : data.child_data) total += RewritableBytes(*child);
  return total + (data.dictionary ? RewritableBytes(*data.dictionary) : 0);
}

int64_t RewritableBytes(const arrow::Table& table) {
  int64_t total = 0;
  for (const auto& column : table.columns()) {
    for (const auto& chunk : column->chunks()) total += RewritableBytes(*chunk->data());
  }
  return total;
}

bool LiesIn(const arrow::Buffer& inner, const arrow::Buffer& outer) {
  return inner.address() >= outer.address() &&
         inner.address() + inner.size() <= outer.address() + outer.size();
}

class Property : public ::testing::TestWithParam<uint64_t> {
 protected:
  void SetUp() override {
    arena_ = testing::Arena::Make(kSegment, 256 << 20).ValueOrDie();
    arena_->AddTo(&map_);
    mapping_ = arena_->MapReadOnly().ValueOrDie();
    tables_ = std::make_unique<testing::RandomTables>(
        GetParam(), testing::RandomTableOptions{
                        .pools = {arena_.get(), arena_.get(), arrow::default_memory_pool()}});
    options_.inline_below_bytes = std::vector<int64_t>{0, 64, 4096}[GetParam() % 3];
  }

  std::shared_ptr<Reader> Open(const Encoded& encoded) {
    return Reader::Open(encoded.message,
                        [this](SegmentId id) { return id == kSegment ? mapping_ : first_message_; })
        .ValueOrDie();
  }

  void ExpectSame(const arrow::Table& read, const arrow::Table& table) {
    ASSERT_TRUE(read.schema()->Equals(*table.schema(), /*check_metadata=*/true))
        << read.schema()->ToString(true) << "\nfor\n"
        << table.schema()->ToString(true);
    const auto valid = read.ValidateFull();
    ASSERT_TRUE(valid.ok()) << valid;
    for (int i = 0; i < table.num_columns(); ++i) {
      ASSERT_TRUE(read.column(i)->Equals(table.column(i))) << table.field(i)->ToString();
    }
    ASSERT_TRUE(read.Equals(table, /*check_metadata=*/true));
  }

  std::unique_ptr<testing::Arena> arena_;
  AddressMap map_;
  std::shared_ptr<arrow::Buffer> mapping_;
  std::shared_ptr<arrow::Buffer> first_message_;
  std::unique_ptr<testing::RandomTables> tables_;
  EncodeOptions options_;
};

TEST_P(Property, WhatIsReadIsWhatWasWritten) {
  auto table = tables_->Table();
  ASSERT_TRUE(table->ValidateFull().ok()) << table->ValidateFull();
  const Encoded encoded = Encode(*table, map_, options_).ValueOrDie();

  std::span<const uint8_t> bytes(encoded.message->data(), encoded.message->size());
  const Summary summary = Check(bytes, {{kSegment, mapping_->size()}}).ValueOrDie();
  EXPECT_EQ(summary.num_rows, table->num_rows());
  EXPECT_EQ(summary.referenced_bytes, encoded.referenced_bytes);
  EXPECT_GE(summary.inline_bytes, encoded.copied_bytes);

  auto reader = Open(encoded);
  auto read = reader->ReadTable().ValueOrDie();
  ExpectSame(*read, *table);
  for (int i = 0; i < table->num_columns(); ++i) {
    EXPECT_EQ(read->column(i)->num_chunks(), table->column(i)->num_chunks());
  }
  VisitBuffers(*read, [&](const arrow::Buffer& buffer) {
    EXPECT_TRUE(LiesIn(buffer, *mapping_) || LiesIn(buffer, *encoded.message));
  });
  EXPECT_LE(CountDictionaries(*read), CountDictionaries(*table));
  const int64_t copyable = CopyableBytes(*table, map_, options_.inline_below_bytes);
  EXPECT_LE(encoded.copied_bytes, copyable + RewritableBytes(*table));
}

// What no reference covers is freed by the engine, and reads as zeros then.
TEST_P(Property, NothingIsMissingOnceTheRestIsZeros) {
  auto table = tables_->Table();
  const Encoded encoded = Encode(*table, map_, options_).ValueOrDie();
  std::span<const uint8_t> bytes(encoded.message->data(), encoded.message->size());
  const Summary summary = Check(bytes, {{kSegment, mapping_->size()}}).ValueOrDie();
  auto trimmed = testing::Arena::Make(kSegment, mapping_->size()).ValueOrDie();
  for (const Reference& reference : summary.references) {
    std::memcpy(const_cast<uint8_t*>(trimmed->data()) + reference.offset,
                mapping_->data() + reference.offset, reference.length);
  }
  mapping_ = trimmed->MapReadOnly().ValueOrDie();
  ExpectSame(*Open(encoded)->ReadTable().ValueOrDie(), *table);
}

TEST_P(Property, BatchesTogetherAreTheTable) {
  auto table = tables_->Table();
  auto reader = Open(Encode(*table, map_, options_).ValueOrDie());
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  for (int64_t i = 0; i < reader->num_batches(); ++i) {
    batches.push_back(reader->ReadBatch(i).ValueOrDie());
    EXPECT_GT(batches.back()->num_rows(), 0);
  }
  EXPECT_TRUE(reader->ReadBatch(reader->num_batches()).status().IsInvalid());
  if (table->num_columns() == 0) return;
  ExpectSame(*arrow::Table::FromRecordBatches(reader->schema(), batches).ValueOrDie(), *table);
}

TEST_P(Property, WhatWasReadIsResharedAndNotCopied) {
  auto table = tables_->Table();
  options_.inline_below_bytes = 0;
  const Encoded first = Encode(*table, map_, options_).ValueOrDie();
  first_message_ = first.message;
  auto read = Open(first)->ReadTable().ValueOrDie();

  AddressMap consumer;
  consumer.Add(kSegment, mapping_->data(), mapping_->size());
  consumer.Add(kMessageSegment, first.message->data(), first.message->size());
  const Encoded second = Encode(*read, consumer, options_).ValueOrDie();
  EXPECT_EQ(second.copied_bytes, 0);
  EXPECT_LE(second.referenced_bytes, CopyableBytes(*read, AddressMap(), 0));
  ExpectSame(*Open(second)->ReadTable().ValueOrDie(), *table);
}

TEST_P(Property, ArrowStreamAndBack) {
  auto table = tables_->Table();
  std::shared_ptr<Reader> reader = Open(Encode(*table, map_, options_).ValueOrDie());
  auto sink = arrow::io::BufferOutputStream::Create().ValueOrDie();
  const auto written = WriteIpcStream(reader, sink.get());
  ASSERT_TRUE(written.ok()) << written << table->schema()->ToString();
  arrow::io::BufferReader stream(sink->Finish().ValueOrDie());
  auto back = EncodeIpcStream(&stream, map_, options_);
  ASSERT_TRUE(back.ok()) << back.status() << table->schema()->ToString();
  if (table->num_columns() == 0) return;  // batches without columns lose their rows in a stream
  ExpectSame(*Open(*back)->ReadTable().ValueOrDie(), *table);
}

std::vector<uint64_t> Seeds() {
  if (const char* seed = std::getenv("ZERROW_SIPC_SEED")) {
    return {std::strtoull(seed, nullptr, 10)};
  }
  const char* count = std::getenv("ZERROW_SIPC_SEEDS");
  std::vector<uint64_t> seeds(count ? std::strtoull(count, nullptr, 10) : 300);
  for (size_t i = 0; i < seeds.size(); ++i) seeds[i] = i;
  return seeds;
}

INSTANTIATE_TEST_SUITE_P(Seeds, Property, ::testing::ValuesIn(Seeds()));

}  // namespace
}  // namespace zerrow::sipc
