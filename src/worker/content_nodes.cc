#include "worker/content_nodes.h"

#include <arrow/array/array_run_end.h>
#include <arrow/buffer.h>
#include <arrow/extension_type.h>
#include <arrow/memory_pool.h>
#include <arrow/util/bit_run_reader.h>
#include <arrow/util/bit_util.h>
#include <arrow/util/ubsan.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace zerrow::worker {

using arrow::ArrayData;
using arrow::Result;
using arrow::Status;

namespace {

constexpr int64_t kBlock = 1024;  // values that are gathered before they are hashed

template <typename T>
T At(const arrow::Buffer& buffer, int64_t i) {
  return arrow::util::SafeLoadAs<T>(buffer.data() + i * static_cast<int64_t>(sizeof(T)));
}

Status OutOfBounds(const ArrayData& data) {
  return Status::Invalid("an array of ", data.type->ToString(), " refers to what isn't there");
}

class FlatNode : public Node {
 protected:
  void TakeValues(Stream& all) override { all.AddValue(values_.Take()); }
  Stream values_;
};

class NullNode final : public FlatNode {
  Status AddValid(const ArrayData&, int64_t, int64_t) override { return Status::OK(); }
};

class FixedNode final : public FlatNode {
 public:
  explicit FixedNode(int64_t width_bytes) : width_bytes_(width_bytes) {}

 private:
  Status AddValid(const ArrayData& data, int64_t start, int64_t length) override {
    if (length == 0 || width_bytes_ == 0) return Status::OK();
    const uint8_t* values = data.buffers[1]->data() + (data.offset + start) * width_bytes_;
    values_.Add(values, length * width_bytes_);
    return Status::OK();
  }
  const int64_t width_bytes_;
};

class BooleanNode final : public FlatNode {
  Status AddValid(const ArrayData& data, int64_t start, int64_t length) override {
    uint8_t block[kBlock];
    for (int64_t done = 0; done < length;) {
      const int64_t count = std::min(kBlock, length - done);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t row = data.offset + start + done + i;
        block[i] = arrow::bit_util::GetBit(data.buffers[1]->data(), row) ? 1 : 0;
      }
      values_.Add(block, count);
      done += count;
    }
    return Status::OK();
  }
};

// The lengths of what rows refer to by offsets that follow each other; its extent.
template <typename Offset>
Result<std::pair<int64_t, int64_t>> AddLengths(const ArrayData& data, int64_t start, int64_t length,
                                               int64_t limit, Stream& lengths) {
  if (length == 0) return std::pair<int64_t, int64_t>(0, 0);
  const arrow::Buffer& offsets = *data.buffers[1];
  const int64_t first = data.offset + start;
  const int64_t begin = At<Offset>(offsets, first);
  int64_t before = begin;
  int64_t block[kBlock];
  for (int64_t done = 0; done < length;) {
    const int64_t count = std::min(kBlock, length - done);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t end = At<Offset>(offsets, first + done + i + 1);
      if (end < before) return OutOfBounds(data);
      block[i] = end - before;
      before = end;
    }
    lengths.Add(block, count * static_cast<int64_t>(sizeof(int64_t)));
    done += count;
  }
  if (begin < 0 || before > limit) return OutOfBounds(data);
  return std::pair(begin, before);
}

int64_t SizeOf(const std::shared_ptr<arrow::Buffer>& buffer) {
  return buffer == nullptr ? 0 : buffer->size();
}

template <typename Offset>
class BinaryNode final : public Node {
  Status AddValid(const ArrayData& data, int64_t start, int64_t length) override {
    const auto& bytes = data.buffers[2];
    ARROW_ASSIGN_OR_RAISE(const auto extent,
                          AddLengths<Offset>(data, start, length, SizeOf(bytes), lengths_));
    if (bytes != nullptr) bytes_.Add(bytes->data() + extent.first, extent.second - extent.first);
    return Status::OK();
  }
  void TakeValues(Stream& all) override {
    all.AddValue(lengths_.Take());
    all.AddValue(bytes_.Take());
  }
  Stream lengths_;
  Stream bytes_;
};

class ViewNode final : public Node {
  Status AddValid(const ArrayData& data, int64_t start, int64_t length) override {
    using View = arrow::BinaryViewType::c_type;
    for (int64_t i = 0; i < length; ++i) {
      const auto view = At<View>(*data.buffers[1], data.offset + start + i);
      const int64_t size = view.size();
      if (size < 0) return OutOfBounds(data);
      lengths_.AddValue(size);
      if (view.is_inline()) {
        bytes_.Add(view.inline_data(), size);
        continue;
      }
      const size_t number = static_cast<size_t>(view.ref.buffer_index) + 2;
      if (view.ref.buffer_index < 0 || view.ref.offset < 0 || number >= data.buffers.size() ||
          view.ref.offset + size > SizeOf(data.buffers[number])) {
        return OutOfBounds(data);
      }
      bytes_.Add(data.buffers[number]->data() + view.ref.offset, size);
    }
    return Status::OK();
  }
  void TakeValues(Stream& all) override {
    all.AddValue(lengths_.Take());
    all.AddValue(bytes_.Take());
  }
  Stream lengths_;
  Stream bytes_;
};

// Rows that have some rows of one child each.
class ListNode : public Node {
 public:
  explicit ListNode(NodePtr child) : child_(std::move(child)) {}

 protected:
  void TakeValues(Stream& all) override {
    all.AddValue(lengths_.Take());
    all.AddValue(child_->Take());
  }
  const NodePtr child_;
  Stream lengths_;
};

template <typename Offset>
class OffsetListNode final : public ListNode {
  using ListNode::ListNode;
  Status AddValid(const ArrayData& data, int64_t start, int64_t length) override {
    const ArrayData& child = *data.child_data[0];
    ARROW_ASSIGN_OR_RAISE(const auto extent,
                          AddLengths<Offset>(data, start, length, child.length, lengths_));
    return child_->Add(child, extent.first, extent.second - extent.first);
  }
};

template <typename Offset>
class ListViewNode final : public ListNode {
  using ListNode::ListNode;
  Status AddValid(const ArrayData& data, int64_t start, int64_t length) override {
    for (int64_t i = 0; i < length; ++i) {
      const int64_t row = data.offset + start + i;
      const int64_t size = At<Offset>(*data.buffers[2], row);
      lengths_.AddValue(size);
      if (size == 0) continue;
      const int64_t offset = At<Offset>(*data.buffers[1], row);
      ARROW_RETURN_NOT_OK(child_->Add(*data.child_data[0], offset, size));
    }
    return Status::OK();
  }
};

class FixedSizeListNode final : public ListNode {
 public:
  FixedSizeListNode(NodePtr child, int64_t size) : ListNode(std::move(child)), size_(size) {}

 private:
  Status AddValid(const ArrayData& data, int64_t start, int64_t length) override {
    return child_->Add(*data.child_data[0], (data.offset + start) * size_, length * size_);
  }
  const int64_t size_;
};

// One child for each field.
class FieldsNode : public Node {
 public:
  explicit FieldsNode(std::vector<NodePtr> children) : children_(std::move(children)) {}

 protected:
  void TakeValues(Stream& all) override {
    all.AddValue(codes_.Take());
    for (const NodePtr& child : children_) all.AddValue(child->Take());
  }
  const std::vector<NodePtr> children_;
  Stream codes_;  // of unions
};

class StructNode final : public FieldsNode {
  using FieldsNode::FieldsNode;
  Status AddValid(const ArrayData& data, int64_t start, int64_t length) override {
    for (size_t i = 0; i < children_.size(); ++i) {
      ARROW_RETURN_NOT_OK(children_[i]->Add(*data.child_data[i], data.offset + start, length));
    }
    return Status::OK();
  }
};

class UnionNode final : public FieldsNode {
 public:
  UnionNode(std::vector<NodePtr> children, const arrow::UnionType& type)
      : FieldsNode(std::move(children)),
        child_ids_(type.child_ids()),
        is_dense_(type.mode() == arrow::UnionMode::DENSE) {}

 private:
  Status AddValid(const ArrayData& data, int64_t start, int64_t length) override {
    for (int64_t i = 0; i < length; ++i) {
      const int64_t row = data.offset + start + i;
      const auto code = At<int8_t>(*data.buffers[1], row);
      const int child = code < 0 ? -1 : child_ids_[static_cast<size_t>(code)];
      if (child < 0) return OutOfBounds(data);
      codes_.AddValue(code);
      const int64_t place = is_dense_ ? At<int32_t>(*data.buffers[2], row) : row;
      const auto number = static_cast<size_t>(child);
      ARROW_RETURN_NOT_OK(children_[number]->Add(*data.child_data[number], place, 1));
    }
    return Status::OK();
  }
  const std::vector<int> child_ids_;  // by code
  const bool is_dense_;
};

template <typename Index>
class DictionaryNode final : public FlatNode {
 public:
  explicit DictionaryNode(NodePtr value) : value_(std::move(value)) {}

 private:
  Status AddValid(const ArrayData& data, int64_t start, int64_t length) override {
    ARROW_RETURN_NOT_OK(HashValues(data.dictionary));
    for (int64_t i = 0; i < length; ++i) {
      // NOLINTNEXTLINE(bugprone-signed-char-misuse): a number, no character
      const int64_t index = At<Index>(*data.buffers[1], data.offset + start + i);
      if (index < 0 || index >= static_cast<int64_t>(hashes_.size())) return OutOfBounds(data);
      values_.AddValue(hashes_[static_cast<size_t>(index)]);
    }
    return Status::OK();
  }

  // Each once, for all chunks and runs that have the same dictionary.
  Status HashValues(const std::shared_ptr<ArrayData>& dictionary) {
    if (dictionary == dictionary_) return Status::OK();
    hashes_.clear();
    for (int64_t i = 0; i < dictionary->length; ++i) {
      ARROW_RETURN_NOT_OK(value_->Add(*dictionary, i, 1));
      hashes_.push_back(value_->Take());
    }
    dictionary_ = dictionary;
    return Status::OK();
  }

  const NodePtr value_;
  std::shared_ptr<ArrayData> dictionary_;
  std::vector<ContentHash> hashes_;
};

class RunEndNode final : public FieldsNode {
 public:
  RunEndNode(std::vector<NodePtr> value, std::shared_ptr<arrow::DataType> type)
      : FieldsNode(std::move(value)), type_(std::move(type)) {}

 private:
  Status AddValid(const ArrayData& data, int64_t start, int64_t length) override {
    if (length == 0) return Status::OK();
    const std::shared_ptr<ArrayData> rows = data.Slice(start, length);
    rows->type = type_;  // not that of an extension
    const arrow::RunEndEncodedArray runs(rows);
    ARROW_ASSIGN_OR_RAISE(const auto ends, runs.LogicalRunEnds(arrow::default_memory_pool()));
    const auto values = runs.LogicalValues();
    int64_t row = 0;
    for (int64_t run = 0; run < ends->length(); ++run) {
      for (const int64_t end = std::min(EndOf(*ends->data(), run), length); row < end; ++row) {
        ARROW_RETURN_NOT_OK(children_[0]->Add(*values->data(), run, 1));
      }
    }
    return Status::OK();
  }

  static int64_t EndOf(const ArrayData& ends, int64_t run) {
    const int64_t at = ends.offset + run;
    if (ends.type->id() == arrow::Type::INT16) return At<int16_t>(*ends.buffers[1], at);
    if (ends.type->id() == arrow::Type::INT32) return At<int32_t>(*ends.buffers[1], at);
    return At<int64_t>(*ends.buffers[1], at);
  }

  const std::shared_ptr<arrow::DataType> type_;
};

Result<NodePtr> MakeDictionaryNode(const arrow::DictionaryType& type) {
  ARROW_ASSIGN_OR_RAISE(NodePtr value, MakeNode(type.value_type()));
  switch (type.index_type()->id()) {
    case arrow::Type::INT8:
      return std::make_unique<DictionaryNode<int8_t>>(std::move(value));
    case arrow::Type::UINT8:
      return std::make_unique<DictionaryNode<uint8_t>>(std::move(value));
    case arrow::Type::INT16:
      return std::make_unique<DictionaryNode<int16_t>>(std::move(value));
    case arrow::Type::UINT16:
      return std::make_unique<DictionaryNode<uint16_t>>(std::move(value));
    case arrow::Type::INT32:
      return std::make_unique<DictionaryNode<int32_t>>(std::move(value));
    case arrow::Type::UINT32:
      return std::make_unique<DictionaryNode<uint32_t>>(std::move(value));
    default:
      return std::make_unique<DictionaryNode<int64_t>>(std::move(value));
  }
}

Result<std::vector<NodePtr>> MakeChildren(const arrow::DataType& type) {
  std::vector<NodePtr> children;
  for (const auto& field : type.fields()) {
    ARROW_ASSIGN_OR_RAISE(children.emplace_back(), MakeNode(field->type()));
  }
  return children;
}

Result<NodePtr> MakeNestedNode(const arrow::DataType& type) {
  ARROW_ASSIGN_OR_RAISE(std::vector<NodePtr> children, MakeChildren(type));
  switch (type.id()) {
    case arrow::Type::LIST:
    case arrow::Type::MAP:
      return std::make_unique<OffsetListNode<int32_t>>(std::move(children[0]));
    case arrow::Type::LARGE_LIST:
      return std::make_unique<OffsetListNode<int64_t>>(std::move(children[0]));
    case arrow::Type::LIST_VIEW:
      return std::make_unique<ListViewNode<int32_t>>(std::move(children[0]));
    case arrow::Type::LARGE_LIST_VIEW:
      return std::make_unique<ListViewNode<int64_t>>(std::move(children[0]));
    case arrow::Type::FIXED_SIZE_LIST:
      return std::make_unique<FixedSizeListNode>(
          std::move(children[0]), static_cast<const arrow::FixedSizeListType&>(type).list_size());
    case arrow::Type::STRUCT:
      return std::make_unique<StructNode>(std::move(children));
    case arrow::Type::SPARSE_UNION:
    case arrow::Type::DENSE_UNION:
      return std::make_unique<UnionNode>(std::move(children),
                                         static_cast<const arrow::UnionType&>(type));
    default:
      return Status::NotImplemented("hashing ", type.ToString());
  }
}

}  // namespace

Status Node::Add(const ArrayData& data, int64_t start, int64_t length) {
  if (start < 0 || length < 0 || start > data.length - length) return OutOfBounds(data);
  const int64_t before = rows_;
  rows_ += length;
  if (data.type->id() == arrow::Type::NA) return Status::OK();
  // Unions and run ends have none.
  const bool has_nulls =
      !data.buffers.empty() && data.buffers[0] != nullptr && data.null_count.load() != 0;
  const uint8_t* validity = has_nulls ? data.buffers[0]->data() : nullptr;
  return arrow::internal::VisitSetBitRuns(validity, data.offset + start, length,
                                          [&](int64_t position, int64_t run) {
                                            NoteValid(before + position, run);
                                            return AddValid(data, start + position, run);
                                          });
}

ContentHash Node::Take() {
  NoteValid(-1, 0);
  Stream all;
  all.AddValue(std::exchange(rows_, 0));
  all.AddValue(valid_.Take());
  TakeValues(all);
  valid_end_ = valid_begin_ = 0;
  return all.Take();
}

// Runs that meet, where arrays do, are one.
void Node::NoteValid(int64_t begin, int64_t length) {
  if (begin != valid_end_) {
    if (valid_end_ > valid_begin_) {
      valid_.AddValue(valid_begin_);
      valid_.AddValue(valid_end_);
    }
    valid_begin_ = begin;
  }
  valid_end_ = begin + length;
}

Result<NodePtr> MakeNode(const std::shared_ptr<arrow::DataType>& type) {
  switch (type->id()) {
    case arrow::Type::NA:
      return std::make_unique<NullNode>();
    case arrow::Type::BOOL:
      return std::make_unique<BooleanNode>();
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
      return std::make_unique<BinaryNode<int32_t>>();
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      return std::make_unique<BinaryNode<int64_t>>();
    case arrow::Type::STRING_VIEW:
    case arrow::Type::BINARY_VIEW:
      return std::make_unique<ViewNode>();
    case arrow::Type::DICTIONARY:
      return MakeDictionaryNode(static_cast<const arrow::DictionaryType&>(*type));
    case arrow::Type::EXTENSION:
      return MakeNode(static_cast<const arrow::ExtensionType&>(*type).storage_type());
    case arrow::Type::RUN_END_ENCODED: {
      std::vector<NodePtr> value(1);
      ARROW_ASSIGN_OR_RAISE(
          value[0], MakeNode(static_cast<const arrow::RunEndEncodedType&>(*type).value_type()));
      return std::make_unique<RunEndNode>(std::move(value), type);
    }
    default:
      break;
  }
  if (arrow::is_nested(type->id())) return MakeNestedNode(*type);
  const auto* fixed = dynamic_cast<const arrow::FixedWidthType*>(type.get());
  if (fixed == nullptr) return Status::NotImplemented("hashing ", type->ToString());
  return std::make_unique<FixedNode>(fixed->bit_width() / 8);
}

}  // namespace zerrow::worker
