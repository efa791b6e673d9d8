// The bytes of a SIPC message, version 1: records as they lie in it, little-endian, unpadded.
//
// docs/formats/sipc.md is the description; this header and it must say the same (format_test.cc).
// A message may lie at any address, so records are copied out with Load, never pointed at.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace zerrow::sipc {

static_assert(std::endian::native == std::endian::little, "SIPC records are little-endian");

inline constexpr char kMagic[8] = {'Z', 'R', 'W', 'S', 'I', 'P', 'C', '\0'};
inline constexpr uint32_t kVersion = 1;
inline constexpr uint32_t kNone = 0xFFFFFFFF;  // a slot without a buffer
inline constexpr int kMaxDepth = 64;           // of layouts: an array's children's children...
inline constexpr int64_t kSectionAlignment = 8;
inline constexpr int64_t kBodyAlignment = 64;
inline constexpr int64_t kBodyPadding = 64;  // zeros at the body's end: Arrow reads past buffers

/// The sections, in the order in which they lie in the message.
enum SectionId : int {
  kSchemaSection,          // bytes: an encapsulated Arrow IPC Schema message
  kSegmentsSection,        // SegmentRecord
  kLayoutsSection,         // LayoutRecord
  kLayoutChildrenSection,  // uint32: index of a layout
  kColumnsSection,         // ColumnRecord
  kDictionariesSection,    // uint32: the layout of each dictionary's values
  kNodesSection,           // NodeRecord
  kSlotsSection,           // uint32: index of a buffer, or as the layout says
  kListsSection,           // uint32: variadic buffers of view arrays
  kBuffersSection,         // BufferRecord
  kHeadsSection,           // HeadRecord
  kBodySection,            // bytes: table data that the message itself holds
  kNumSections,
};

struct SectionRecord {
  uint64_t offset;  // bytes from the message's start
  uint64_t count;   // of records
};

struct HeaderRecord {
  char magic[8];
  uint32_t version;
  uint32_t header_bytes;
  uint64_t message_bytes;
  uint64_t num_rows;
  SectionRecord sections[kNumSections];
  uint8_t zeros[96];
};
static_assert(sizeof(HeaderRecord) == 320);

/// 64 bytes of the header that are zero: buffers that a writer left out, as they hold nothing, may
/// point here.
inline constexpr int64_t kZerosOffset = 256;

struct SegmentRecord {
  uint64_t id;
  uint64_t size_bytes;  // no reference ends behind this
};
static_assert(sizeof(SegmentRecord) == 16);

struct LayoutRecord {
  uint8_t kind;  // LayoutKind
  uint8_t reserved[3];
  uint32_t parameter;
  uint32_t first_child;  // in the layout children
  uint32_t num_children;
};
static_assert(sizeof(LayoutRecord) == 16);

struct ColumnRecord {
  uint32_t layout;
  uint32_t num_chunks;
};
static_assert(sizeof(ColumnRecord) == 8);

struct NodeRecord {
  int64_t length;
  int64_t offset;
  int64_t null_count;  // -1: not counted
};
static_assert(sizeof(NodeRecord) == 24);

struct BufferRecord {
  uint32_t segment;  // 0: this message; n: the n-th segment
  uint32_t reserved;
  uint64_t offset;
  uint64_t length;
};
static_assert(sizeof(BufferRecord) == 24);

struct HeadRecord {
  uint64_t buffer;
  uint64_t length;  // the buffer's first bytes that nothing reads
};
static_assert(sizeof(HeadRecord) == 16);

/// Bytes of one record of each section.
inline constexpr uint64_t kRecordBytes[kNumSections] = {
    1,
    sizeof(SegmentRecord),
    sizeof(LayoutRecord),
    sizeof(uint32_t),
    sizeof(ColumnRecord),
    sizeof(uint32_t),
    sizeof(NodeRecord),
    sizeof(uint32_t),
    sizeof(uint32_t),
    sizeof(BufferRecord),
    sizeof(HeadRecord),
    1,
};

/// The most records of each section: far more than any table has had, and few enough that a
/// message can be checked in a second or two. Table data has no limit but the memory it takes.
inline constexpr uint64_t kMaxRecords[kNumSections] = {
    uint64_t{1} << 28,  // bytes of the schema
    uint64_t{1} << 20,  // segments
    uint64_t{1} << 20,  // layouts
    uint64_t{1} << 22,  // layout children
    uint64_t{1} << 20,  // columns
    uint64_t{1} << 23,  // dictionaries
    uint64_t{1} << 23,  // nodes
    uint64_t{1} << 25,  // slots
    uint64_t{1} << 25,  // lists
    uint64_t{1} << 24,  // buffers
    uint64_t{1} << 24,  // heads
    ~uint64_t{0},       // bytes of the body
};

/// What an error calls a section's records.
inline constexpr const char* kRecordNames[kNumSections] = {
    "bytes of schema", "segments", "layouts", "layout children", "columns", "dictionaries",
    "arrays",          "slots",    "lists",   "buffers",         "heads",   "bytes of data",
};

template <typename Record>
Record Load(const uint8_t* bytes) {
  static_assert(std::is_trivially_copyable_v<Record>);
  Record record;
  std::memcpy(&record, bytes, sizeof(Record));
  return record;
}

}  // namespace zerrow::sipc
