// Messages that were damaged at random, and ones that lie in a certain way.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "sipc/check.h"
#include "sipc/format.h"
#include "sipc/reader.h"
#include "sipc/testing/arena.h"
#include "sipc/testing/hostile.h"
#include "sipc/writer.h"

namespace zerrow::sipc {
namespace {

TEST(Hostile, UndamagedMessagesAreAccepted) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const auto status = testing::ReadHostileMessage(testing::SampleMessage(seed));
    // Data in the segment is gone, so Arrow may find the arrays invalid.
    EXPECT_TRUE(status.ok() || status.IsInvalid()) << status;
  }
}

TEST(Hostile, DamagedMessagesAreRefusedOrRead) {
  const char* count = std::getenv("ZERROW_SIPC_MUTATIONS");
  const uint64_t mutations = count ? std::strtoull(count, nullptr, 10) : 20000;
  std::vector<std::vector<uint8_t>> messages;
  for (uint64_t seed = 0; seed < 100; ++seed) messages.push_back(testing::SampleMessage(seed));
  std::mt19937_64 random(1);
  uint64_t refused = 0;
  for (uint64_t i = 0; i < mutations; ++i) {
    std::vector<uint8_t> message = messages[i % messages.size()];
    testing::Mutate(&message, &random);
    message.shrink_to_fit();  // so that sanitizers see the end
    refused += !testing::ReadHostileMessage(message).ok();
  }
  EXPECT_GT(refused, mutations / 2);
}

TEST(Hostile, EveryTruncationIsRefused) {
  const std::vector<uint8_t> message = testing::SampleMessage(3);
  for (size_t size = 0; size < message.size(); ++size) {
    const std::vector<uint8_t> part(message.begin(), message.begin() + size);
    EXPECT_TRUE(Check(part, {}).status().IsSerializationError());
  }
}

TEST(Hostile, UnalignedMessagesAreRead) {
  const std::vector<uint8_t> message = testing::SampleMessage(5);
  for (size_t shift = 1; shift < 8; ++shift) {
    std::vector<uint8_t> shifted(shift);
    shifted.insert(shifted.end(), message.begin(), message.end());
    EXPECT_TRUE(Check(std::span(shifted).subspan(shift), {{1, 1 << 20}}).ok());
  }
}

// What is really there: 8 to 16 MiB of zeros for each section's records.
TEST(Hostile, MoreRecordsThanMayBeAreRefused) {
  for (const SectionId section : {kSegmentsSection, kLayoutsSection, kColumnsSection}) {
    HeaderRecord header{};
    std::memcpy(header.magic, kMagic, sizeof(header.magic));
    header.version = kVersion;
    header.header_bytes = sizeof(header);
    uint64_t end = sizeof(header);
    for (int i = 0; i < kNumSections; ++i) {
      header.sections[i] = {(end + 63) / 64 * 64, i == section ? kMaxRecords[i] + 1 : 0};
      end = header.sections[i].offset + header.sections[i].count * kRecordBytes[i];
    }
    header.message_bytes = end;
    std::vector<uint8_t> message(end);
    std::memcpy(message.data(), &header, sizeof(header));
    const arrow::Status status = Check(message, {}).status();
    EXPECT_TRUE(status.IsSerializationError()) << status;
    EXPECT_NE(status.message().find(kRecordNames[section]), std::string::npos) << status;
  }
}

// What the limits must leave room for: a million buffers, in as many chunks as columns.
TEST(Hostile, LargeTablesAreNotHostile) {
  constexpr int kColumns = 1000, kChunks = 500;
  const std::vector<int64_t> values(8, 1);
  const auto buffer =
      std::make_shared<arrow::Buffer>(reinterpret_cast<const uint8_t*>(values.data()), 64);
  const auto array =
      arrow::MakeArray(arrow::ArrayData::Make(arrow::int64(), 8, {buffer, buffer}, 0));
  const auto column = std::make_shared<arrow::ChunkedArray>(arrow::ArrayVector(kChunks, array));
  arrow::FieldVector fields;
  for (int i = 0; i < kColumns; ++i) {
    fields.push_back(arrow::field("column " + std::to_string(i), arrow::int64()));
  }
  const auto table = arrow::Table::Make(
      arrow::schema(fields), std::vector<std::shared_ptr<arrow::ChunkedArray>>(kColumns, column));
  const Encoded encoded = Encode(*table, {}).ValueOrDie();
  const std::span<const uint8_t> message(encoded.message->data(),
                                         static_cast<size_t>(encoded.message->size()));
  EXPECT_EQ(Check(message, {}).ValueOrDie().num_arrays, kColumns * kChunks);
  const auto reader = Reader::Open(encoded.message, nullptr).ValueOrDie();
  EXPECT_EQ(reader->ReadTable().ValueOrDie()->num_columns(), kColumns);
}

TEST(Hostile, TheWriterKeepsToTheLimits) {
  arrow::FieldVector fields(kMaxRecords[kColumnsSection] + 1, arrow::field("x", arrow::null()));
  const auto table = arrow::Table::Make(
      arrow::schema(fields),
      std::vector<std::shared_ptr<arrow::ChunkedArray>>(
          fields.size(), std::make_shared<arrow::ChunkedArray>(arrow::ArrayVector{
                             arrow::MakeArrayOfNull(arrow::null(), 1).ValueOrDie()})),
      1);
  const arrow::Status status = Encode(*table, {}).status();
  EXPECT_TRUE(status.IsCapacityError()) << status;
  EXPECT_NE(status.message().find("1048577 columns"), std::string::npos) << status;
}

class Lies : public ::testing::Test {
 protected:
  void SetUp() override {
    arena_ = testing::Arena::Make(1, 1 << 20).ValueOrDie();
    AddressMap addresses;
    arena_->AddTo(&addresses);
    uint8_t* memory = nullptr;
    ASSERT_TRUE(arena_->Allocate(8000, 64, &memory).ok());
    auto values = std::make_shared<arrow::Buffer>(memory, 8000);
    auto array =
        arrow::MakeArray(arrow::ArrayData::Make(arrow::int64(), 1000, {nullptr, values}, 0));
    auto table = arrow::Table::Make(arrow::schema({arrow::field("a", arrow::int64())}), {array});
    const Encoded encoded = Encode(*table, addresses).ValueOrDie();
    message_.assign(encoded.message->data(), encoded.message->data() + encoded.message->size());
    ASSERT_TRUE(CheckIt().ok());
  }

  arrow::Status CheckIt() { return Check(message_, {{1, 1 << 20}}).status(); }

  /// The i-th record of a section, to be changed.
  template <typename Record>
  void Change(SectionId section, const std::function<void(Record&)>& change) {
    const auto header = Load<HeaderRecord>(message_.data());
    uint8_t* at = message_.data() + header.sections[section].offset;
    Record record = Load<Record>(at);
    change(record);
    std::memcpy(at, &record, sizeof(record));
  }
  void ChangeHeader(const std::function<void(HeaderRecord&)>& change) {
    auto header = Load<HeaderRecord>(message_.data());
    change(header);
    std::memcpy(message_.data(), &header, sizeof(header));
  }
  void ExpectRefused(const std::string& because) {
    const arrow::Status status = CheckIt();
    EXPECT_TRUE(status.IsSerializationError()) << status;
    EXPECT_NE(status.message().find(because), std::string::npos) << status;
    auto buffer = std::make_shared<arrow::Buffer>(message_.data(), message_.size());
    auto resolver = [this](SegmentId) { return arena_->MapReadOnly(); };
    EXPECT_TRUE(Reader::Open(buffer, resolver).status().IsSerializationError());
  }

  std::unique_ptr<testing::Arena> arena_;
  std::vector<uint8_t> message_;
};

TEST_F(Lies, SegmentThatWasNotGranted) {
  Change<SegmentRecord>(kSegmentsSection, [](auto& record) { record.id = 2; });
  EXPECT_NE(CheckIt().message().find("wasn't granted"), std::string::npos);
}

TEST_F(Lies, SegmentLargerThanGranted) {
  Change<SegmentRecord>(kSegmentsSection, [](auto& record) { record.size_bytes = 1 << 21; });
  EXPECT_TRUE(CheckIt().IsSerializationError());
}

TEST_F(Lies, LaterVersion) {
  ChangeHeader([](auto& header) { header.version = 2; });
  EXPECT_TRUE(CheckIt().IsNotImplemented());
}

TEST_F(Lies, ReferenceOutOfBounds) {
  Change<BufferRecord>(kBuffersSection, [](auto& record) { record.offset = 1; });
  ExpectRefused("out of bounds");
}

TEST_F(Lies, ReferenceWhoseEndOverflows) {
  Change<BufferRecord>(kBuffersSection, [](auto& record) { record.offset = ~uint64_t{0} - 100; });
  ExpectRefused("out of bounds");
}

TEST_F(Lies, ReferenceToTheMessagesOwnHeader) {
  Change<BufferRecord>(kBuffersSection, [](auto& record) {
    record = {.segment = 0, .reserved = 0, .offset = 0, .length = 8};
  });
  ExpectRefused("out of bounds");
}

TEST_F(Lies, BufferTooShortForItsArray) {
  Change<NodeRecord>(kNodesSection, [](auto& record) { record.offset = 1; });
  ExpectRefused("too short");
}

TEST_F(Lies, OffsetAndLengthThatOverflow) {
  Change<NodeRecord>(kNodesSection, [](auto& record) { record.offset = INT64_MAX; });
  ExpectRefused("bad length or offset");
}

TEST_F(Lies, MoreRowsThanThereAre) {
  ChangeHeader([](auto& header) { header.num_rows = 1001; });
  ExpectRefused("wrong number of rows");
}

TEST_F(Lies, HugeNumberOfChunks) {
  Change<ColumnRecord>(kColumnsSection, [](auto& record) { record.num_chunks = UINT32_MAX; });
  ExpectRefused("fewer nodes");
}

TEST_F(Lies, HugeCounts) {
  for (int section = 0; section < kNumSections; ++section) {
    const std::vector<uint8_t> sound = message_;
    ChangeHeader([&](auto& header) { header.sections[section].count = uint64_t{1} << 61; });
    ExpectRefused("longer than the message");
    message_ = sound;
  }
}

TEST_F(Lies, SectionsThatOverlap) {
  ChangeHeader([](auto& header) {
    header.sections[kSlotsSection].offset = header.sections[kNodesSection].offset;
  });
  ExpectRefused("out of place");
}

TEST_F(Lies, NullsWithoutABitmap) {
  Change<NodeRecord>(kNodesSection, [](auto& record) { record.null_count = 1; });
  ExpectRefused("without a validity bitmap");
}

// Layouts in a circle, or a parent before its child: a child must stand before its parent.
TEST_F(Lies, LayoutThatIsItsOwnChild) {
  Change<LayoutRecord>(kLayoutsSection, [](auto& record) {
    record = {.kind = 10, .reserved = {}, .parameter = 0, .first_child = 0, .num_children = 1};
  });
  ExpectRefused("no children");
}

TEST_F(Lies, ColumnsOfAnotherTypeThanTheSchemaSays) {
  Change<LayoutRecord>(kLayoutsSection, [](auto& record) { record.parameter = 32; });
  EXPECT_TRUE(CheckIt().ok());  // the engine doesn't read schemas
  auto buffer = std::make_shared<arrow::Buffer>(message_.data(), message_.size());
  auto reader = Reader::Open(buffer, [this](SegmentId) { return arena_->MapReadOnly(); });
  EXPECT_TRUE(reader.status().IsSerializationError());
}

}  // namespace
}  // namespace zerrow::sipc
