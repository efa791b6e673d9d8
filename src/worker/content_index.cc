#include "worker/content_index.h"

#include <arrow/array.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace zerrow::worker {

namespace {

constexpr int64_t kLineBytes = 64;
constexpr int64_t kLines = 4;  // that are looked at before all is compared
// Of one size: so many inputs are sampled at most, and so many compared with a part of the output.
constexpr size_t kMaxSampled = 16 * 1024;
constexpr int kMaxCompared = 16;
// A part of the output pays for comparing that many times its bytes.
constexpr int64_t kComparedPerByte = 2;

int64_t LineBegin(int64_t line, int64_t size_bytes) {
  return (size_bytes - kLineBytes) / kLines * line;
}

// A hash of one line: others cost as much again, and nearly always this one tells.
uint64_t Sample(const uint8_t* bytes, int64_t size_bytes) {
  const bool small = size_bytes <= kLineBytes;
  const auto* begin = reinterpret_cast<const char*>(bytes);
  if (!small) begin += LineBegin(kLines / 2 + 1, size_bytes);
  return std::hash<std::string_view>{}(
      {begin, static_cast<size_t>(small ? size_bytes : kLineBytes)});
}

bool LooksEqual(const uint8_t* a, const uint8_t* b, int64_t size_bytes) {
  for (int64_t line = 0; size_bytes > kLineBytes && line <= kLines; ++line) {
    const int64_t begin = LineBegin(line, size_bytes);
    if (std::memcmp(a + begin, b + begin, kLineBytes) != 0) return false;
  }
  return true;
}

bool HasSameBits(uint8_t a, uint8_t b, int bits) { return ((a ^ b) & ((1U << bits) - 1)) == 0; }

bool IsAligned(const uint8_t* bytes, int64_t alignment) {
  return reinterpret_cast<uintptr_t>(bytes) % static_cast<uintptr_t>(alignment) == 0;
}

}  // namespace

void ContentIndex::Collect() {
  collected_ = true;
  for (const auto& input : inputs_) {
    for (const auto& column : input->columns()) {
      for (const auto& chunk : column->chunks()) Collect(*chunk->data());
    }
  }
}

void ContentIndex::Collect(const arrow::ArrayData& data) {
  for (const BufferPart& part : BufferPartsOf(data)) {
    const Place place = {data.buffers[part.buffer], part.begin};
    const PartSize& size = part.size;
    if (size.bytes < options_.min_bytes || !known_.emplace(place.data(), size).second) continue;
    if (options_.segments != nullptr && !options_.segments->Find(place.data(), size.bytes)) {
      continue;
    }
    by_size_[size].places.push_back(place);
  }
  for (const auto& child : data.child_data) Collect(*child);
  if (data.dictionary != nullptr) Collect(*data.dictionary);
}

bool ContentIndex::IsEqual(const uint8_t* bytes, const Place& place, PartSize size) {
  if (!LooksEqual(bytes, place.data(), size.bytes)) return false;
  if (options_.bounded && budget_bytes_ < size.bytes) return false;
  budget_bytes_ -= size.bytes;
  return std::memcmp(bytes, place.data(), static_cast<size_t>(size.bytes)) == 0 &&
         (size.bits == 0 || HasSameBits(bytes[size.bytes], place.data()[size.bytes], size.bits));
}

bool ContentIndex::IsWanted(const arrow::Buffer& buffer, const BufferPart& part) const {
  return part.size.bytes >= options_.min_bytes &&
         (options_.segments == nullptr ||
          !options_.segments->Find(buffer.data() + part.begin, part.size.bytes));
}

const Place* ContentIndex::Find(const arrow::Buffer& buffer, const BufferPart& part) {
  const uint8_t* bytes = buffer.data() + part.begin;
  const PartSize& size = part.size;
  if (!collected_) Collect();
  const auto found = by_size_.find(size);
  if (found == by_size_.end() || known_.contains({bytes, size})) return nullptr;
  auto& [places, by_sample] = found->second;
  if (by_sample.empty()) {
    for (size_t i = 0; i < std::min(places.size(), kMaxSampled); ++i) {
      by_sample.emplace(Sample(places[i].data(), size.bytes), i);
    }
  }
  budget_bytes_ += kComparedPerByte * size.bytes;
  int compared = 0;
  const auto [begin, end] = by_sample.equal_range(Sample(bytes, size.bytes));
  for (auto it = begin; it != end; ++it) {
    const Place& place = places[it->second];
    if (place.begin < part.begin || !IsAligned(place.data() - part.begin, part.alignment)) continue;
    if (options_.bounded && ++compared > kMaxCompared) break;
    if (IsEqual(bytes, place, size)) return &place;
  }
  return nullptr;
}

}  // namespace zerrow::worker
