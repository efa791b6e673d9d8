#include "worker/operators/ascii_case.h"

#include <arrow/array/data.h>
#include <arrow/buffer.h>
#include <arrow/type.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace zerrow::worker {

namespace {

constexpr uint64_t kEach = 0x0101010101010101;  // times a byte: that byte eight times
constexpr uint64_t kHighBits = kEach * 0x80;

uint64_t Load(const uint8_t* from, size_t size = sizeof(uint64_t)) {
  uint64_t word = 0;
  std::memcpy(&word, from, size);
  return word;
}

bool IsAscii(const uint8_t* text, int64_t size) {
  uint64_t bits = 0;
  int64_t i = 0;
  for (; i + 8 <= size; i += 8) bits |= Load(text + i);
  bits |= Load(text + i, static_cast<size_t>(size - i));
  return (bits & kHighBits) == 0;
}

// Eight letters at once: bytes from `first` to its alphabet's end have their case bit flipped. No
// byte has its high bit set, so that no sum carries into the next byte.
uint64_t FlipAlphabet(uint64_t word, uint8_t first) {
  const uint64_t from_first = word + kEach * (0x80 - first);
  const uint64_t after_last = word + kEach * (0x80 - first - 26);
  return word ^ ((from_first & ~after_last & kHighBits) >> 2);
}

void ChangeCase(const uint8_t* text, int64_t size, uint8_t first, uint8_t* out) {
  int64_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const uint64_t word = FlipAlphabet(Load(text + i), first);
    std::memcpy(out + i, &word, sizeof(word));
  }
  const auto rest = static_cast<size_t>(size - i);
  const uint64_t word = FlipAlphabet(Load(text + i, rest), first);
  std::memcpy(out + i, &word, rest);
}

uint8_t FirstLetter(Case to) { return to == Case::kUpper ? 'a' : 'A'; }

template <typename Offset>
arrow::Result<DataPtr> Change(const DataPtr& texts, Case to) {
  const auto* offsets = texts->GetValues<Offset>(1);
  const int64_t begin = texts->length == 0 ? 0 : offsets[0];
  const int64_t size = texts->length == 0 ? 0 : offsets[texts->length] - begin;
  if (size == 0) return texts;
  const uint8_t* letters = texts->buffers[2]->data() + begin;
  if (!IsAscii(letters, size)) return nullptr;
  // The offsets of a slice count from the beginning of the whole array's text. To keep them costs
  // as many bytes before the slice's own text, to make new ones costs them.
  const bool keep_offsets = begin <= (texts->length + 1) * static_cast<int64_t>(sizeof(Offset));
  const int64_t before = keep_offsets ? begin : 0;
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> changed,
                        arrow::AllocateBuffer(before + size));
  std::memset(changed->mutable_data(), 0, static_cast<size_t>(before));
  ChangeCase(letters, size, FirstLetter(to), changed->mutable_data() + before);
  DataPtr result = texts->Copy();
  result->buffers[2] = std::move(changed);
  if (keep_offsets) return result;
  const int64_t offset = texts->offset;
  ARROW_ASSIGN_OR_RAISE(
      std::shared_ptr<arrow::Buffer> moved,
      arrow::AllocateBuffer((offset + texts->length + 1) * static_cast<int64_t>(sizeof(Offset))));
  auto* to_offsets = moved->mutable_data_as<Offset>();
  std::fill_n(to_offsets, offset, Offset{0});
  for (int64_t i = 0; i <= texts->length; ++i) {
    to_offsets[offset + i] = offsets[i] - static_cast<Offset>(begin);
  }
  result->buffers[1] = std::move(moved);
  return result;
}

using View = arrow::BinaryViewType::c_type;

// Rows that are null get an empty view: theirs may be any bytes. Null for a letter that isn't
// ASCII.
arrow::Result<std::shared_ptr<arrow::Buffer>> ChangeViews(const arrow::ArrayData& texts, Case to,
                                                          int64_t* pointed_to) {
  const int64_t end = texts.offset + texts.length;
  ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> changed,
                        arrow::AllocateBuffer(end * static_cast<int64_t>(sizeof(View))));
  std::memset(changed->mutable_data(), 0, static_cast<size_t>(texts.offset) * sizeof(View));
  const auto* from = texts.GetValues<View>(1);
  auto* out = changed->mutable_data_as<View>() + texts.offset;
  for (int64_t i = 0; i < texts.length; ++i) {
    View view = texts.IsNull(i) ? View{} : from[i];
    const bool inlined = view.is_inline();
    uint8_t* letters = inlined ? view.inlined.data.data() : view.ref.prefix.data();
    const auto size =
        static_cast<int64_t>(inlined ? sizeof(view.inlined.data) : sizeof(view.ref.prefix));
    if (!IsAscii(letters, size)) return nullptr;
    ChangeCase(letters, size, FirstLetter(to), letters);
    if (!inlined) *pointed_to += view.size();
    out[i] = view;
  }
  return changed;
}

}  // namespace

arrow::Result<DataPtr> ChangeAsciiCaseOfViews(const DataPtr& texts, Case to) {
  int64_t bytes = 0;
  for (size_t i = 2; i < texts->buffers.size(); ++i) {
    const arrow::Buffer& text = *texts->buffers[i];
    if (!IsAscii(text.data(), text.size())) return nullptr;
    bytes += text.size();
  }
  int64_t pointed_to = 0;
  ARROW_ASSIGN_OR_RAISE(auto views, ChangeViews(*texts, to, &pointed_to));
  if (views == nullptr || pointed_to < bytes / 2) return nullptr;
  DataPtr result = texts->Copy();
  result->buffers[1] = std::move(views);
  for (size_t i = 2; i < result->buffers.size(); ++i) {
    const arrow::Buffer& text = *texts->buffers[i];
    ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> changed,
                          arrow::AllocateBuffer(text.size()));
    ChangeCase(text.data(), text.size(), FirstLetter(to), changed->mutable_data());
    result->buffers[i] = std::move(changed);
  }
  return result;
}

arrow::Result<DataPtr> ChangeAsciiCase(const DataPtr& texts, Case to) {
  return texts->type->id() == arrow::Type::LARGE_STRING ? Change<int64_t>(texts, to)
                                                        : Change<int32_t>(texts, to);
}

}  // namespace zerrow::worker
