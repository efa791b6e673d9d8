#include "worker/content_reshare.h"

#include <arrow/array.h>

#include <map>
#include <tuple>
#include <utility>

#include "worker/content_index.h"

namespace zerrow::worker {

namespace {

using Data = std::shared_ptr<arrow::ArrayData>;

// Smaller buffers are copied into the message anyway.
constexpr int64_t kMinBytes = 4096;

// Makes a table of another's arrays with buffers of inputs.
class Resharing {
 public:
  explicit Resharing(ContentIndex index) : index_(std::move(index)) {}

  std::shared_ptr<arrow::Table> Table(const std::shared_ptr<arrow::Table>& table) {
    arrow::ChunkedArrayVector columns;
    for (const auto& column : table->columns()) columns.push_back(Column(column));
    if (columns == table->columns()) return table;
    return arrow::Table::Make(table->schema(), std::move(columns), table->num_rows());
  }

  int64_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<arrow::ChunkedArray> Column(const std::shared_ptr<arrow::ChunkedArray>& column) {
    arrow::ArrayVector chunks = column->chunks();
    bool changed = false;
    for (auto& chunk : chunks) {
      Data data = Array(chunk->data());
      if (data == chunk->data()) continue;
      chunk = arrow::MakeArray(std::move(data));
      changed = true;
    }
    if (!changed) return column;
    return std::make_shared<arrow::ChunkedArray>(std::move(chunks), column->type());
  }

  // The same object if nothing was found.
  Data Array(const Data& data) {
    Data copy;
    const auto change = [&]() -> arrow::ArrayData& {
      if (copy == nullptr) copy = std::make_shared<arrow::ArrayData>(*data);
      return *copy;
    };
    for (const BufferPart& part : BufferPartsOf(*data)) {
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
  std::map<std::tuple<const uint8_t*, int64_t, PartSize>, std::shared_ptr<arrow::Buffer>> found_;
  int64_t bytes_ = 0;
};

}  // namespace

Reshared ReshareContent(const std::shared_ptr<arrow::Table>& output,
                        std::span<const std::shared_ptr<arrow::Table>> inputs,
                        const sipc::AddressMap& segments) {
  Resharing resharing(
      ContentIndex(inputs, {.segments = &segments, .min_bytes = kMinBytes, .bounded = true}));
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
