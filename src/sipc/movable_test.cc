// Memory that is moved into a segment once it is known what of it is needed: here by a copy.
#include <arrow/array/concatenate.h>
#include <gtest/gtest.h>

#include <cstring>

#include "sipc/check.h"
#include "sipc/reader.h"
#include "sipc/testing/random_table.h"
#include "sipc/writer.h"

namespace zerrow::sipc {
namespace {

constexpr SegmentId kMoved = 9;
constexpr int64_t kPage = 4096;

// All memory is movable, each range to whole pages of its own, keeping its place in the page.
class Mover {
 public:
  Encoded Encode(const arrow::Table& table) {
    AddressMap addresses;
    addresses.Add(kMoved, nullptr, int64_t{1} << 47);
    EncodeOptions options;
    options.inline_below_bytes = 64;
    options.movable =
        MovableSegment{kMoved, [this](std::span<const Reference> ranges) { return Move(ranges); }};
    return sipc::Encode(table, addresses, options).ValueOrDie();
  }

  std::shared_ptr<arrow::Table> Read(const Encoded& encoded) const {
    auto reader = Reader::Open(encoded.message, [this](SegmentId id) {
                    EXPECT_EQ(id, kMoved);
                    return arrow::Result(std::make_shared<arrow::Buffer>(
                        reinterpret_cast<const uint8_t*>(bytes_.data()),
                        static_cast<int64_t>(bytes_.size())));
                  }).ValueOrDie();
    return reader->ReadTable().ValueOrDie();
  }

  int64_t moved_bytes() const { return moved_bytes_; }
  int64_t size_bytes() const { return static_cast<int64_t>(bytes_.size()); }

 private:
  arrow::Result<std::vector<int64_t>> Move(std::span<const Reference> ranges) {
    std::vector<int64_t> offsets;
    int64_t end = 0;
    for (const Reference& range : ranges) {
      EXPECT_GE(range.offset, end) << "ranges overlap or aren't sorted";
      end = range.offset + range.length;
      const auto start =
          (bytes_.size() + kPage - 1) / kPage * kPage + static_cast<size_t>(range.offset % kPage);
      bytes_.resize(start + static_cast<size_t>(range.length));
      std::memcpy(bytes_.data() + start, reinterpret_cast<const void*>(range.offset),
                  static_cast<size_t>(range.length));
      offsets.push_back(static_cast<int64_t>(start));
      moved_bytes_ += range.length;
    }
    return offsets;
  }

  std::string bytes_;
  int64_t moved_bytes_ = 0;
};

TEST(MovableSegment, WhatWasMovedIsRead) {
  for (uint32_t seed = 0; seed < 40; ++seed) {
    testing::RandomTables tables(seed, {});
    const auto table = tables.Table();
    Mover mover;
    const Encoded encoded = mover.Encode(*table);
    const auto read = mover.Read(encoded);
    ASSERT_TRUE(read->ValidateFull().ok()) << "seed " << seed;
    ASSERT_TRUE(read->Equals(*table)) << "seed " << seed;
    EXPECT_EQ(encoded.referenced_bytes, mover.moved_bytes()) << "seed " << seed;
    const std::span<const uint8_t> message(encoded.message->data(),
                                           static_cast<size_t>(encoded.message->size()));
    EXPECT_TRUE(Check(message, {{kMoved, mover.size_bytes()}}).ok()) << "seed " << seed;
  }
}

// Else a consumer could read rows that were sliced away.
TEST(MovableSegment, WhatASliceLeavesOutStays) {
  for (const auto& type : {arrow::int64(), arrow::utf8(), arrow::list(arrow::utf8())}) {
    testing::RandomTables tables(7, {});
    constexpr int64_t kRows = 100'000;
    auto array = arrow::Concatenate({arrow::MakeArray(tables.Array(type, kRows))}).ValueOrDie();
    const auto schema = arrow::schema({arrow::field("c", type)});
    Mover whole, part;
    whole.Encode(*arrow::Table::Make(schema, {array}));
    const auto slice = arrow::Table::Make(schema, {array->Slice(kRows * 99 / 100)});
    const Encoded encoded = part.Encode(*slice);
    EXPECT_TRUE(part.Read(encoded)->Equals(*slice)) << type->ToString();
    EXPECT_LT(part.moved_bytes(), whole.moved_bytes() / 50) << type->ToString();
  }
}

TEST(MovableSegment, WhatCantBeMovedIsAnError) {
  testing::RandomTables tables(7, {});
  const auto array = arrow::MakeArray(tables.Array(arrow::int64(), 1000));
  const auto table = arrow::Table::Make(arrow::schema({arrow::field("c", array->type())}), {array});
  AddressMap addresses;
  addresses.Add(kMoved, nullptr, int64_t{1} << 47);
  EncodeOptions options;
  options.movable = MovableSegment{kMoved, [](auto) -> arrow::Result<std::vector<int64_t>> {
                                     return arrow::Status::IOError("no");
                                   }};
  EXPECT_TRUE(Encode(*table, addresses, options).status().IsIOError());
}

}  // namespace
}  // namespace zerrow::sipc
