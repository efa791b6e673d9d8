#include "worker/row_match.h"

#include <arrow/array.h>
#include <arrow/util/bitmap_ops.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "worker/buffer_parts.h"

namespace zerrow::worker {

namespace {

using sipc::LayoutKind;

constexpr size_t kMaxCandidates = 4;
// An array pays for comparing that many times its bytes.
constexpr int64_t kComparedPerByte = 2;
// Pieces that an array is split into are at least so large on average.
constexpr int64_t kMinPieceBytes = 16 * 1024;
constexpr int64_t kSampleBytes = 64;
constexpr int64_t kSamples = 4;

using Memory = std::span<const uint8_t>;

// True if the buffer has as many bits in front of `end`.
bool HasBits(const arrow::Buffer* buffer, int64_t end) {
  return buffer != nullptr && buffer->is_cpu() && end / 8 + (end % 8 != 0) <= buffer->size();
}

// Where the array's values are: one piece, of text its offsets and its bytes. Empty: the array says
// more than its buffers have.
std::vector<Memory> ValuesOf(const arrow::ArrayData& data, LayoutKind kind, int64_t bits) {
  int64_t end = 0;
  if (data.offset < 0 || data.length <= 0 ||
      __builtin_add_overflow(data.offset, data.length, &end) ||
      (data.buffers[0] != nullptr && !HasBits(data.buffers[0].get(), end))) {
    return {};
  }
  std::vector<Memory> values;
  if (kind == LayoutKind::kFixed) {
    if (__builtin_mul_overflow(end, bits, &end) || !HasBits(data.buffers[1].get(), end)) return {};
    const int64_t begin = data.offset * bits / 8;
    values.emplace_back(data.buffers[1]->data() + begin, end / 8 + (end % 8 != 0) - begin);
    return values;
  }
  for (const BufferPart& part : BufferPartsOf(data)) {
    if (part.buffer == 0) continue;
    values.emplace_back(data.buffers[part.buffer]->data() + part.begin, part.size.bytes);
  }
  if (values.size() != 2) values.clear();
  return values;
}

int64_t SizeOf(std::span<const Memory> values) {
  int64_t size_bytes = 0;
  for (const Memory& memory : values) size_bytes += static_cast<int64_t>(memory.size());
  return size_bytes;
}

// Compares rows of an array, from `first` on, with all rows of another. Bounded.
class Comparison {
 public:
  explicit Comparison(int64_t budget_bytes) : budget_bytes_(budget_bytes) {}

  bool IsEqual(const arrow::ArrayData& a, int64_t first, const arrow::ArrayData& b, LayoutKind kind,
               int64_t bits) {
    return HasEqualValues(a, first, b, kind, bits) && HasEqualValidity(a, first, b);
  }

 private:
  bool Pay(int64_t size_bytes) {
    if (budget_bytes_ < size_bytes) return false;
    budget_bytes_ -= size_bytes;
    return true;
  }

  bool HasEqualBytes(const uint8_t* a, const uint8_t* b, int64_t size_bytes) {
    for (int64_t sample = kSamples; size_bytes > kSampleBytes && sample > 0; --sample) {
      const int64_t at = (size_bytes - kSampleBytes) / kSamples * sample;
      if (std::memcmp(a + at, b + at, kSampleBytes) != 0) return false;
    }
    return size_bytes == 0 ||
           (Pay(size_bytes) && std::memcmp(a, b, static_cast<size_t>(size_bytes)) == 0);
  }

  bool HasEqualValues(const arrow::ArrayData& a, int64_t first, const arrow::ArrayData& b,
                      LayoutKind kind, int64_t bits) {
    if (kind == LayoutKind::kBinary32) return HasEqualText<int32_t>(a, first, b);
    if (kind == LayoutKind::kBinary64) return HasEqualText<int64_t>(a, first, b);
    const uint8_t* mine = a.buffers[1]->data();
    const uint8_t* other = b.buffers[1]->data();
    if (bits % 8 != 0) {
      return Pay(b.length / 8) &&
             arrow::internal::BitmapEquals(mine, a.offset + first, other, b.offset, b.length);
    }
    const int64_t width = bits / 8;
    return HasEqualBytes(mine + (a.offset + first) * width, other + b.offset * width,
                         b.length * width);
  }

  // The bytes of texts are equal, and each begins and ends where the other does.
  template <typename Offset>
  bool HasEqualText(const arrow::ArrayData& a, int64_t first, const arrow::ArrayData& b) {
    const Offset* mine = a.GetValues<Offset>(1) + first;
    const Offset* other = b.GetValues<Offset>(1);
    const auto is_within = [&](const Offset* offsets, const arrow::ArrayData& data) {
      return offsets[0] >= 0 && offsets[0] <= offsets[b.length] &&
             offsets[b.length] <= data.buffers[2]->size();
    };
    if (!is_within(mine, a) || !is_within(other, b)) return false;
    const auto size_bytes = static_cast<int64_t>(mine[b.length] - mine[0]);
    if (size_bytes != static_cast<int64_t>(other[b.length] - other[0]) ||
        !HasEqualBytes(a.buffers[2]->data() + mine[0], b.buffers[2]->data() + other[0],
                       size_bytes) ||
        !Pay(b.length * static_cast<int64_t>(sizeof(Offset)))) {
      return false;
    }
    // Unsigned: an input's offsets that contradict themselves may be anything.
    using Distance = std::make_unsigned_t<Offset>;
    for (int64_t i = 1; i < b.length; ++i) {
      if (Distance(mine[i]) - Distance(mine[0]) != Distance(other[i]) - Distance(other[0])) {
        return false;
      }
    }
    return true;
  }

  static bool HasEqualValidity(const arrow::ArrayData& a, int64_t first,
                               const arrow::ArrayData& b) {
    const auto bits_of = [](const arrow::ArrayData& data) {
      const bool full = data.null_count.load() == 0 || data.buffers[0] == nullptr;
      return full ? nullptr : data.buffers[0]->data();
    };
    const auto is_full = [&](const uint8_t* bits, int64_t offset) {
      return bits == nullptr || arrow::internal::CountSetBits(bits, offset, b.length) == b.length;
    };
    const uint8_t* mine = bits_of(a);
    const uint8_t* other = bits_of(b);
    if (mine == nullptr || other == nullptr) {
      return is_full(mine, a.offset + first) && is_full(other, b.offset);
    }
    return arrow::internal::BitmapEquals(mine, a.offset + first, other, b.offset, b.length);
  }

  int64_t budget_bytes_;
};

// What an array's values look like.
arrow::Result<std::pair<LayoutKind, uint32_t>> LayoutOf(const arrow::DataType& type) {
  ARROW_ASSIGN_OR_RAISE(auto layout, sipc::LayoutOf(sipc::StorageOf(type)));
  if (layout.first == LayoutKind::kFixed || layout.first == LayoutKind::kBinary32 ||
      layout.first == LayoutKind::kBinary64) {
    return layout;
  }
  return arrow::Status::NotImplemented("neither values of fixed width nor text");
}

// The rows [first_row, first_row + length) of a column, in as many pieces as it has chunks there.
arrow::ArrayDataVector RowsOf(const arrow::ChunkedArray& column, int64_t first_row,
                              int64_t length) {
  arrow::ArrayDataVector pieces;
  int64_t row = 0;
  for (const auto& chunk : column.chunks()) {
    const int64_t from = std::max(row, first_row);
    const int64_t to = std::min(row + chunk->length(), first_row + length);
    if (from < to) pieces.push_back(chunk->data()->Slice(from - row, to - from));
    row += chunk->length();
  }
  return pieces;
}

}  // namespace

void RowMatcher::Collect() {
  collected_ = true;
  for (const auto& input : inputs_) {
    for (int i = 0; i < input->num_columns(); ++i) {
      const Column& column = input->column(i);
      const auto layout = LayoutOf(*column->type());
      if (!layout.ok()) continue;
      columns_[{input->num_rows(), layout->first, layout->second}].emplace_back(
          input->field(i)->name(), column);
    }
  }
}

std::vector<RowMatcher::Column> RowMatcher::Candidates(const arrow::ArrayData& data,
                                                       const Place& place) {
  if (!collected_) Collect();
  const auto [kind, bits] = *LayoutOf(*data.type);
  const auto found = columns_.find({place.table_rows, kind, bits});
  if (found == columns_.end()) return {};
  std::vector<Column> candidates;
  for (const bool named : {true, false}) {
    for (const auto& [name, column] : found->second) {
      if (candidates.size() >= kMaxCandidates) break;
      if ((name == place.column) != named) continue;
      candidates.insert(column == last_ ? candidates.begin() : candidates.end(), column);
    }
  }
  return candidates;
}

bool RowMatcher::IsSegments(std::span<const std::span<const uint8_t>> values) const {
  return !values.empty() && std::ranges::all_of(values, [&](const Memory& memory) {
    return segments_.Find(memory.data(), static_cast<int64_t>(memory.size())).has_value();
  });
}

RowMatcher::Found RowMatcher::Find(const Data& data, const Place& place, bool split) {
  const auto layout = LayoutOf(*data->type);
  if (!layout.ok()) return {};
  const auto [kind, bits] = *layout;
  const auto values = ValuesOf(*data, kind, bits);
  const int64_t size_bytes = SizeOf(values);
  if (size_bytes < kMinPieceBytes || IsSegments({&values.back(), 1})) return {};
  const auto max_pieces = static_cast<size_t>(split ? size_bytes / kMinPieceBytes : 1);
  Comparison comparison(kComparedPerByte * size_bytes);
  for (const Column& column : Candidates(*data, place)) {
    Found found;
    const auto pieces = RowsOf(*column, place.first_row, data->length);
    if (pieces.size() > max_pieces) continue;
    int64_t first = 0;
    for (const Data& piece : pieces) {
      const auto input = ValuesOf(*piece, kind, bits);
      if (IsSegments(input) && comparison.IsEqual(*data, first, *piece, kind, bits)) {
        found.bytes += SizeOf(input);
        found.arrays.push_back(piece);
        found.arrays.back()->type = data->type;
      } else {
        found.arrays.push_back(data->Slice(first, piece->length));
      }
      first += piece->length;
    }
    if (found.bytes == 0) continue;
    last_ = column;
    return found;
  }
  return {};
}

}  // namespace zerrow::worker
