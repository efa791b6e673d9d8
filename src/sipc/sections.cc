#include "sipc/sections.h"

#include <cstring>

namespace zerrow::sipc {
namespace {

uint64_t RoundUp(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

arrow::Result<int64_t> Sections::LayOut() {
  uint64_t end = sizeof(HeaderRecord);
  for (int i = 0; i < kBodySection; ++i) {
    const uint64_t count = records_[i].size() / kRecordBytes[i];
    if (count > kMaxRecords[i]) {
      return arrow::Status::CapacityError("a table with ", count, " ", kRecordNames[i], ", and ",
                                          kMaxRecords[i], " can be handed over");
    }
    const uint64_t offset = RoundUp(end, kSectionAlignment);
    header_.sections[i] = {offset, count};
    end = offset + records_[i].size();
  }
  header_.sections[kBodySection] = {RoundUp(end, kBodyAlignment), 0};
  return static_cast<int64_t>(header_.sections[kBodySection].offset);
}

int64_t Sections::Finish(int64_t num_rows, int64_t body_bytes) {
  SectionRecord& body = header_.sections[kBodySection];
  body.count = static_cast<uint64_t>(body_bytes);
  std::memcpy(header_.magic, kMagic, sizeof(kMagic));
  header_.version = kVersion;
  header_.header_bytes = sizeof(HeaderRecord);
  header_.message_bytes = body.offset + body.count;
  header_.num_rows = static_cast<uint64_t>(num_rows);
  return static_cast<int64_t>(header_.message_bytes);
}

void Sections::WriteHead(uint8_t* message) const {
  std::memcpy(message, &header_, sizeof(header_));
  for (int i = 0; i < kBodySection; ++i) {
    uint8_t* at = message + header_.sections[i].offset;
    const size_t bytes = records_[i].size();
    if (bytes > 0) std::memcpy(at, records_[i].data(), bytes);
    const uint8_t* next = message + header_.sections[i + 1].offset;
    std::memset(at + bytes, 0, static_cast<size_t>(next - (at + bytes)));
  }
}

}  // namespace zerrow::sipc
