// Memory that is moved into a segment once it is known what of it is needed: here by a copy.
#include <arrow/array/concatenate.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <numeric>

#include "base/fd.h"
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
  /// `empties`: what was moved is zeros where it was, so that whoever looks there finds nothing.
  explicit Mover(bool empties = false) : empties_(empties) {}

  Encoded Encode(const arrow::Table& table, bool to_memfd = false) {
    AddressMap addresses;
    addresses.Add(kMoved, nullptr, int64_t{1} << 47);
    EncodeOptions options;
    options.inline_below_bytes = 64;
    options.movable =
        MovableSegment{kMoved, [this](std::span<const Reference> ranges) { return Move(ranges); }};
    if (!to_memfd) return sipc::Encode(table, addresses, options).ValueOrDie();
    EncodedFile file = EncodeToMemfd("moved", table, addresses, options).ValueOrDie();
    const int64_t bytes = base::FileSize(file.fd.get()).ValueOrDie();
    file.encoded.message = arrow::AllocateBuffer(bytes).ValueOrDie();
    EXPECT_EQ(
        ::pread(file.fd.get(), file.encoded.message->mutable_data(), static_cast<size_t>(bytes), 0),
        bytes);
    return file.encoded;
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
      auto* memory = reinterpret_cast<char*>(range.offset);
      std::memcpy(bytes_.data() + start, memory, static_cast<size_t>(range.length));
      if (empties_) std::memset(memory, 0, static_cast<size_t>(range.length));
      offsets.push_back(static_cast<int64_t>(start));
      moved_bytes_ += range.length;
    }
    return offsets;
  }

  const bool empties_;
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

// Small buffers, which are copied, may lie in what is moved, and that may be gone then.
TEST(MovableSegment, NobodyLooksAtWhatWasMoved) {
  constexpr int64_t kRows = 1000, kFew = 4;
  for (const bool to_memfd : {false, true}) {
    std::shared_ptr<arrow::Buffer> whole =
        arrow::AllocateBuffer(kRows * static_cast<int64_t>(sizeof(int64_t))).ValueOrDie();
    auto* values = whole->mutable_data_as<int64_t>();
    std::iota(values, values + kRows, 1);
    const auto few = arrow::SliceBuffer(whole, 64, kFew * static_cast<int64_t>(sizeof(int64_t)));
    const auto column = std::make_shared<arrow::ChunkedArray>(
        arrow::ArrayVector{std::make_shared<arrow::Int64Array>(kRows, whole),
                           std::make_shared<arrow::Int64Array>(kFew, few)});
    const auto table =
        arrow::Table::Make(arrow::schema({arrow::field("c", arrow::int64())}), {column});
    Mover mover(/*empties=*/true);
    const Encoded encoded = mover.Encode(*table, to_memfd);
    EXPECT_EQ(values[8], 0);
    EXPECT_EQ(encoded.copied_bytes, few->size());
    const auto read = mover.Read(encoded);
    const auto at = [&](int chunk, int64_t row) {
      return static_cast<const arrow::Int64Array&>(*read->column(0)->chunk(chunk)).Value(row);
    };
    for (int64_t row = 0; row < kRows; ++row) EXPECT_EQ(at(0, row), row + 1);
    for (int64_t row = 0; row < kFew; ++row) EXPECT_EQ(at(1, row), row + 9);
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
