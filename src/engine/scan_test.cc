#include "engine/scan.h"

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/ipc/writer.h>
#include <arrow/table.h>
#include <arrow/util/base64.h>
#include <arrow/util/key_value_metadata.h>
#include <gtest/gtest.h>

#include "base/mapping.h"
#include "sipc/reader.h"
#include "sipc/writer.h"

namespace zerrow::engine {
namespace {

using nlohmann::json;

template <typename T>
T Value(arrow::Result<T> result) {
  EXPECT_TRUE(result.ok()) << result.status().ToString();
  return std::move(result).ValueOrDie();
}

std::shared_ptr<arrow::Array> Numbers(int64_t first, int64_t count) {
  arrow::Int64Builder builder;
  for (int64_t i = 0; i < count; ++i) EXPECT_TRUE(builder.Append(first + i).ok());
  return Value(builder.Finish());
}

base::UniqueFd Encoded(const std::string& column, int64_t first, int64_t count) {
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

  /// As Scans does it.
  void Keep(const Scan& scan) {
    auto learned = scan.Learn();
    for (auto& [file, footer] : learned.footers) cache_.InsertFooter(file, footer);
    for (auto& [file, filter, blocks] : learned.kept) cache_.InsertKept(file, filter, blocks);
    for (auto& [key, entry, segment] : learned.entries) {
      EXPECT_TRUE(cache_.Insert(key, entry).empty());
      store_.Add(segment);
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

TEST_F(ScanTest, EachReadGetsItsColumnsOfItsBlocks) {
  const auto scan = Begin({{}, {std::vector<std::string>{"b"}, "b > 5"}});
  EXPECT_FALSE(scan->TakeFromCache(cache_, store_));
  ASSERT_TRUE(Send(*scan, "b", {3, 0, 2}).ok());
  ASSERT_TRUE(Send(*scan, "b", {1}).ok());
  ASSERT_TRUE(Send(*scan, "a", {0, 1, 2, 3}).ok());
  ASSERT_TRUE(scan->TakeAnswer(Scanned({{0, 1, 2, 3}, {1, 3}})).ok());
  const Publication publication = Value(scan->Assemble(*store_.ids(), store_.reaper()));
  const auto all = Open(publication, 0);
  EXPECT_EQ(all->num_rows(), 40);
  EXPECT_TRUE(all->column(1)->Equals(arrow::ChunkedArray(Numbers(0, 40))));
  const auto some = Open(publication, 1);
  EXPECT_EQ(some->schema()->field_names(), std::vector<std::string>{"b"});
  EXPECT_TRUE(some->column(0)->Slice(10)->Equals(arrow::ChunkedArray(Numbers(30, 10))));
  EXPECT_EQ(publication.table->rows, 40);
  EXPECT_EQ(publication.table->cache->misses, 8);
  // The ledger is told of all of them, each once.
  EXPECT_EQ(publication.table->AllSegments().size(), 8u + 2);
}

TEST_F(ScanTest, WhatOneHasDecodedAnotherHas) {
  const auto first = Begin({{std::vector<std::string>{"a"}, "a > 5"}});
  EXPECT_FALSE(first->TakeFromCache(cache_, store_));
  ASSERT_TRUE(Send(*first, "a", {0, 1, 2, 3}).ok());
  ASSERT_TRUE(first->TakeAnswer(Scanned({{1, 2}})).ok());
  Keep(*first);

  const auto same = Begin({{std::vector<std::string>{"a"}, "a > 5"}});
  EXPECT_TRUE(same->TakeFromCache(cache_, store_));
  const Publication hit = Value(same->Assemble(*store_.ids(), store_.reaper()));
  EXPECT_EQ(Open(hit, 0)->num_rows(), 20);
  EXPECT_EQ(hit.table->cache->hits, 2);
  EXPECT_EQ(hit.table->cache->misses, 0);
  EXPECT_EQ(hit.table->cache->saved_s, 1.0);

  // Also what the filter was tried on in vain.
  EXPECT_TRUE(Begin({{std::vector<std::string>{"a"}, {}}})->TakeFromCache(cache_, store_));
  const auto other_filter = Begin({{std::vector<std::string>{"a"}, "a > 6"}});
  EXPECT_FALSE(other_filter->TakeFromCache(cache_, store_));
  json task;
  other_filter->Describe(task);
  EXPECT_EQ(task["have"],
            json({{0, 0, "a", false}, {0, 1, "a", false}, {1, 0, "a", false}, {1, 1, "a", false}}));
  EXPECT_FALSE(Begin({{}})->TakeFromCache(cache_, store_)) << "there is no b";
  EXPECT_FALSE(Begin({{std::vector<std::string>{"a"}, {}}}, false)->TakeFromCache(cache_, store_));
  files_[1].lasting = false;
  EXPECT_FALSE(Begin({{std::vector<std::string>{"a"}, {}}})->TakeFromCache(cache_, store_));
  files_[1].lasting = true;
  files_[1].identity.mtime_ns = 7;
  EXPECT_FALSE(Begin({{std::vector<std::string>{"a"}, {}}})->TakeFromCache(cache_, store_));
}

TEST_F(ScanTest, TheSameFileIsAnotherUnderOtherNamesOfItsFolders) {
  const auto first = Begin({{std::vector<std::string>{"a"}, "b > 5"}});
  EXPECT_FALSE(first->TakeFromCache(cache_, store_));
  ASSERT_TRUE(Send(*first, "a", {0, 1, 2, 3}).ok());
  ASSERT_TRUE(first->TakeAnswer(Scanned({{1, 2}})).ok());
  Keep(*first);
  files_[0].partition = {{"b", 7}};
  EXPECT_FALSE(Begin({{std::vector<std::string>{"a"}, "b > 5"}})->TakeFromCache(cache_, store_));
  EXPECT_TRUE(Begin({{std::vector<std::string>{"a"}, {}}})->TakeFromCache(cache_, store_));
  files_[0].partition = {{"a", 7}};
  EXPECT_FALSE(Begin({{std::vector<std::string>{"a"}, {}}})->TakeFromCache(cache_, store_));
}

TEST_F(ScanTest, ASourceThatWidensTheSameFileOtherwiseIsInNobodysWay) {
  const std::vector<SourceRead> reads = {{std::vector<std::string>{"a"}, {}}};
  const auto wide = Begin(reads);
  EXPECT_FALSE(wide->TakeFromCache(cache_, store_));
  ASSERT_TRUE(Send(*wide, "a", {0, 1, 2, 3}).ok());
  ASSERT_TRUE(wide->TakeAnswer(Scanned({{0, 1, 2, 3}})).ok());
  Keep(*wide);
  for (auto& column : source_.columns) column.type = "double";
  const auto other = Begin(reads);
  EXPECT_FALSE(other->TakeFromCache(cache_, store_));
  ASSERT_TRUE(Send(*other, "a", {0, 1, 2, 3}).ok());
  ASSERT_TRUE(other->TakeAnswer(Scanned({{0, 1, 2, 3}}, arrow::float64())).ok());
  Keep(*other);
  EXPECT_TRUE(Begin(reads)->TakeFromCache(cache_, store_));
  for (auto& column : source_.columns) column.type = "int64";
  const auto again = Begin(reads);
  EXPECT_FALSE(again->TakeFromCache(cache_, store_)) << "what is known of the file is the other's";
  ASSERT_TRUE(again->TakeAnswer(Scanned({{0, 1, 2, 3}})).ok()) << "but the columns are there";
  EXPECT_EQ(Open(Value(again->Assemble(*store_.ids(), store_.reaper())), 0)->num_rows(), 40);
}

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

TEST_F(DictionaryTest, BlocksShareTheValuesAndTheFieldIsMarked) {
  const auto scan = Begin(dictionaries_);
  EXPECT_FALSE(scan->TakeFromCache(cache_, store_));
  for (const int block : {0, 1, 2, 3}) SendIndices(*scan, block, block % 2);
  SendValues(*scan, {"north", "south"});
  ASSERT_TRUE(scan->TakeAnswer(Scanned(20, 20)).ok());
  const Publication publication = Value(scan->Assemble(*store_.ids(), store_.reaper()));
  const auto table = Open(publication, 0);
  ASSERT_TRUE(table->ValidateFull().ok());
  EXPECT_EQ(table->num_rows(), 40);
  EXPECT_EQ(TextAt(*table, 0), "north");
  EXPECT_EQ(TextAt(*table, 39), "south");
  const auto& field = *table->schema()->field(0);
  EXPECT_EQ(field.type()->ToString(), "dictionary<values=string, indices=int32, ordered=0>");
  EXPECT_FALSE(field.nullable());
  EXPECT_EQ(Value(field.metadata()->Get("zerrow:dictionary")), "auto");
  const auto values = [&](int chunk) {
    return static_cast<const arrow::DictionaryArray&>(*table->column(0)->chunk(chunk)).dictionary();
  };
  EXPECT_EQ(values(0)->data()->buffers[2]->data(), values(3)->data()->buffers[2]->data());
  EXPECT_EQ(publication.table->AllSegments().size(), 4u + 1 + 1);

  Keep(*scan);
  const auto again = Begin(dictionaries_);
  ASSERT_TRUE(again->TakeFromCache(cache_, store_));
  const Publication hit = Value(again->Assemble(*store_.ids(), store_.reaper()));
  EXPECT_TRUE(Open(hit, 0)->Equals(*table, /*check_metadata=*/true));
  EXPECT_EQ(hit.table->cache->hits, 4);
  EXPECT_EQ(again->Learn().used.size(), 4u + 1) << "and their values";
  EXPECT_FALSE(Begin(plain_)->TakeFromCache(cache_, store_));
}

TEST_F(DictionaryTest, IndicesWithoutTheirValuesAreMissing) {
  const auto scan = Begin(dictionaries_);
  EXPECT_FALSE(scan->TakeFromCache(cache_, store_));
  for (const int block : {0, 1, 2, 3}) SendIndices(*scan, block, 0);
  EXPECT_EQ(scan->TakeAnswer(Scanned(20, 20)).message(), "its worker sent no values of column s");
  SendValues(*scan, {"north"});
  ASSERT_TRUE(scan->TakeAnswer(Scanned(20, 20)).ok());
  auto learned = scan->Learn();
  ASSERT_EQ(learned.entries.size(), 5u);
  EXPECT_EQ(learned.entries[0].entry.decode_s, 2.0) << "what is lost with the values";
  for (auto& [file, footer] : learned.footers) cache_.InsertFooter(file, footer);
  for (size_t i = 1; i < 5; ++i) {
    EXPECT_TRUE(cache_.Insert(learned.entries[i].key, learned.entries[i].entry).empty());
  }
  EXPECT_FALSE(Begin(dictionaries_)->TakeFromCache(cache_, store_));
  EXPECT_TRUE(cache_.Insert(learned.entries[0].key, learned.entries[0].entry).empty());
  EXPECT_TRUE(Begin(dictionaries_)->TakeFromCache(cache_, store_));
}

// As bytes for 40 rows tell.
TEST_F(DictionaryTest, WhetherItPaysAllFilesTellTogether) {
  const auto expect = [&](const json& answer, bool dictionary) {
    const auto scan = Begin(dictionaries_);
    for (const int block : {0, 1, 2, 3}) {
      if (dictionary) SendIndices(*scan, block, 0);
      arrow::StringBuilder builder;
      EXPECT_TRUE(builder.AppendValues(std::vector<std::string>(10, "north")).ok());
      const json entry = {{"block", block}, {"column", "s"}};
      EXPECT_TRUE(SendPiece(*scan, entry, Value(builder.Finish())).ok());
    }
    if (dictionary) SendValues(*scan, {"north"});
    ASSERT_TRUE(scan->TakeAnswer(answer).ok());
    const auto table = Open(Value(scan->Assemble(*store_.ids(), store_.reaper())), 0);
    EXPECT_EQ(table->column(0)->type()->id() == arrow::Type::DICTIONARY, dictionary);
  };
  expect(Scanned(300, 20), true);
  expect(Scanned(301, 20), false);
  json one_has_none = Scanned(20, 20);
  one_has_none["files"][1].erase("encoded");
  expect(one_has_none, false);
  for (json malformed : {json(3), json({{"s", -1}}), json({{"s", "20"}})}) {
    json answer = Scanned(20, 20);
    answer["files"][0]["encoded"] = std::move(malformed);
    EXPECT_TRUE(Begin(dictionaries_)->TakeAnswer(answer).IsSerializationError());
  }
}

TEST_F(ScanTest, BlocksOfSeveralFilesAreNotKept) {
  const auto scan = Begin({{std::vector<std::string>{"a"}, {}}});
  EXPECT_FALSE(scan->TakeFromCache(cache_, store_));
  ASSERT_TRUE(Send(*scan, "a", {0}, 40).ok());
  json answer = Scanned({{0}});
  answer["blocks"] = {{nullptr, 40}};
  ASSERT_TRUE(scan->TakeAnswer(answer).ok());
  EXPECT_EQ(Open(Value(scan->Assemble(*store_.ids(), store_.reaper())), 0)->num_rows(), 40);
  EXPECT_TRUE(scan->Learn().entries.empty());
  EXPECT_TRUE(scan->Learn().kept.empty());
}

TEST_F(ScanTest, RowsWithoutColumnsAndColumnsWithoutRows) {
  const auto scan = Begin({{std::vector<std::string>{}, {}}, {std::vector<std::string>{"a"}, "b"}});
  EXPECT_FALSE(scan->TakeFromCache(cache_, store_));
  ASSERT_TRUE(scan->TakeAnswer(Scanned({{0, 1, 2, 3}, json::array()})).ok());
  const Publication publication = Value(scan->Assemble(*store_.ids(), store_.reaper()));
  EXPECT_EQ(Open(publication, 0)->num_rows(), 40);
  EXPECT_EQ(Open(publication, 1)->num_rows(), 0);
  EXPECT_TRUE(
      Open(publication, 1)->schema()->Equals(arrow::schema({arrow::field("a", arrow::int64())})));
}

TEST_F(ScanTest, MalformedAnswersAreRefused) {
  const std::pair<const char*, json> changes[] = {
      {"/schemas", nullptr},
      {"/schemas/0", 3},
      {"/schemas/0", "c2Nz"},
      {"/files", json::array()},
      {"/files/0", 3},
      {"/files/0/schema", 1},
      {"/files/0/schema", -1},
      {"/files/0/blocks", 3},
      {"/files/0/blocks/0", json::array()},
      {"/files/0/blocks/0/0", -1},
      {"/files/0/blocks/0/1", 0},
      {"/files/0/blocks/0/2", 1.5},
      {"/files/0/blocks/0/2", 11},
      {"/blocks", nullptr},
      {"/blocks/0", 1},
      {"/blocks/0/0", 2},
      {"/blocks/0/0", nullptr},
      {"/blocks/0/1", 2},
      {"/blocks/0/1", "0"},
      {"/reads", json::array()},
      {"/reads/0", 0},
      {"/reads/0/0", 4},
      {"/reads/0/0", 18446744073709551615u},
      {"/reads/0/1", 0},
  };
  for (const auto& [place, value] : changes) {
    const auto scan = Begin({{std::vector<std::string>{"a"}, {}}});
    EXPECT_FALSE(scan->TakeFromCache(cache_, store_));
    ASSERT_TRUE(Send(*scan, "a", {0, 1, 2, 3}).ok());
    json answer = Scanned({{0, 1, 2, 3}});
    answer[json::json_pointer(place)] = value;
    EXPECT_FALSE(scan->TakeAnswer(answer).ok()) << place << " " << value;
  }
  const auto scan = Begin({{std::vector<std::string>{"a"}, {}}});
  ASSERT_TRUE(Send(*scan, "a", {0, 1, 2}).ok());
  EXPECT_EQ(scan->TakeAnswer(Scanned({{0, 1, 2, 3}})).message(),
            "its worker hasn't decoded column a");
  EXPECT_FALSE(scan->TakeAnswer(json(3)).ok());
}

TEST_F(ScanTest, WhatIsNoSealedColumnIsRefused) {
  const auto scan = Begin({{}});
  const auto send = [&](json entries, base::UniqueFd fd) {
    base::Message message;
    message.body = {{"op", "decoded"}, {"entries", std::move(entries)}};
    message.fds.push_back(std::move(fd));
    return scan->TakeDecoded(std::move(message), *store_.ids(), store_.reaper());
  };
  const json good = {{{"block", 0}, {"column", "a"}}};
  EXPECT_TRUE(send(good, Encoded("a", 0, 10)).ok());
  EXPECT_FALSE(send(json::array(), Encoded("a", 0, 10)).ok());
  EXPECT_FALSE(send({3}, Encoded("a", 0, 10)).ok());
  EXPECT_FALSE(send({{{"block", -1}, {"column", "a"}}}, Encoded("a", 0, 10)).ok());
  EXPECT_FALSE(send(good, Value(base::MakeMemfd("unsealed", 4096))).ok());
  EXPECT_FALSE(send(good, Value(base::MakeSealedMemfd("no message", "ZRWSIPC"))).ok());
  EXPECT_EQ(scan->decoded_bytes(), Value(base::FileSize(Encoded("a", 0, 10).get())));
}

TEST_F(ScanTest, FilesAreIdentifiedByAllThatAChangeChanges) {
  EXPECT_TRUE(Identify({{"/no/such/file", nullptr}}).status().IsIOError());
  const auto self = Value(Identify({{"/proc/self/exe", nullptr}}));
  EXPECT_GT(self[0].identity.size_bytes, 0);
  EXPECT_NE(self[0].identity.inode, 0u);
  // Times of /proc mean nothing.
  EXPECT_FALSE(Value(Identify({{"/proc/self/status", nullptr}}))[0].lasting);
}

}  // namespace
}  // namespace zerrow::engine
