#include "sipc/layout.h"

#include <arrow/extension_type.h>
#include <arrow/type_traits.h>

namespace zerrow::sipc {

uint32_t NumSlots(LayoutKind kind) {
  switch (kind) {
    case LayoutKind::kNull:
    case LayoutKind::kRunEndEncoded:
      return 0;
    case LayoutKind::kFixedSizeList:
    case LayoutKind::kStruct:
    case LayoutKind::kSparseUnion:
      return 1;
    case LayoutKind::kFixed:
    case LayoutKind::kList32:
    case LayoutKind::kList64:
    case LayoutKind::kDenseUnion:
      return 2;
    case LayoutKind::kBinary32:
    case LayoutKind::kBinary64:
    case LayoutKind::kView:
    case LayoutKind::kListView32:
    case LayoutKind::kListView64:
    case LayoutKind::kDictionary:
      return 3;
  }
  return 0;
}

int64_t OffsetBytes(LayoutKind kind) {
  switch (kind) {
    case LayoutKind::kBinary32:
    case LayoutKind::kList32:
    case LayoutKind::kListView32:
      return 4;
    case LayoutKind::kBinary64:
    case LayoutKind::kList64:
    case LayoutKind::kListView64:
      return 8;
    default:
      return 0;
  }
}

const arrow::DataType& StorageOf(const arrow::DataType& type) {
  const arrow::DataType* storage = &type;
  while (storage->id() == arrow::Type::EXTENSION) {
    storage = static_cast<const arrow::ExtensionType*>(storage)->storage_type().get();
  }
  return *storage;
}

namespace {

// Apart from the others because Arrow's bit_width overflows for values of 256 MiB and more.
arrow::Result<std::pair<LayoutKind, uint32_t>> FixedBinaryLayout(const arrow::DataType& type) {
  const uint64_t bits =
      uint64_t{8} * static_cast<const arrow::FixedSizeBinaryType&>(type).byte_width();
  if (bits > UINT32_MAX) {
    return arrow::Status::NotImplemented("SIPC: values of ", type.ToString(), " are too wide");
  }
  return std::pair{LayoutKind::kFixed, static_cast<uint32_t>(bits)};
}

}  // namespace

arrow::Result<std::pair<LayoutKind, uint32_t>> LayoutOf(const arrow::DataType& type) {
  using arrow::Type;
  const arrow::DataType& storage = StorageOf(type);
  auto bits = [&] { return static_cast<uint32_t>(storage.bit_width()); };
  switch (storage.id()) {
    case Type::NA:
      return std::pair{LayoutKind::kNull, 0u};
    case Type::STRING:
    case Type::BINARY:
      return std::pair{LayoutKind::kBinary32, 0u};
    case Type::LARGE_STRING:
    case Type::LARGE_BINARY:
      return std::pair{LayoutKind::kBinary64, 0u};
    case Type::STRING_VIEW:
    case Type::BINARY_VIEW:
      return std::pair{LayoutKind::kView, 0u};
    case Type::LIST:
    case Type::MAP:
      return std::pair{LayoutKind::kList32, 0u};
    case Type::LARGE_LIST:
      return std::pair{LayoutKind::kList64, 0u};
    case Type::LIST_VIEW:
      return std::pair{LayoutKind::kListView32, 0u};
    case Type::LARGE_LIST_VIEW:
      return std::pair{LayoutKind::kListView64, 0u};
    case Type::FIXED_SIZE_LIST: {
      const auto& list = static_cast<const arrow::FixedSizeListType&>(storage);
      return std::pair{LayoutKind::kFixedSizeList, static_cast<uint32_t>(list.list_size())};
    }
    case Type::STRUCT:
      return std::pair{LayoutKind::kStruct, 0u};
    case Type::SPARSE_UNION:
      return std::pair{LayoutKind::kSparseUnion, 0u};
    case Type::DENSE_UNION:
      return std::pair{LayoutKind::kDenseUnion, 0u};
    case Type::DICTIONARY:
      return std::pair{LayoutKind::kDictionary, bits()};
    case Type::RUN_END_ENCODED:
      return std::pair{LayoutKind::kRunEndEncoded, 0u};
    default:
      if (storage.id() == Type::FIXED_SIZE_BINARY) return FixedBinaryLayout(storage);
      if (arrow::is_fixed_width(storage.id())) return std::pair{LayoutKind::kFixed, bits()};
      return arrow::Status::NotImplemented("SIPC doesn't know the type ", type.ToString());
  }
}

std::vector<const arrow::DataType*> LayoutChildren(const arrow::DataType& type) {
  const arrow::DataType& storage = StorageOf(type);
  if (storage.id() == arrow::Type::DICTIONARY) {
    return {static_cast<const arrow::DictionaryType&>(storage).value_type().get()};
  }
  std::vector<const arrow::DataType*> children;
  children.reserve(storage.fields().size());
  for (const auto& field : storage.fields()) children.push_back(field->type().get());
  return children;
}

arrow::Result<uint32_t> LayoutTable::Add(const arrow::DataType& type, int depth) {
  if (depth > kMaxDepth) {
    return arrow::Status::Invalid("a column is nested deeper than ", kMaxDepth, " levels");
  }
  if (auto known = by_type_.find(&type); known != by_type_.end() && depth == 1) {
    return known->second;
  }
  ARROW_ASSIGN_OR_RAISE(auto layout, LayoutOf(type));
  std::vector<uint32_t> children;
  for (const arrow::DataType* child : LayoutChildren(type)) {
    ARROW_ASSIGN_OR_RAISE(uint32_t index, Add(*child, depth + 1));
    children.push_back(index);
  }
  const uint32_t index = Add(layout.first, layout.second, children);
  by_type_.emplace(&type, index);
  return index;
}

uint32_t LayoutTable::Add(LayoutKind kind, uint32_t parameter, std::span<const uint32_t> children) {
  std::vector<uint32_t> shape = {static_cast<uint32_t>(kind), parameter};
  shape.insert(shape.end(), children.begin(), children.end());
  auto [at, is_new] = by_shape_.emplace(std::move(shape), static_cast<uint32_t>(records_.size()));
  if (!is_new) return at->second;
  const auto num_children = static_cast<uint32_t>(children.size());
  records_.push_back(LayoutRecord{.kind = static_cast<uint8_t>(kind),
                                  .reserved = {},
                                  .parameter = parameter,
                                  .first_child = static_cast<uint32_t>(children_.size()),
                                  .num_children = num_children});
  sizes_.push_back(
      SizeOfLayout(kind, num_children, [&](uint32_t i) { return sizes_[children[i]]; }));
  children_.insert(children_.end(), children.begin(), children.end());
  return at->second;
}

}  // namespace zerrow::sipc
