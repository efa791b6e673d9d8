// A source with a worker that answers what it is told to, and a cache, for tests of Scan.
#pragma once

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/ipc/writer.h>
#include <arrow/table.h>
#include <arrow/util/base64.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/scan.h"
#include "sipc/reader.h"
#include "sipc/writer.h"

namespace zerrow::engine::testing {

using nlohmann::json;

template <typename T>
T Value(arrow::Result<T> result) {
  EXPECT_TRUE(result.ok()) << result.status().ToString();
  return std::move(result).ValueOrDie();
}

inline std::shared_ptr<arrow::Array> Numbers(int64_t first, int64_t count) {
  arrow::Int64Builder builder;
  for (int64_t i = 0; i < count; ++i) EXPECT_TRUE(builder.Append(first + i).ok());
  return Value(builder.Finish());
}

inline base::UniqueFd Encoded(const std::string& column, int64_t first, int64_t count) {
  const auto table = arrow::Table::Make(arrow::schema({arrow::field(column, arrow::int64())}),
                                        {Numbers(first, count)});
  return Value(sipc::EncodeToMemfd("test", *table, {})).fd;
}

/// A source of two files with two blocks each, of ten rows; a worker's answers; a cache.
class ScanTest : public ::testing::Test {
 protected:
  ScanTest() {
    source_.table = "t";
    source_.columns = {{"a", "int64"}, {"b", "int64"}};
    for (const char* path : {"/x", "/y"}) {
      source_.files.push_back({path, nullptr});
      IdentifiedFile file;
      file.identity.path = path;
      file.lasting = true;
      files_.push_back(file);
    }
  }

  std::unique_ptr<Scan> Begin(std::vector<SourceRead> reads, bool use_cache = true) {
    auto scan = std::make_unique<Scan>(source_, std::move(reads), use_cache);
    scan->SetFiles(files_);
    return scan;
  }

  json Scanned(json reads, const std::shared_ptr<arrow::DataType>& type = arrow::int64()) const {
    const auto schema = Value(arrow::ipc::SerializeSchema(
        *arrow::schema({arrow::field("a", type), arrow::field("b", type)})));
    const json blocks = {{0, 1, 10}, {1, 2, 10}};
    return {{"op", "scanned"},
            {"schemas", {arrow::util::base64_encode(std::string_view(*schema))}},
            {"files", {{{"schema", 0}, {"blocks", blocks}}, {{"schema", 0}, {"blocks", blocks}}}},
            {"blocks", {{0, 0}, {0, 1}, {1, 0}, {1, 1}}},
            {"reads", std::move(reads)}};
  }

  arrow::Status Send(Scan& scan, const std::string& column, std::vector<int> blocks,
                     int64_t rows = 10) {
    base::Message message;
    message.body = {{"op", "decoded"}, {"entries", json::array()}};
    for (const int block : blocks) {
      message.body["entries"].push_back({{"block", block}, {"column", column}, {"decode_s", 0.5}});
      message.fds.push_back(Encoded(column, block * 10, rows));
    }
    return scan.TakeDecoded(std::move(message), *store_.ids(), store_.reaper());
  }

  /// As Scans does it; there is room for all.
  void Keep(const Scan& scan) {
    auto learned = scan.Learn(cache_);
    for (auto& [file, footer] : learned.footers) cache_.InsertFooter(file, footer);
    for (auto& [file, filter, blocks] : learned.kept) cache_.InsertKept(file, filter, blocks);
    for (const auto& key : learned.used) cache_.Use(key);
    for (const auto& [key, decode_s] : learned.charged) cache_.Charge(key, decode_s);
    for (auto& [key, entry, segment, grown_from] : learned.entries) {
      std::vector<SegmentId> superseded;
      if (grown_from) superseded.push_back(*grown_from);
      EXPECT_EQ(grown_from ? cache_.Replace(key, *grown_from, entry) : cache_.Insert(key, entry),
                superseded);
      store_.Add(segment);
      for (const SegmentId id : superseded) store_.Free(id);
    }
  }

  std::shared_ptr<arrow::Table> Open(const Publication& publication, size_t read) const {
    const PublishedTable& table = *publication.table->reads.at(read);
    std::map<SegmentId, std::shared_ptr<arrow::Buffer>> buffers;
    for (const auto& segment : publication.segments) {
      const auto fd = Value(segment->Open());
      std::string bytes(static_cast<size_t>(segment->size_bytes()), '\0');
      EXPECT_EQ(::pread(fd.get(), bytes.data(), bytes.size(), 0), segment->size_bytes());
      buffers[segment->id()] = arrow::Buffer::FromString(std::move(bytes));
    }
    const auto reader = Value(
        sipc::Reader::Open(buffers.at(table.message.id),
                           [&](SegmentId id) -> arrow::Result<std::shared_ptr<arrow::Buffer>> {
                             return buffers.at(id);
                           }));
    return Value(reader->ReadTable());
  }

  SourceDescription source_;
  std::vector<IdentifiedFile> files_;
  shm::SegmentStore store_;
  decache::Cache cache_{{.bytes = 1 << 20, .entries = 100, .footer_bytes = 1 << 20}};
};

/// The same source, whose column s has texts.
class DictionaryTest : public ScanTest {
 protected:
  DictionaryTest() { source_.columns.push_back({"s", "string"}); }

  json Scanned(int64_t bytes_of_first, int64_t bytes_of_second) const {
    json answer = ScanTest::Scanned({{0, 1, 2, 3}});
    const auto schema = Value(arrow::ipc::SerializeSchema(
        *arrow::schema({arrow::field("a", arrow::int64()), arrow::field("b", arrow::int64()),
                        arrow::field("s", arrow::utf8(), /*nullable=*/false)})));
    answer["schemas"][0] = arrow::util::base64_encode(std::string_view(*schema));
    answer["files"][0]["encoded"] = {{"s", bytes_of_first}};
    answer["files"][1]["encoded"] = {{"s", bytes_of_second}};
    return answer;
  }

  arrow::Status SendPiece(Scan& scan, const json& entry,
                          const std::shared_ptr<arrow::Array>& array) {
    const auto table =
        arrow::Table::Make(arrow::schema({arrow::field("s", array->type())}), {array});
    base::Message message;
    message.body = {{"op", "decoded"}, {"entries", {entry}}};
    message.fds.push_back(Value(sipc::EncodeToMemfd("test", *table, {})).fd);
    return scan.TakeDecoded(std::move(message), *store_.ids(), store_.reaper());
  }

  void SendIndices(Scan& scan, int block, int32_t index) {
    arrow::Int32Builder builder;
    EXPECT_TRUE(builder.AppendValues(std::vector<int32_t>(10, index)).ok());
    const json entry = {{"block", block}, {"column", "s"}, {"dictionary", true}, {"decode_s", 0.5}};
    EXPECT_TRUE(SendPiece(scan, entry, Value(builder.Finish())).ok());
  }

  void SendValues(Scan& scan, const std::vector<std::string>& values) {
    arrow::StringBuilder builder;
    EXPECT_TRUE(builder.AppendValues(values).ok());
    EXPECT_TRUE(SendPiece(scan, {{"column", "s"}, {"values", true}}, Value(builder.Finish())).ok());
  }

  std::string TextAt(const arrow::Table& table, int64_t row) const {
    const auto scalar = Value(table.column(0)->GetScalar(row));
    return Value(static_cast<const arrow::DictionaryScalar&>(*scalar).GetEncodedValue())
        ->ToString();
  }

  const std::vector<SourceRead> dictionaries_ = {{std::vector<std::string>{"s"}, {}, true}};
  const std::vector<SourceRead> plain_ = {{std::vector<std::string>{"s"}, {}, false}};
};

}  // namespace zerrow::engine::testing
