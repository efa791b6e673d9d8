#include "worker/content_reshare.h"

#include <arrow/array.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "worker/content_index.h"
#include "worker/row_match.h"

namespace zerrow::worker {

namespace {

using Data = std::shared_ptr<arrow::ArrayData>;

// Smaller buffers are copied into the message anyway.
constexpr int64_t kMinBytes = 4096;

// Most arrays of a table of many are too small to be worth a look.
bool MayHave(const arrow::ArrayData& data, int64_t min_bytes) {
  return std::ranges::any_of(data.buffers, [&](const auto& buffer) {
    return buffer != nullptr && buffer->size() >= min_bytes;
  });
}

// Makes a table of another's arrays with buffers of inputs.
class Resharing {
 public:
  explicit Resharing(ContentIndex index, RowMatcher* rows = nullptr, bool split = false)
      : index_(std::move(index)), rows_(rows), split_(split) {}

  std::shared_ptr<arrow::Table> Table(const std::shared_ptr<arrow::Table>& table) {
    arrow::ChunkedArrayVector columns;
    for (int i = 0; i < table->num_columns(); ++i) {
      columns.push_back(Column(table->column(i), table->field(i)->name()));
    }
    if (columns == table->columns()) return table;
    return arrow::Table::Make(table->schema(), std::move(columns), table->num_rows());
  }

  int64_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<arrow::ChunkedArray> Column(const std::shared_ptr<arrow::ChunkedArray>& column,
                                              const std::string& name) {
    arrow::ArrayVector chunks;
    int64_t row = 0;
    for (const auto& chunk : column->chunks()) {
      for (const Data& data : Chunk(chunk->data(), {name, row, column->length()})) {
        chunks.push_back(data == chunk->data() ? chunk : arrow::MakeArray(data));
      }
      row += chunk->length();
    }
    if (chunks == column->chunks()) return column;
    return std::make_shared<arrow::ChunkedArray>(std::move(chunks), column->type());
  }

  arrow::ArrayDataVector Chunk(const Data& data, const RowMatcher::Place& place) {
    if (rows_ != nullptr && MayHave(*data, kMinBytes)) {
      RowMatcher::Found found = rows_->Find(data, place, split_);
      bytes_ += found.bytes;
      if (found.bytes > 0) return std::move(found.arrays);
    }
    return {Array(data)};
  }

  // The same object if nothing was found.
  Data Array(const Data& data) {
    Data copy;
    const auto change = [&]() -> arrow::ArrayData& {
      if (copy == nullptr) copy = std::make_shared<arrow::ArrayData>(*data);
      return *copy;
    };
    const bool look = MayHave(*data, rows_ != nullptr ? kMinBytes : 1);
    for (const BufferPart& part : look ? BufferPartsOf(*data) : std::vector<BufferPart>{}) {
      auto buffer = Buffer(*data->buffers[part.buffer], part);
      if (buffer != nullptr) change().buffers[part.buffer] = std::move(buffer);
    }
    for (size_t i = 0; i < data->child_data.size(); ++i) {
      Data child = Array(data->child_data[i]);
      if (child != data->child_data[i]) change().child_data[i] = std::move(child);
    }
    if (data->dictionary != nullptr) {
      Data dictionary = Array(data->dictionary);
      if (dictionary != data->dictionary) change().dictionary = std::move(dictionary);
    }
    return copy == nullptr ? data : copy;
  }

  // What may stand for the buffer: the part's bytes, where they are in it. Null: nothing.
  std::shared_ptr<arrow::Buffer> Buffer(const arrow::Buffer& buffer, const BufferPart& part) {
    if (!index_.IsWanted(buffer, part)) return nullptr;
    const auto [known, is_new] = found_.try_emplace({buffer.data(), part.begin, part.size});
    if (!is_new) return known->second;
    const Place* place = index_.Find(buffer, part);
    if (place == nullptr) return nullptr;
    const int64_t size_bytes = part.size.bytes + (part.size.bits > 0 ? 1 : 0);
    bytes_ += size_bytes;
    known->second =
        arrow::SliceBuffer(place->buffer, place->begin - part.begin, part.begin + size_bytes);
    return known->second;
  }

  ContentIndex index_;
  RowMatcher* rows_;
  const bool split_;
  std::map<std::tuple<const uint8_t*, int64_t, PartSize>, std::shared_ptr<arrow::Buffer>> found_;
  int64_t bytes_ = 0;
};

}  // namespace

Reshared ReshareContent(const std::shared_ptr<arrow::Table>& output,
                        std::span<const std::shared_ptr<arrow::Table>> inputs,
                        const sipc::AddressMap& segments, bool split) {
  RowMatcher rows(inputs, segments);
  Resharing resharing(
      ContentIndex(inputs, {.segments = &segments, .min_bytes = kMinBytes, .bounded = true}), &rows,
      split);
  auto table = resharing.Table(output);
  return {std::move(table), resharing.bytes()};
}

int64_t CountDuplicateBytes(const std::shared_ptr<arrow::Table>& output,
                            std::span<const std::shared_ptr<arrow::Table>> inputs) {
  Resharing resharing(ContentIndex(inputs, {}));
  resharing.Table(output);
  return resharing.bytes();
}

}  // namespace zerrow::worker
