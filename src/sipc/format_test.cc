// A message, field by field, as docs/formats/sipc.md says: offsets are written out here and not
// taken from format.h, so that a change of either shows.
#include <arrow/array/builder_primitive.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/reader.h>
#include <gtest/gtest.h>

#include <cstring>

#include "sipc/testing/arena.h"
#include "sipc/writer.h"

namespace zerrow::sipc {
namespace {

class Golden : public ::testing::Test {
 protected:
  // One int32 column in two chunks: 2000 rows in segment 7, and two rows, one null, in the message.
  void SetUp() override {
    arena_ = testing::Arena::Make(7, 1 << 20).ValueOrDie();
    AddressMap addresses;
    arena_->AddTo(&addresses);
    uint8_t* memory = nullptr;
    ASSERT_TRUE(arena_->Allocate(8000, 64, &memory).ok());
    auto values = std::make_shared<arrow::Buffer>(memory, 8000);
    auto shared =
        arrow::MakeArray(arrow::ArrayData::Make(arrow::int32(), 2000, {nullptr, values}, 0));
    arrow::Int32Builder builder;
    ASSERT_TRUE(builder.Append(0x11223344).ok());
    ASSERT_TRUE(builder.AppendNull().ok());
    auto copied = builder.Finish().ValueOrDie();
    auto column = std::make_shared<arrow::ChunkedArray>(arrow::ArrayVector{shared, copied});
    schema_ = arrow::schema({arrow::field("a", arrow::int32())});
    encoded_ = Encode(*arrow::Table::Make(schema_, {column}), addresses).ValueOrDie();
  }

  template <typename T>
  T At(uint64_t offset) const {
    T value;
    std::memcpy(&value, encoded_.message->data() + offset, sizeof(T));
    return value;
  }
  uint64_t Offset(int section) const { return At<uint64_t>(32 + 16 * section); }
  uint64_t Count(int section) const { return At<uint64_t>(40 + 16 * section); }

  std::unique_ptr<testing::Arena> arena_;
  std::shared_ptr<arrow::Schema> schema_;
  Encoded encoded_;
};

TEST_F(Golden, Header) {
  EXPECT_EQ(std::memcmp(encoded_.message->data(), "ZRWSIPC\0", 8), 0);
  EXPECT_EQ(At<uint32_t>(8), 1u);
  EXPECT_EQ(At<uint32_t>(12), 320u);
  EXPECT_EQ(At<uint64_t>(16), static_cast<uint64_t>(encoded_.message->size()));
  EXPECT_EQ(At<uint64_t>(24), 2002u);
  for (uint64_t i = 224; i < 320; ++i) EXPECT_EQ(At<uint8_t>(i), 0);
  const uint64_t record_bytes[] = {1, 16, 16, 4, 8, 4, 24, 4, 4, 24, 16, 1};
  uint64_t end = 320;
  for (int section = 0; section < 12; ++section) {
    const uint64_t alignment = section == 11 ? 64 : 8;
    EXPECT_EQ(Offset(section), (end + alignment - 1) / alignment * alignment) << section;
    end = Offset(section) + Count(section) * record_bytes[section];
  }
  EXPECT_EQ(end, At<uint64_t>(16));
}

TEST_F(Golden, SchemaIsAnArrowMessage) {
  arrow::io::BufferReader stream(arrow::SliceBuffer(
      encoded_.message, static_cast<int64_t>(Offset(0)), static_cast<int64_t>(Count(0))));
  arrow::ipc::DictionaryMemo memo;
  EXPECT_TRUE(arrow::ipc::ReadSchema(&stream, &memo).ValueOrDie()->Equals(*schema_));
}

TEST_F(Golden, SegmentsLayoutsAndColumns) {
  ASSERT_EQ(Count(1), 1u);
  EXPECT_EQ(At<uint64_t>(Offset(1)), 7u);
  EXPECT_EQ(At<uint64_t>(Offset(1) + 8), 8000u);
  ASSERT_EQ(Count(2), 1u);
  EXPECT_EQ(At<uint8_t>(Offset(2)), 1);         // fixed width
  EXPECT_EQ(At<uint32_t>(Offset(2) + 4), 32u);  // bits
  EXPECT_EQ(At<uint32_t>(Offset(2) + 8), 0u);
  EXPECT_EQ(At<uint32_t>(Offset(2) + 12), 0u);
  EXPECT_EQ(Count(3), 0u);
  ASSERT_EQ(Count(4), 1u);
  EXPECT_EQ(At<uint32_t>(Offset(4)), 0u);
  EXPECT_EQ(At<uint32_t>(Offset(4) + 4), 2u);  // chunks
  EXPECT_EQ(Count(5), 0u);
}

TEST_F(Golden, NodesSlotsAndBuffers) {
  ASSERT_EQ(Count(6), 2u);
  const int64_t nodes[] = {2000, 0, 0, 2, 0, 1};
  for (uint64_t i = 0; i < 6; ++i) EXPECT_EQ(At<int64_t>(Offset(6) + 8 * i), nodes[i]) << i;
  ASSERT_EQ(Count(7), 4u);
  const uint32_t slots[] = {0xFFFFFFFF, 0, 1, 2};
  for (uint64_t i = 0; i < 4; ++i) EXPECT_EQ(At<uint32_t>(Offset(7) + 4 * i), slots[i]) << i;
  EXPECT_EQ(Count(8), 0u);
  ASSERT_EQ(Count(9), 3u);
  EXPECT_EQ(At<uint32_t>(Offset(9)), 1u);  // the first segment
  EXPECT_EQ(At<uint64_t>(Offset(9) + 8), 0u);
  EXPECT_EQ(At<uint64_t>(Offset(9) + 16), 8000u);
  EXPECT_EQ(At<uint32_t>(Offset(9) + 24), 0u);  // the message
  EXPECT_EQ(At<uint64_t>(Offset(9) + 40), 1u);  // a bitmap of one byte
  EXPECT_EQ(At<uint32_t>(Offset(9) + 48), 0u);
  EXPECT_EQ(At<uint64_t>(Offset(9) + 64), 8u);
  EXPECT_EQ(Count(10), 0u);
}

TEST_F(Golden, Body) {
  const auto bitmap = At<uint64_t>(Offset(9) + 32), values = At<uint64_t>(Offset(9) + 56);
  EXPECT_GE(bitmap, Offset(11));
  EXPECT_EQ(At<uint8_t>(bitmap) & 3, 1);
  EXPECT_EQ(At<int32_t>(values), 0x11223344);
  for (uint64_t i = At<uint64_t>(16) - 64; i < At<uint64_t>(16); ++i) EXPECT_EQ(At<uint8_t>(i), 0);
}

}  // namespace
}  // namespace zerrow::sipc
