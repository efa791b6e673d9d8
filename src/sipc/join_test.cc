// Tables that are cut into one-column messages and joined again: at random, by hand, and from
// messages that were damaged. ZERROW_SIPC_SEED=n runs one seed only, ZERROW_SIPC_SEEDS=n the first
// n.
#include "sipc/join.h"

#include <arrow/array.h>
#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_dict.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <random>

#include "base/mapping.h"
#include "sipc/check.h"
#include "sipc/message_view.h"
#include "sipc/reader.h"
#include "sipc/testing/hostile.h"
#include "sipc/testing/random_table.h"
#include "sipc/writer.h"

namespace zerrow::sipc {
namespace {

using Pieces = std::vector<std::vector<JoinedPart>>;

std::span<const uint8_t> BytesOf(const arrow::Buffer& buffer) {
  return {buffer.data(), static_cast<size_t>(buffer.size())};
}

std::shared_ptr<arrow::Table> ColumnOf(const arrow::Table& table, int i) {
  return arrow::Table::Make(arrow::schema({table.field(i)}), {table.column(i)}, table.num_rows());
}

/// Messages as segments, and the pieces that were read from them.
class Segments {
 public:
  const ColumnPiece* Add(std::shared_ptr<arrow::Buffer> message) {
    const SegmentId id = 100 + messages_.size();
    auto piece = ColumnPiece::Read(BytesOf(*message), id);
    if (!piece.ok()) return nullptr;
    granted_[id] = message->size();
    messages_[id] = std::move(message);
    pieces_.push_back(std::make_unique<ColumnPiece>(std::move(*piece)));
    return pieces_.back().get();
  }
  const ColumnPiece* Add(const arrow::Table& table) {
    return Add(Encode(table, AddressMap()).ValueOrDie().message);
  }
  const ColumnPiece* AddInts(const std::vector<int64_t>& values) {
    arrow::Int64Builder builder;
    EXPECT_TRUE(builder.AppendValues(values).ok());
    return Add(*arrow::Table::Make(Schema(arrow::int64()), {builder.Finish().ValueOrDie()}));
  }
  static std::shared_ptr<arrow::Schema> Schema(const std::shared_ptr<arrow::DataType>& type) {
    return arrow::schema({arrow::field("a", type)});
  }

  arrow::Result<Summary> CheckJoined(const arrow::Buffer& message) const {
    return Check(BytesOf(message), granted_);
  }
  arrow::Result<std::shared_ptr<arrow::Table>> ReadJoined(
      const std::shared_ptr<arrow::Buffer>& message) const {
    auto resolver = [this](SegmentId id) -> arrow::Result<std::shared_ptr<arrow::Buffer>> {
      return messages_.at(id);
    };
    ARROW_ASSIGN_OR_RAISE(auto reader, Reader::Open(message, resolver));
    return reader->ReadTable();
  }

 private:
  std::map<SegmentId, int64_t> granted_;
  std::map<SegmentId, std::shared_ptr<arrow::Buffer>> messages_;
  std::vector<std::unique_ptr<ColumnPiece>> pieces_;
};

class Joins : public ::testing::TestWithParam<uint64_t> {
 protected:
  /// Cuts each column at random rows, not the same as the others'.
  Pieces Cut(const arrow::Table& table) {
    Pieces columns;
    for (int i = 0; i < table.num_columns(); ++i) {
      const auto column = ColumnOf(table, i);
      columns.emplace_back();
      for (int64_t row = 0; row < table.num_rows();) {
        const auto rows =
            static_cast<int64_t>(random_() % static_cast<uint64_t>(table.num_rows() - row + 1));
        columns.back().emplace_back(segments_.Add(*column->Slice(row, rows)));
        EXPECT_NE(columns.back().back().piece, nullptr);
        row += rows;
      }
    }
    return columns;
  }

  std::mt19937_64 random_{GetParam()};
  Segments segments_;
};

TEST_P(Joins, WhatWasCutIsTheSameAgain) {
  testing::RandomTables tables(GetParam(), {.pools = {arrow::default_memory_pool()}});
  const auto table = tables.Table();
  const Pieces columns = Cut(*table);
  auto message = Join(*table->schema(), table->num_rows(), columns);
  ASSERT_TRUE(message.ok()) << message.status() << table->schema()->ToString();

  const auto summary = segments_.CheckJoined(**message);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->num_rows, table->num_rows());
  EXPECT_EQ(summary->num_columns, table->num_columns());
  EXPECT_EQ(summary->inline_bytes, 0);

  const auto read = segments_.ReadJoined(*message).ValueOrDie();
  ASSERT_TRUE(read->schema()->Equals(*table->schema(), /*check_metadata=*/true));
  const auto valid = read->ValidateFull();
  ASSERT_TRUE(valid.ok()) << valid;
  for (int i = 0; i < table->num_columns(); ++i) {
    ASSERT_TRUE(read->column(i)->Equals(table->column(i))) << table->field(i)->ToString();
  }
}

TEST_P(Joins, DamagedPiecesAreRefusedOrHarmless) {
  testing::RandomTables tables(
      GetParam(), {.max_columns = 3, .max_rows = 30, .pools = {arrow::default_memory_pool()}});
  const auto table = tables.Table();
  for (int i = 0; i < table->num_columns(); ++i) {
    const auto column = ColumnOf(*table, i);
    const auto sound = Encode(*column, AddressMap()).ValueOrDie().message;
    for (int mutation = 0; mutation < 20; ++mutation) {
      std::vector<uint8_t> bytes(sound->data(), sound->data() + sound->size());
      testing::Mutate(&bytes, &random_);
      const ColumnPiece* piece = segments_.Add(arrow::Buffer::FromVector(std::move(bytes)));
      if (piece == nullptr) continue;
      // Joined with what is sound, so that nothing of it may reach over.
      const ColumnPiece* other = segments_.Add(*column);
      const int64_t rows = piece->rows();
      if (rows > (int64_t{1} << 40)) continue;
      const auto message =
          Join(*column->schema(), 2 * rows + other->rows(), {{piece, other, piece}});
      if (!message.ok()) {
        EXPECT_TRUE(message.status().IsInvalid()) << message.status();
        continue;
      }
      const auto summary = segments_.CheckJoined(**message);
      ASSERT_TRUE(summary.ok()) << summary.status();
      if (rows > 1000) continue;
      const auto read = segments_.ReadJoined(*message);
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_TRUE((*read)->Slice(rows, other->rows())->Equals(*column));
    }
  }
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

INSTANTIATE_TEST_SUITE_P(Seeds, Joins, ::testing::ValuesIn(Seeds()));

TEST(Join, PieceSaysWhatItsMessageHolds) {
  Segments segments;
  const auto encoded =
      Encode(*arrow::Table::Make(Segments::Schema(arrow::int64()),
                                 {arrow::MakeArrayOfNull(arrow::int64(), 1000).ValueOrDie()}),
             AddressMap())
          .ValueOrDie();
  const ColumnPiece piece = ColumnPiece::Read(BytesOf(*encoded.message), 7).ValueOrDie();
  EXPECT_EQ(piece.segment(), 7);
  EXPECT_EQ(piece.rows(), 1000);
  EXPECT_EQ(piece.num_chunks(), 1);
  EXPECT_EQ(piece.size_bytes(), encoded.message->size());
  EXPECT_GE(piece.data_bytes(), encoded.copied_bytes);
  EXPECT_LT(piece.data_bytes(), piece.size_bytes());
  EXPECT_TRUE(ColumnPiece::Read(BytesOf(*encoded.message), 0).status().IsInvalid());
}

TEST(Join, OnlyWholeMessagesOfOneColumnArePieces) {
  const auto column = arrow::MakeArrayOfNull(arrow::int64(), 1000).ValueOrDie();
  const auto field = arrow::field("a", arrow::int64());
  const auto two = arrow::Table::Make(arrow::schema({field, field}), {column, column});
  const auto none = arrow::Table::Make(arrow::schema({}), arrow::ArrayVector{}, 5);
  for (const auto& table : {two, none}) {
    const auto message = Encode(*table, AddressMap()).ValueOrDie().message;
    const auto status = ColumnPiece::Read(BytesOf(*message), 1).status();
    EXPECT_TRUE(status.IsSerializationError()) << status;
    EXPECT_NE(status.message().find("one column"), std::string::npos) << status;
  }
  AddressMap elsewhere;
  const auto& values = column->data()->buffers[1];
  elsewhere.Add(1, values->data(), values->size());
  const auto table = arrow::Table::Make(arrow::schema({field}), {column});
  const auto message = Encode(*table, elsewhere).ValueOrDie().message;
  const auto status = ColumnPiece::Read(BytesOf(*message), 1).status();
  EXPECT_TRUE(status.IsSerializationError()) << status;
  EXPECT_NE(status.message().find("other segments"), std::string::npos) << status;
  const auto part = BytesOf(*message).first(400);
  EXPECT_TRUE(ColumnPiece::Read(part, 1).status().IsSerializationError());
}

TEST(Join, APieceMayOccurMoreThanOnce) {
  Segments segments;
  arrow::StringDictionary32Builder builder;
  for (const char* text : {"north", "south", "north"}) ASSERT_TRUE(builder.Append(text).ok());
  const auto array = builder.Finish().ValueOrDie();
  const auto field = arrow::field("a", array->type());
  const auto one = arrow::Table::Make(arrow::schema({field}), {array});
  const ColumnPiece* piece = segments.Add(*one);
  const auto schema = arrow::schema({field, field->WithName("b")});
  const auto message = Join(*schema, 6, {{piece, piece}, {piece, piece}}).ValueOrDie();
  ASSERT_TRUE(segments.CheckJoined(*message).ok());

  const MessageView view = MessageView::Parse(BytesOf(*message)).ValueOrDie();
  EXPECT_EQ(view.count(kSegmentsSection), 1);
  EXPECT_EQ(view.count(kDictionariesSection), 1);
  EXPECT_EQ(view.segment(0).size_bytes, static_cast<uint64_t>(piece->size_bytes()));
  const auto column = std::make_shared<arrow::ChunkedArray>(arrow::ArrayVector{array, array});
  const auto read = segments.ReadJoined(message).ValueOrDie();
  EXPECT_TRUE(read->Equals(*arrow::Table::Make(schema, {column, column})));
}

// Lists of buffers of chunks and of dictionaries, of several pieces and columns: each kind stands
// behind the other in the joined message.
TEST(Join, ViewsBesideDictionariesOfViews) {
  Segments segments;
  auto views = [](const std::string& a, const std::string& b) {
    arrow::StringViewBuilder builder;
    for (const auto& text : {a, b}) EXPECT_TRUE(builder.Append(text + " that is long").ok());
    return builder.Finish().ValueOrDie();
  };
  auto texts = [&](const std::string& a, const std::string& b) {
    const auto type = arrow::dictionary(arrow::int8(), arrow::utf8_view());
    const std::vector<int8_t> indices = {1, 0};
    auto values = std::make_shared<arrow::Int8Array>(2, arrow::Buffer::FromVector(indices));
    auto coded = std::make_shared<arrow::DictionaryArray>(type, values, views("code " + a, b));
    return std::shared_ptr<arrow::Array>(
        arrow::StructArray::Make({views(a, b), coded}, std::vector<std::string>{"plain", "coded"})
            .ValueOrDie());
  };
  const arrow::ArrayVector arrays = {texts("one", "two"), texts("three", "four"),
                                     texts("five", "six")};
  const auto field = arrow::field("a", arrays[0]->type());
  std::vector<const ColumnPiece*> pieces;
  for (const auto& array : arrays) {
    pieces.push_back(segments.Add(*arrow::Table::Make(arrow::schema({field}), {array})));
  }
  const auto schema = arrow::schema({field, field->WithName("b")});
  const auto message =
      Join(*schema, 4, {{pieces[0], pieces[1]}, {pieces[2], pieces[1]}}).ValueOrDie();
  ASSERT_TRUE(segments.CheckJoined(*message).ok());
  const auto read = segments.ReadJoined(message).ValueOrDie();
  ASSERT_TRUE(read->ValidateFull().ok());
  const arrow::ArrayVector a = {arrays[0], arrays[1]}, b = {arrays[2], arrays[1]};
  EXPECT_TRUE(read->column(0)->Equals(arrow::ChunkedArray(a)));
  EXPECT_TRUE(read->column(1)->Equals(arrow::ChunkedArray(b)));
}

TEST(Join, IndicesAndTheirValuesAreADictionaryColumn) {
  Segments segments;
  const auto texts = [](const std::vector<std::string>& values) {
    arrow::StringBuilder builder;
    EXPECT_TRUE(builder.AppendValues(values).ok());
    return builder.Finish().ValueOrDie();
  };
  const auto table_of = [](const std::shared_ptr<arrow::Array>& array) {
    return arrow::Table::Make(Segments::Schema(array->type()), {array});
  };
  const auto values = texts({"north", "south", ""});
  const auto others = texts({"one"});
  const auto indices = [](const std::vector<int32_t>& numbers, const std::vector<bool>& valid) {
    arrow::Int32Builder builder;
    EXPECT_TRUE(builder.AppendValues(numbers, valid).ok());
    return builder.Finish().ValueOrDie();
  };
  const auto first = indices({1, 0, 2}, {true, false, true});
  const auto second = indices({0, 0}, {true, true});
  const ColumnPiece* a = segments.Add(*table_of(first));
  const ColumnPiece* b = segments.Add(*table_of(second));
  const ColumnPiece* of = segments.Add(*table_of(values));
  const ColumnPiece* of_b = segments.Add(*table_of(others));
  const auto type = arrow::dictionary(arrow::int32(), arrow::utf8());
  const auto field = arrow::field("a", type);
  const auto schema = arrow::schema({field, field->WithName("b")});
  const Pieces columns = {{JoinedPart(a, of), JoinedPart(b, of)},
                          {JoinedPart(b, of_b), JoinedPart(a, of)}};
  const auto message = Join(*schema, 5, columns).ValueOrDie();
  ASSERT_TRUE(segments.CheckJoined(*message).ok());
  EXPECT_EQ(MessageView::Parse(BytesOf(*message)).ValueOrDie().count(kDictionariesSection), 2);
  const auto read = segments.ReadJoined(message).ValueOrDie();
  ASSERT_TRUE(read->ValidateFull().ok());
  const auto coded = [&](const auto& indices, const auto& dictionary) {
    return std::make_shared<arrow::DictionaryArray>(type, indices, dictionary);
  };
  const arrow::ArrayVector x = {coded(first, values), coded(second, values)};
  const arrow::ArrayVector y = {coded(second, others), coded(first, values)};
  EXPECT_TRUE(read->column(0)->Equals(arrow::ChunkedArray(x)));
  EXPECT_TRUE(read->column(1)->Equals(arrow::ChunkedArray(y)));

  // Texts aren't indices, and indices alone are no text.
  for (const Pieces& wrong : {Pieces{{JoinedPart(of, of)}}, Pieces{{of}}, Pieces{{a}}}) {
    EXPECT_TRUE(Join(*arrow::schema({field}), 3, wrong).status().IsInvalid());
  }
  const auto large = arrow::field("a", arrow::dictionary(arrow::int32(), arrow::large_utf8()));
  EXPECT_TRUE(Join(*arrow::schema({large}), 3, {{JoinedPart(a, of)}}).status().IsInvalid());
}

TEST(Join, DataStaysWhereItIs) {
  Segments segments;
  const std::vector<int64_t> values(100000, 3);
  const ColumnPiece* piece = segments.AddInts(values);
  const auto message = Join(*Segments::Schema(arrow::int64()), 100000, {{piece}}).ValueOrDie();
  EXPECT_LT(message->size(), 1024);
  const Summary summary = segments.CheckJoined(*message).ValueOrDie();
  EXPECT_EQ(summary.referenced_bytes, 800000);
  EXPECT_EQ(summary.references.front().segment, piece->segment());
}

TEST(Join, TablesWithoutColumnsOrRows) {
  Segments segments;
  const auto none = Join(*arrow::schema({}), 17, {}).ValueOrDie();
  EXPECT_EQ(segments.CheckJoined(*none).ValueOrDie().num_rows, 17);
  EXPECT_EQ(segments.ReadJoined(none).ValueOrDie()->num_rows(), 17);

  const auto schema = Segments::Schema(arrow::list(arrow::utf8()));
  const auto empty = Join(*schema, 0, {{}}).ValueOrDie();
  ASSERT_TRUE(segments.CheckJoined(*empty).ok());
  const auto read = segments.ReadJoined(empty).ValueOrDie();
  EXPECT_TRUE(read->schema()->Equals(*schema));
  EXPECT_EQ(read->num_rows(), 0);
}

TEST(Join, RefusesWhatDoesNotFit) {
  Segments segments;
  const ColumnPiece* ints = segments.AddInts({1, 2, 3});
  const auto schema = Segments::Schema(arrow::int64());
  auto expect_invalid = [&](const arrow::Schema& of, int64_t rows, const Pieces& columns,
                            const std::string& because) {
    const arrow::Status status = Join(of, rows, columns).status();
    EXPECT_TRUE(status.IsInvalid()) << status;
    EXPECT_NE(status.message().find(because), std::string::npos) << status;
  };
  expect_invalid(*schema, 4, {{ints}}, "column a's pieces don't add up to 4 rows");
  expect_invalid(*schema, 5, {{ints, ints}}, "don't add up");
  expect_invalid(*schema, 1, {{}}, "don't add up");
  expect_invalid(*schema, -1, {{ints}}, "a table of -1 rows");
  expect_invalid(*schema, 3, {{ints}, {ints}}, "2 columns for 1 fields");
  expect_invalid(*schema, 3, {}, "0 columns for 1 fields");
  expect_invalid(*Segments::Schema(arrow::int32()), 3, {{ints}}, "as int32");
  // How values are read isn't the layout's matter: the schema says it.
  EXPECT_TRUE(Join(*Segments::Schema(arrow::timestamp(arrow::TimeUnit::NANO)), 3, {{ints}}).ok());
}

TEST(Join, KeepsToTheFormatsLimits) {
  Segments segments;
  const ColumnPiece* none = segments.AddInts({});
  arrow::FieldVector fields(kMaxRecords[kColumnsSection] + 1, arrow::field("a", arrow::int64()));
  const Pieces columns(fields.size(), {none});
  const arrow::Status status = Join(*arrow::schema(fields), 0, columns).status();
  EXPECT_TRUE(status.IsCapacityError()) << status;
}

// Entries are written as files; the bytes are those that Encode makes.
TEST(Join, MessagesInFilesAreTheSame) {
  const auto array = arrow::MakeArrayOfNull(arrow::utf8_view(), 5000).ValueOrDie();
  const auto table = arrow::Table::Make(Segments::Schema(arrow::utf8_view()), {array});
  const EncodedFile file = EncodeToMemfd("test", *table, AddressMap()).ValueOrDie();
  EXPECT_EQ(file.encoded.message, nullptr);
  const int64_t size = base::SealedSize(file.fd.get()).ValueOrDie();
  const auto mapping =
      base::Mapping::Map(file.fd.get(), size, base::Mapping::Access::kReadOnly).ValueOrDie();
  const auto expected = Encode(*table, AddressMap()).ValueOrDie().message;
  EXPECT_TRUE(arrow::Buffer(mapping.data(), size).Equals(*expected));
}

}  // namespace
}  // namespace zerrow::sipc
