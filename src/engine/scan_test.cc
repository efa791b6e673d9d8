#include "engine/scan.h"

#include "engine/task_message.h"
#include "engine/testing/scan_fixture.h"

namespace zerrow::engine::testing {
namespace {

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
  TaskMessage task;
  ASSERT_TRUE(other_filter->Describe(task).ok());
  EXPECT_EQ(task.body["have"],
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

TEST_F(ScanTest, BlocksOfSeveralFilesAreNotKept) {
  const auto scan = Begin({{std::vector<std::string>{"a"}, {}}});
  EXPECT_FALSE(scan->TakeFromCache(cache_, store_));
  ASSERT_TRUE(Send(*scan, "a", {0}, 40).ok());
  json answer = Scanned({{0}});
  answer["blocks"] = {{nullptr, 40}};
  ASSERT_TRUE(scan->TakeAnswer(answer).ok());
  EXPECT_EQ(Open(Value(scan->Assemble(*store_.ids(), store_.reaper())), 0)->num_rows(), 40);
  EXPECT_TRUE(scan->Learn(cache_).entries.empty());
  EXPECT_TRUE(scan->Learn(cache_).kept.empty());
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

TEST_F(ScanTest, MoreRowsThanCanBeCountedAreRefused) {
  const auto scan = Begin({{std::vector<std::string>{}, {}}});
  EXPECT_FALSE(scan->TakeFromCache(cache_, store_));
  json answer = Scanned({{0, 1}});
  answer["blocks"] = {{nullptr, INT64_MAX}, {nullptr, 1}};
  EXPECT_EQ(scan->TakeAnswer(answer).message(), "its worker answered with a malformed read");
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
}  // namespace zerrow::engine::testing
