#include "sipc/testing/hostile.h"

#include <arrow/io/memory.h>
#include <arrow/table.h>
#include <arrow/util/logging.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "sipc/check.h"
#include "sipc/format.h"
#include "sipc/reader.h"
#include "sipc/stream.h"
#include "sipc/testing/arena.h"
#include "sipc/testing/random_table.h"
#include "sipc/writer.h"

namespace zerrow::sipc::testing {
namespace {

// A consumer gives up on tables that claim more rows than this, as it would for lack of memory:
// Arrow's own stream writer allocates for each row of some types.
constexpr int64_t kMaxRows = 1 << 20;

// Zeros, not what the samples' tables hold: so damaged data is part of the test as well.
std::shared_ptr<arrow::Buffer> SegmentBytes() {
  static const std::vector<uint8_t> bytes(kHostileSegmentBytes, 0);
  return std::make_shared<arrow::Buffer>(bytes.data(), kHostileSegmentBytes);
}

void CheckSummary(const Summary& summary) {
  for (const Reference& reference : summary.references) {
    ARROW_CHECK(reference.segment >= 1 && reference.segment <= kHostileSegments);
    ARROW_CHECK(reference.offset >= 0 && reference.length > 0);
    ARROW_CHECK(reference.offset + reference.length <= kHostileSegmentBytes);
  }
}

arrow::Status ReadEverything(const std::shared_ptr<Reader>& reader) {
  ARROW_ASSIGN_OR_RAISE(auto table, reader->ReadTable());
  ARROW_RETURN_NOT_OK(table->Validate());
  ARROW_RETURN_NOT_OK(table->ValidateFull());
  if (table->num_rows() > kMaxRows) return arrow::Status::OK();
  for (int64_t i = 0; i < std::min<int64_t>(reader->num_batches(), 100); ++i) {
    ARROW_ASSIGN_OR_RAISE(auto batch, reader->ReadBatch(i));
    ARROW_RETURN_NOT_OK(batch->Validate());
  }
  ARROW_ASSIGN_OR_RAISE(auto sink, arrow::io::BufferOutputStream::Create());
  return WriteIpcStream(reader, sink.get());
}

// A number in the message, aligned as its fields are, becomes one that is likely to hurt.
void MutateNumber(std::vector<uint8_t>* message, std::mt19937_64* random) {
  const bool is_wide = (*random)() % 2 == 0;
  const size_t width = is_wide ? 8 : 4;
  if (message->size() < width) return;
  // Half of the damage goes to the header, which the rest depends on.
  const size_t limit =
      (*random)() % 2 == 0 ? std::min(message->size(), sizeof(HeaderRecord)) : message->size();
  const size_t at = (*random)() % (limit / width) * width;
  uint64_t value = 0;
  std::memcpy(&value, message->data() + at, width);
  switch ((*random)() % 6) {
    case 0:
      value += (*random)() % 17 - 8;
      break;
    case 1:
      value = uint64_t{1} << ((*random)() % 64);
      break;
    case 2:
      value = ~uint64_t{0} >> ((*random)() % 64);
      break;
    case 3:
      value = (*random)() % 64;
      break;
    case 4:
      value ^= uint64_t{1} << ((*random)() % (8 * width));
      break;
    default:
      value = message->size() - (*random)() % 64;
  }
  std::memcpy(message->data() + at, &value, width);
}

}  // namespace

std::vector<uint8_t> SampleMessage(uint64_t seed) {
  auto arena = Arena::Make(1, 64 << 20).ValueOrDie();
  RandomTables tables(seed, {.max_columns = 4,
                             .max_chunks = 2,
                             .max_rows = 20,
                             .pools = {arena.get(), arrow::default_memory_pool()}});
  auto table = tables.Table();
  // What lies behind the segment's end is copied.
  AddressMap addresses;
  addresses.Add(1, arena->data(), kHostileSegmentBytes);
  const Encoded encoded = Encode(*table, addresses, {.inline_below_bytes = 64}).ValueOrDie();
  const uint8_t* bytes = encoded.message->data();
  return {bytes, bytes + encoded.message->size()};
}

arrow::Status ReadHostileMessage(std::span<const uint8_t> message) {
  std::map<SegmentId, int64_t> granted;
  for (SegmentId id = 1; id <= kHostileSegments; ++id) granted[id] = kHostileSegmentBytes;
  const auto summary = Check(message, granted);
  auto resolver = [](SegmentId id) -> arrow::Result<std::shared_ptr<arrow::Buffer>> {
    if (id < 1 || id > kHostileSegments) return arrow::Status::KeyError("no such segment");
    return SegmentBytes();
  };
  auto buffer = std::make_shared<arrow::Buffer>(message.data(), message.size());
  auto reader = Reader::Open(buffer, resolver);
  if (!summary.ok()) {
    // The reader doesn't know what was granted, and asks for segments only when it needs them.
    if (reader.ok()) (void)ReadEverything(*reader);
    return summary.status();
  }
  CheckSummary(*summary);
  ARROW_RETURN_NOT_OK(reader.status());
  return ReadEverything(*reader);
}

void Mutate(std::vector<uint8_t>* message, std::mt19937_64* random) {
  for (uint64_t changes = 1 + (*random)() % 4; changes > 0; --changes) {
    const size_t size = message->size();
    const uint64_t what = (*random)() % 16;
    if (size == 0) return;
    if (what == 0) {
      message->resize((*random)() % size);
    } else if (what == 1) {
      message->resize(size + (*random)() % 1000);
    } else if (what == 2) {
      (*message)[(*random)() % size] = static_cast<uint8_t>((*random)());
    } else if (what == 3 && size >= 64) {
      const size_t length = (*random)() % 64;
      const size_t from = (*random)() % (size - length), to = (*random)() % (size - length);
      std::memmove(message->data() + to, message->data() + from, length);
    } else {
      MutateNumber(message, random);
    }
    // Else nearly every change of the length would be refused at once.
    if (message->size() >= sizeof(HeaderRecord) && (*random)() % 2 == 0) {
      const uint64_t bytes = message->size();
      std::memcpy(message->data() + offsetof(HeaderRecord, message_bytes), &bytes, sizeof(bytes));
    }
  }
}

}  // namespace zerrow::sipc::testing
