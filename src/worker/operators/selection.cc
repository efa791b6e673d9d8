#include "worker/operators/selection.h"

#include <arrow/array/concatenate.h>
#include <arrow/compute/api_vector.h>
#include <arrow/type.h>

#include <utility>
#include <vector>

namespace zerrow::worker {

namespace {

using arrow::ArrayData;
using Buffers = std::vector<std::shared_ptr<arrow::Buffer>>;
using DataPtr = std::shared_ptr<ArrayData>;

constexpr int kViewBytes = 16;

bool IsView(arrow::Type::type id) {
  return id == arrow::Type::STRING_VIEW || id == arrow::Type::BINARY_VIEW;
}

bool HasViews(const arrow::DataType& type) {
  if (IsView(type.id())) return true;
  for (const auto& field : type.fields()) {
    if (HasViews(*field->type())) return true;
  }
  return false;
}

// `type` with each view replaced by 16 plain bytes.
std::shared_ptr<arrow::DataType> WithoutViews(const std::shared_ptr<arrow::DataType>& type) {
  if (IsView(type->id())) return arrow::fixed_size_binary(kViewBytes);
  const auto child = [&](int i) {
    return type->field(i)->WithType(WithoutViews(type->field(i)->type()));
  };
  switch (type->id()) {
    case arrow::Type::LIST:
      return arrow::list(child(0));
    case arrow::Type::LARGE_LIST:
      return arrow::large_list(child(0));
    case arrow::Type::LIST_VIEW:
      return arrow::list_view(child(0));
    case arrow::Type::LARGE_LIST_VIEW:
      return arrow::large_list_view(child(0));
    case arrow::Type::FIXED_SIZE_LIST:
      return arrow::fixed_size_list(
          child(0), static_cast<const arrow::FixedSizeListType&>(*type).list_size());
    case arrow::Type::MAP:
      return std::make_shared<arrow::MapType>(child(0));
    case arrow::Type::STRUCT: {
      arrow::FieldVector fields;
      for (int i = 0; i < type->num_fields(); ++i) fields.push_back(child(i));
      return arrow::struct_(std::move(fields));
    }
    default:
      return type;  // unions: Arrow's own answer is the best one
  }
}

// Takes the views' text buffers out of `data`, in the order of a walk over its children.
DataPtr DetachText(const DataPtr& data, const std::shared_ptr<arrow::DataType>& type,
                   std::vector<Buffers>* texts) {
  DataPtr plain = data->Copy();
  plain->type = type;
  if (IsView(data->type->id())) {
    texts->emplace_back(data->buffers.begin() + 2, data->buffers.end());
    plain->buffers.resize(2);
  }
  for (size_t i = 0; i < plain->child_data.size(); ++i) {
    plain->child_data[i] =
        DetachText(data->child_data[i], type->field(static_cast<int>(i))->type(), texts);
  }
  return plain;
}

// The inverse. A null 16 bytes long may be any bytes, which a view must not be: the kernels that
// are used here leave what the input had there, or zeros, which is an empty view.
DataPtr AttachText(const DataPtr& plain, const std::shared_ptr<arrow::DataType>& type,
                   std::vector<Buffers>::iterator* next) {
  DataPtr data = plain->Copy();
  data->type = type;
  if (IsView(type->id())) {
    const Buffers& text = *(*next)++;
    data->buffers.insert(data->buffers.end(), text.begin(), text.end());
  }
  for (size_t i = 0; i < data->child_data.size(); ++i) {
    data->child_data[i] =
        AttachText(plain->child_data[i], type->field(static_cast<int>(i))->type(), next);
  }
  return data;
}

template <typename Select>
arrow::Result<std::shared_ptr<arrow::Array>> SelectWithViews(
    const std::shared_ptr<arrow::Array>& array, Select&& select) {
  std::vector<Buffers> texts;
  const auto plain_type = WithoutViews(array->type());
  const auto plain = DetachText(array->data(), plain_type, &texts);
  ARROW_ASSIGN_OR_RAISE(const arrow::Datum selected, select(arrow::Datum(plain)));
  auto next = texts.begin();
  return arrow::MakeArray(AttachText(selected.array(), array->type(), &next));
}

}  // namespace

arrow::Result<std::shared_ptr<arrow::Array>> FilterArray(const std::shared_ptr<arrow::Array>& array,
                                                         const arrow::BooleanArray& mask) {
  const auto filter = [&](const arrow::Datum& values) {
    return arrow::compute::Filter(values, arrow::Datum(mask.data()));
  };
  if (HasViews(*array->type())) return SelectWithViews(array, filter);
  ARROW_ASSIGN_OR_RAISE(const arrow::Datum kept, filter(arrow::Datum(array)));
  return kept.make_array();
}

arrow::Result<std::shared_ptr<arrow::ChunkedArray>> TakeRows(
    const std::shared_ptr<arrow::ChunkedArray>& column,
    const std::shared_ptr<arrow::Array>& indices) {
  const auto take = [&](const arrow::Datum& values) {
    return arrow::compute::Take(values, arrow::Datum(indices),
                                arrow::compute::TakeOptions::NoBoundsCheck());
  };
  if (!HasViews(*column->type())) {
    ARROW_ASSIGN_OR_RAISE(const arrow::Datum taken, take(arrow::Datum(column)));
    if (taken.kind() == arrow::Datum::CHUNKED_ARRAY) return taken.chunked_array();
    return std::make_shared<arrow::ChunkedArray>(taken.make_array());
  }
  // One array, so that there is one list of text buffers: concatenating copies the views only.
  std::shared_ptr<arrow::Array> whole;
  if (column->num_chunks() == 1) {
    whole = column->chunk(0);
  } else if (column->num_chunks() == 0) {
    return column;
  } else {
    ARROW_ASSIGN_OR_RAISE(whole, arrow::Concatenate(column->chunks()));
  }
  ARROW_ASSIGN_OR_RAISE(auto taken, SelectWithViews(whole, take));
  return std::make_shared<arrow::ChunkedArray>(std::move(taken));
}

}  // namespace zerrow::worker
