// Scans whose texts are dictionaries: which columns, and the values that they share.
#include <arrow/util/key_value_metadata.h>

#include "base/mapping.h"
#include "engine/task_message.h"
#include "engine/testing/scan_fixture.h"

namespace zerrow::engine::testing {
namespace {

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
  EXPECT_EQ(again->Learn(cache_).used.size(), 4u + 1) << "and their values";
  EXPECT_FALSE(Begin(plain_)->TakeFromCache(cache_, store_));
}

TEST_F(DictionaryTest, IndicesWithoutTheirValuesAreMissing) {
  const auto scan = Begin(dictionaries_);
  EXPECT_FALSE(scan->TakeFromCache(cache_, store_));
  for (const int block : {0, 1, 2, 3}) SendIndices(*scan, block, 0);
  EXPECT_EQ(scan->TakeAnswer(Scanned(20, 20)).message(), "its worker sent no values of column s");
  SendValues(*scan, {"north"});
  ASSERT_TRUE(scan->TakeAnswer(Scanned(20, 20)).ok());
  const auto learned = scan->Learn(cache_);
  ASSERT_EQ(learned.entries.size(), 5u);
  EXPECT_EQ(learned.entries[0].entry.decode_s, 2.0) << "what is lost with the values";
  for (const auto& [file, footer] : learned.footers) cache_.InsertFooter(file, footer);
  for (const auto& [key, entry, segment, grown_from] : learned.entries) {
    EXPECT_TRUE(cache_.Insert(key, entry).empty());
    store_.Add(segment);
  }
  EXPECT_TRUE(Begin(dictionaries_)->TakeFromCache(cache_, store_));
  const decache::EntryKey used = learned.entries[2].key;
  for (int i = 0; i < 8; ++i) cache_.Use(used);
  (void)cache_.Resize({.bytes = 1 << 20, .entries = 1, .footer_bytes = 1 << 20});
  ASSERT_NE(cache_.Find(used), nullptr);
  const auto again = Begin(dictionaries_);
  EXPECT_FALSE(again->TakeFromCache(cache_, store_));
  TaskMessage task;
  ASSERT_TRUE(again->Describe(task).ok());
  EXPECT_TRUE(task.body["have"].empty());
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

/// Some blocks' texts are in the cache, and another scan needs those of all.
class GrowthTest : public DictionaryTest {
 protected:
  static std::vector<SourceRead> Where(const std::string& filter) {
    return {{std::vector<std::string>{"s"}, filter, true}};
  }

  std::unique_ptr<Scan> BeginToDecode(const std::vector<SourceRead>& reads) {
    auto scan = Begin(reads);
    EXPECT_FALSE(scan->TakeFromCache(cache_, store_));
    return scan;
  }
  arrow::Status Finish(Scan& scan, const json& blocks) {
    json answer = Scanned(20, 20);
    answer["reads"] = {blocks};
    return scan.TakeAnswer(answer);
  }
  void Decode(const std::string& filter, const std::map<int, int32_t>& index_of_block,
              const std::vector<std::string>& values) {
    const auto scan = BeginToDecode(Where(filter));
    json blocks = json::array();
    for (const auto& [block, index] : index_of_block) {
      SendIndices(*scan, block, index);
      blocks.push_back(block);
    }
    SendValues(*scan, values);
    ASSERT_TRUE(Finish(*scan, blocks).ok());
    Keep(*scan);
  }

  std::shared_ptr<arrow::Table> TableOf(const Scan& scan) {
    auto table = Open(Value(scan.Assemble(*store_.ids(), store_.reaper())), 0);
    EXPECT_TRUE(table->ValidateFull().ok());
    return table;
  }
  std::shared_ptr<arrow::Table> Hit(const std::vector<SourceRead>& reads) {
    const auto scan = Begin(reads);
    EXPECT_TRUE(scan->TakeFromCache(cache_, store_));
    auto table = TableOf(*scan);
    Keep(*scan);
    return table;
  }
  static const arrow::StringArray& ValuesOf(const arrow::Table& table, int chunk) {
    const auto& array = static_cast<const arrow::DictionaryArray&>(*table.column(0)->chunk(chunk));
    return static_cast<const arrow::StringArray&>(*array.dictionary());
  }
  static bool Share(const arrow::Table& table, int chunk, int other) {
    return ValuesOf(table, chunk).raw_data() == ValuesOf(table, other).raw_data();
  }
  std::vector<decache::Listed> KeptValues() const {
    auto listed = cache_.List();
    std::erase_if(listed, [](const auto& entry) { return entry.entry.values != nullptr; });
    return listed;
  }
  std::vector<std::string> TextsOf(const arrow::Table& table) const {
    std::vector<std::string> texts;
    for (int64_t row = 0; row < table.num_rows(); row += 10) texts.push_back(TextAt(table, row));
    return texts;
  }
  using Texts = std::vector<std::string>;
};

TEST_F(GrowthTest, WhatIsDecodedLaterExtendsTheValuesForAll) {
  Decode("first", {{0, 0}, {1, 1}}, {"north", "south"});
  const auto scan = BeginToDecode(dictionaries_);
  TaskMessage task;
  ASSERT_TRUE(scan->Describe(task).ok());
  ASSERT_EQ(task.body["inputs"].size(), 1u);
  const json& given = task.body["inputs"][0];
  EXPECT_EQ(given["parameter"], "s");
  EXPECT_EQ(given["rows"], 2);
  EXPECT_EQ(Value(base::FileSize(task.fds.at(given["message"]))), KeptValues()[0].entry.bytes);

  SendIndices(*scan, 2, 2);
  SendIndices(*scan, 3, 0);
  SendValues(*scan, {"north", "south", "west"});
  ASSERT_TRUE(Finish(*scan, {0, 1, 2, 3}).ok());
  const auto table = TableOf(*scan);
  EXPECT_EQ(TextsOf(*table), (Texts{"north", "south", "west", "north"}));
  for (const int chunk : {1, 2, 3}) EXPECT_TRUE(Share(*table, 0, chunk)) << chunk;
  Keep(*scan);

  ASSERT_EQ(KeptValues().size(), 1u);
  EXPECT_EQ(KeptValues()[0].entry.decode_s, 2.0) << "as all four rely on them";
  EXPECT_EQ(KeptValues()[0].entry.hits, 1);
  EXPECT_TRUE(Hit(dictionaries_)->Equals(*table, /*check_metadata=*/true));
  files_.resize(1);
  const auto first = Hit(dictionaries_);
  EXPECT_EQ(TextsOf(*first), (Texts{"north", "south"}));
  EXPECT_EQ(ValuesOf(*first, 0).length(), 3) << "the newest serve earlier entries";
}

TEST_F(GrowthTest, WhereNothingIsNewTheValuesStay) {
  Decode("first", {{0, 0}, {1, 1}}, {"north", "south"});
  const SegmentId before = KeptValues()[0].entry.segment;
  const auto scan = BeginToDecode(dictionaries_);
  SendIndices(*scan, 2, 1);
  SendIndices(*scan, 3, 0);
  ASSERT_TRUE(Finish(*scan, {0, 1, 2, 3}).ok());
  Keep(*scan);
  ASSERT_EQ(KeptValues().size(), 1u);
  EXPECT_EQ(KeptValues()[0].entry.segment, before);
  EXPECT_EQ(KeptValues()[0].entry.decode_s, 2.0);
  const auto table = Hit(dictionaries_);
  EXPECT_EQ(TextsOf(*table), (Texts{"north", "south", "south", "north"}));
  EXPECT_TRUE(Share(*table, 0, 3));
}

TEST_F(GrowthTest, TheDictionaryOfMostRowsIsExtended) {
  // Whoever finds no values of the column's begins with none.
  const auto one = BeginToDecode(Where("one")), two = BeginToDecode(Where("two"));
  SendIndices(*one, 0, 0);
  SendValues(*one, {"north"});
  ASSERT_TRUE(Finish(*one, {0}).ok());
  Keep(*one);
  SendIndices(*two, 1, 1);
  SendIndices(*two, 2, 0);
  SendValues(*two, {"south", "west"});
  ASSERT_TRUE(Finish(*two, {1, 2}).ok());
  Keep(*two);
  const auto scan = BeginToDecode(dictionaries_);
  SendIndices(*scan, 3, 2);
  SendValues(*scan, {"south", "west", "east"});
  ASSERT_TRUE(Finish(*scan, {0, 1, 2, 3}).ok());
  Keep(*scan);
  const auto table = Hit(dictionaries_);
  EXPECT_EQ(TextsOf(*table), (Texts{"north", "west", "south", "east"}));
  EXPECT_FALSE(Share(*table, 0, 1));
  EXPECT_TRUE(Share(*table, 1, 2) && Share(*table, 1, 3));
}

TEST_F(GrowthTest, OfTwoThatExtendTheSameValuesTheSecondHasItsOwn) {
  Decode("first", {{0, 0}, {1, 1}}, {"north", "south"});
  const auto one = BeginToDecode(Where("one")), two = BeginToDecode(Where("two")),
             third = BeginToDecode(Where("three"));
  SendIndices(*one, 2, 2);
  SendValues(*one, {"north", "south", "west"});
  ASSERT_TRUE(Finish(*one, {0, 1, 2}).ok());
  SendIndices(*two, 3, 2);
  SendValues(*two, {"north", "south", "east"});
  ASSERT_TRUE(Finish(*two, {0, 3}).ok());
  // And one that extends nothing, but has only what it was given.
  SendIndices(*third, 3, 1);
  ASSERT_TRUE(Finish(*third, {3}).ok());
  EXPECT_EQ(TextsOf(*TableOf(*two)), (Texts{"north", "east"}));
  Keep(*one);
  Keep(*two);
  EXPECT_EQ(KeptValues().size(), 2u);
  const auto learned = third->Learn(cache_);
  ASSERT_EQ(learned.entries.size(), 2u);
  EXPECT_FALSE(learned.entries[0].grown_from);
  EXPECT_EQ(cache_.Find(learned.entries[0].key), nullptr) << "a key of its own";
  EXPECT_EQ(*learned.entries[1].entry.values, learned.entries[0].key);
  const auto table = Hit(dictionaries_);
  EXPECT_EQ(TextsOf(*table), (Texts{"north", "south", "west", "east"}));
  EXPECT_TRUE(Share(*table, 0, 1) && Share(*table, 0, 2));
  EXPECT_FALSE(Share(*table, 0, 3));
}

TEST_F(GrowthTest, ValuesThatAreGoneMeanwhileStillServeTheScan) {
  for (const bool grows : {true, false}) {
    Decode("first", {{0, 0}, {1, 1}}, {"north", "south"});
    const auto scan = BeginToDecode(dictionaries_);
    for (const SegmentId id : cache_.Clear()) store_.Free(id);
    SendIndices(*scan, 2, 1);
    SendIndices(*scan, 3, grows ? 2 : 0);
    if (grows) SendValues(*scan, {"north", "south", "west"});
    ASSERT_TRUE(Finish(*scan, {0, 1, 2, 3}).ok());
    EXPECT_EQ(TextsOf(*TableOf(*scan)),
              (Texts{"north", "south", "south", grows ? "west" : "north"}));
    Keep(*scan);
    EXPECT_EQ(cache_.num_entries(), 2u + 1) << "what it decoded, and its values";
    const auto again = BeginToDecode(dictionaries_);
    SendIndices(*again, 0, 0);
    SendIndices(*again, 1, 1);
    ASSERT_TRUE(Finish(*again, {0, 1, 2, 3}).ok());
    Keep(*again);
    EXPECT_TRUE(Share(*Hit(dictionaries_), 0, 3));
    for (const SegmentId id : cache_.Clear()) store_.Free(id);
  }
}

TEST_F(GrowthTest, WhoChangesTheValuesIsRefused) {
  Decode("first", {{0, 0}, {1, 1}}, {"north", "south"});
  const auto refused = [&](const std::shared_ptr<arrow::Array>& values) {
    const auto scan = BeginToDecode(dictionaries_);
    SendIndices(*scan, 2, 0);
    SendIndices(*scan, 3, 0);
    EXPECT_TRUE(SendPiece(*scan, {{"column", "s"}, {"values", true}}, values).ok());
    const auto status = Finish(*scan, {0, 1, 2, 3});
    return status.IsSerializationError() &&
           status.message() == "its worker changed the values of column s";
  };
  const auto texts = [](const std::vector<std::optional<std::string>>& values) {
    arrow::StringBuilder builder;
    for (const auto& value : values) {
      EXPECT_TRUE((value ? builder.Append(*value) : builder.AppendNull()).ok());
    }
    return Value(builder.Finish());
  };
  EXPECT_FALSE(refused(texts({"north", "south", "west"})));
  EXPECT_TRUE(refused(texts({"north", "South", "west"})));
  EXPECT_TRUE(refused(texts({"south", "north"})));
  EXPECT_TRUE(refused(texts({"nort", "hsouth"})));
  EXPECT_TRUE(refused(texts({"north"})));
  EXPECT_TRUE(refused(texts({})));
  EXPECT_TRUE(refused(texts({"north", "south", std::nullopt})));
  EXPECT_TRUE(refused(texts({std::nullopt, "south"})));
  EXPECT_TRUE(refused(Numbers(0, 3)));
  EXPECT_TRUE(refused(Value(texts({"north", "south"})->View(arrow::binary()))));
  const auto with_offsets = [](std::vector<int32_t> offsets) {
    const auto length = static_cast<int64_t>(offsets.size()) - 1;
    return std::make_shared<arrow::StringArray>(length,
                                                arrow::Buffer::FromVector(std::move(offsets)),
                                                arrow::Buffer::FromString("northsouthwest"));
  };
  EXPECT_FALSE(refused(with_offsets({0, 5, 10, 14})));
  EXPECT_TRUE(refused(with_offsets({0, 5, 1 << 30, 14})));
  EXPECT_TRUE(refused(with_offsets({0, 5, 10, 1 << 30, 14})));
  EXPECT_TRUE(refused(with_offsets({0, 5, -1, 14})));
  EXPECT_EQ(TextsOf(*Hit(Where("first"))), (Texts{"north", "south"}));
}

TEST_F(GrowthTest, OnlyWhoNeedsMoreOfTheColumnGetsItsValues) {
  Decode("first", {{0, 0}, {1, 1}}, {"north", "south"});
  const auto inputs = [&](const std::vector<SourceRead>& reads, bool use_cache = true) {
    const auto scan = Begin(reads, use_cache);
    EXPECT_FALSE(scan->TakeFromCache(cache_, store_));
    TaskMessage task;
    EXPECT_TRUE(scan->Describe(task).ok());
    return task.fds.size();
  };
  EXPECT_EQ(inputs(dictionaries_), 1u);
  EXPECT_EQ(inputs(dictionaries_, /*use_cache=*/false), 0u);
  EXPECT_EQ(inputs(plain_), 0u);
  Decode("rest", {{2, 0}, {3, 1}}, {"north", "south"});
  EXPECT_EQ(inputs({{std::vector<std::string>{"a", "s"}, {}, true}}), 0u) << "all of s is there";
  files_[0].lasting = false;
  EXPECT_EQ(inputs(dictionaries_), 1u) << "of the other file";
  files_[1].lasting = false;
  EXPECT_EQ(inputs(dictionaries_), 0u);
}

// What isn't kept must not make the kept values grow with each run.
TEST_F(GrowthTest, FilesThatDontLastLeaveTheKeptValues) {
  Decode("first", {{0, 0}, {1, 1}}, {"north", "south"});
  files_[1].lasting = false;
  const auto scan = BeginToDecode(dictionaries_);
  SendIndices(*scan, 2, 2);
  SendIndices(*scan, 3, 0);
  SendValues(*scan, {"north", "south", "west"});
  ASSERT_TRUE(Finish(*scan, {0, 1, 2, 3}).ok());
  EXPECT_TRUE(Share(*TableOf(*scan), 0, 2));
  Keep(*scan);
  EXPECT_EQ(cache_.num_entries(), 3u);
  files_.resize(1);
  EXPECT_EQ(ValuesOf(*Hit(dictionaries_), 0).length(), 2);
}

}  // namespace
}  // namespace zerrow::engine::testing
