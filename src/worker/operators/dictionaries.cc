#include "worker/operators/dictionaries.h"

#include <arrow/array/array_binary.h>
#include <arrow/array/array_primitive.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>
#include <arrow/compute/api_vector.h>
#include <arrow/compute/cast.h>
#include <arrow/extension_type.h>
#include <arrow/util/bitmap_ops.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace zerrow::worker {

namespace {

namespace cp = arrow::compute;
using arrow::Array;
using arrow::ArrayData;
using ArrayPtr = std::shared_ptr<Array>;
using Pieces = std::vector<DataPtr>;  // what the chunks of a column have at one place of its type

bool HasDictionary(const arrow::DataType& type) {
  if (type.id() == arrow::Type::DICTIONARY) return true;
  if (type.id() == arrow::Type::EXTENSION) {
    return HasDictionary(*static_cast<const arrow::ExtensionType&>(type).storage_type());
  }
  return std::ranges::any_of(type.fields(),
                             [](const auto& field) { return HasDictionary(*field->type()); });
}

bool BeginsWith(const ArrayData& whole, const ArrayData& beginning) {
  return SameMemory(whole, beginning) ||
         arrow::MakeArray(whole.Copy())
             ->RangeEquals(*arrow::MakeArray(beginning.Copy()), 0, beginning.length, 0);
}

// Each dictionary once, and for each piece which one is its.
struct Distinct {
  Pieces dictionaries;
  std::vector<size_t> of_piece;
};

Distinct FindDictionaries(const Pieces& pieces) {
  Distinct found;
  for (const DataPtr& piece : pieces) {
    const auto same = std::ranges::find_if(found.dictionaries, [&](const DataPtr& known) {
      return known == piece->dictionary || SameMemory(*known, *piece->dictionary);
    });
    found.of_piece.push_back(static_cast<size_t>(same - found.dictionaries.begin()));
    if (same == found.dictionaries.end()) found.dictionaries.push_back(piece->dictionary);
  }
  return found;
}

arrow::Result<DistinctValues> Merge(const Pieces& dictionaries) {
  arrow::ArrayVector arrays;
  for (const DataPtr& dictionary : dictionaries) arrays.push_back(arrow::MakeArray(dictionary));
  ARROW_ASSIGN_OR_RAISE(const ArrayPtr all, arrow::Concatenate(arrays));
  auto distinct = FindDistinct(all->data());
  if (distinct.ok() && distinct->positions != nullptr) return distinct;
  if (!distinct.ok() && !distinct.status().IsNotImplemented()) return distinct;
  // Nothing is there twice, or Arrow can't tell for this type: then one after the other.
  arrow::Int32Builder builder;
  ARROW_RETURN_NOT_OK(builder.Reserve(all->length()));
  for (int32_t i = 0; i < all->length(); ++i) builder.UnsafeAppend(i);
  ARROW_ASSIGN_OR_RAISE(auto positions, builder.Finish());
  return DistinctValues{all->data(), std::move(positions)};
}

// The largest index that a type of indices can hold.
uint64_t LargestIndex(const arrow::DataType& index_type) {
  const int bits = static_cast<const arrow::FixedWidthType&>(index_type).bit_width();
  const bool is_signed = arrow::is_signed_integer(index_type.id());
  return std::numeric_limits<uint64_t>::max() >> (64 - bits + (is_signed ? 1 : 0));
}

arrow::Status ShareHere(Pieces& pieces, bool may_widen) {
  const Distinct found = FindDictionaries(pieces);
  const auto longest = std::ranges::max_element(found.dictionaries, {}, &ArrayData::length);
  if (std::ranges::all_of(found.dictionaries,
                          [&](const auto& other) { return BeginsWith(**longest, *other); })) {
    for (DataPtr& piece : pieces) {
      ARROW_ASSIGN_OR_RAISE(piece, WithDictionary(*piece, *longest, nullptr));
    }
    return arrow::Status::OK();
  }
  ARROW_ASSIGN_OR_RAISE(const DistinctValues merged, Merge(found.dictionaries));
  const auto& type = DictionaryTypeOf(*pieces[0]->type);
  std::shared_ptr<arrow::DataType> wider;
  if (static_cast<uint64_t>(merged.values->length) > LargestIndex(*type.index_type()) + 1) {
    if (!may_widen || pieces[0]->type->id() != arrow::Type::DICTIONARY) {
      return arrow::Status::Invalid(merged.values->length, " values don't fit in ",
                                    pieces[0]->type->ToString());
    }
    wider = arrow::dictionary(arrow::int32(), type.value_type(), type.ordered());
  }
  std::vector<int64_t> begins;
  int64_t begin = 0;
  for (const DataPtr& dictionary : found.dictionaries) {
    begins.push_back(begin);
    begin += dictionary->length;
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    const size_t k = found.of_piece[i];
    const auto positions = merged.positions->Slice(begins[k], found.dictionaries[k]->length);
    DataPtr piece = pieces[i];
    if (wider != nullptr) {
      const auto indices = piece->Copy();
      indices->type = type.index_type();
      indices->dictionary = nullptr;
      ARROW_ASSIGN_OR_RAISE(const arrow::Datum wide, cp::Cast(indices, arrow::int32()));
      piece = wide.array()->Copy();
      piece->type = wider;
    }
    ARROW_ASSIGN_OR_RAISE(pieces[i], WithDictionary(*piece, merged.values, positions));
  }
  return arrow::Status::OK();
}

arrow::Status ShareAt(Pieces& pieces, bool may_widen) {
  if (pieces[0]->dictionary != nullptr) return ShareHere(pieces, may_widen);
  for (size_t child = 0; child < pieces[0]->child_data.size(); ++child) {
    if (!HasDictionary(*pieces[0]->child_data[child]->type)) continue;
    Pieces children;
    for (const DataPtr& piece : pieces) children.push_back(piece->child_data[child]);
    ARROW_RETURN_NOT_OK(ShareAt(children, /*may_widen=*/false));
    for (size_t i = 0; i < pieces.size(); ++i) {
      pieces[i] = pieces[i]->Copy();
      pieces[i]->child_data[child] = std::move(children[i]);
    }
  }
  return arrow::Status::OK();
}

// `order` sorts the values, nulls last.
template <typename ArrayType>
arrow::Result<ArrayPtr> RanksByOrder(const Array& values, const arrow::UInt64Array& order) {
  const auto& typed = static_cast<const ArrayType&>(values);
  ARROW_ASSIGN_OR_RAISE(auto buffer, arrow::AllocateBuffer(values.length() * sizeof(uint32_t)));
  auto* ranks = reinterpret_cast<uint32_t*>(buffer->mutable_data());
  uint32_t rank = 0;
  for (int64_t i = 0; i < order.length(); ++i) {
    const auto at = static_cast<int64_t>(order.Value(i));
    if (i > 0 && typed.IsValid(at)) {
      const auto before = static_cast<int64_t>(order.Value(i - 1));
      if (typed.GetView(before) != typed.GetView(at)) ++rank;
    }
    ranks[at] = rank;
  }
  std::shared_ptr<arrow::Buffer> validity;
  if (values.null_count() > 0) {
    ARROW_ASSIGN_OR_RAISE(validity, arrow::internal::CopyBitmap(arrow::default_memory_pool(),
                                                                values.null_bitmap_data(),
                                                                values.offset(), values.length()));
  }
  return std::make_shared<arrow::UInt32Array>(values.length(), std::move(buffer),
                                              std::move(validity));
}

}  // namespace

bool SameMemory(const ArrayData& left, const ArrayData& right) {
  if (left.length != right.length || left.offset != right.offset ||
      left.buffers.size() != right.buffers.size() ||
      left.child_data.size() != right.child_data.size() ||
      (left.dictionary == nullptr) != (right.dictionary == nullptr)) {
    return false;
  }
  const auto address = [](const auto& buffer) {
    return buffer == nullptr ? uintptr_t{0} : buffer->address();
  };
  return std::ranges::equal(left.buffers, right.buffers, {}, address, address) &&
         std::ranges::equal(left.child_data, right.child_data,
                            [](const auto& a, const auto& b) { return SameMemory(*a, *b); }) &&
         (left.dictionary == nullptr || SameMemory(*left.dictionary, *right.dictionary));
}

const arrow::DictionaryType& DictionaryTypeOf(const arrow::DataType& type) {
  const arrow::DataType* stored = &type;
  while (stored->id() == arrow::Type::EXTENSION) {
    stored = static_cast<const arrow::ExtensionType&>(*stored).storage_type().get();
  }
  return static_cast<const arrow::DictionaryType&>(*stored);
}

arrow::Result<ColumnPtr> ShareDictionaries(const ColumnPtr& column) {
  if (column->num_chunks() < 2 || !HasDictionary(*column->type())) return column;
  Pieces pieces;
  for (const auto& chunk : column->chunks()) pieces.push_back(chunk->data());
  ARROW_RETURN_NOT_OK(ShareAt(pieces, /*may_widen=*/true));
  arrow::ArrayVector chunks;
  for (const DataPtr& piece : pieces) chunks.push_back(arrow::MakeArray(piece));
  return arrow::ChunkedArray::Make(std::move(chunks));
}

arrow::Result<DistinctValues> FindDistinct(const DataPtr& values, bool may_keep_null) {
  ARROW_ASSIGN_OR_RAISE(const arrow::Datum datum, cp::DictionaryEncode(values));
  const DataPtr& encoded = datum.array();
  const int64_t nulls = may_keep_null && values->GetNullCount() > 0 ? 1 : 0;
  if (encoded->dictionary->length + nulls == values->length) return DistinctValues{values, nullptr};
  DataPtr positions = encoded->Copy();
  positions->type = arrow::int32();
  positions->dictionary = nullptr;
  return DistinctValues{encoded->dictionary, arrow::MakeArray(positions)};
}

arrow::Result<DataPtr> WithDictionary(const ArrayData& array, DataPtr values,
                                      const ArrayPtr& positions) {
  DataPtr result = array.Copy();
  if (positions != nullptr) {
    const auto& index_type = DictionaryTypeOf(*array.type).index_type();
    ARROW_ASSIGN_OR_RAISE(const ArrayPtr new_indices, cp::Cast(*positions, index_type));
    const DataPtr indices = array.Copy();
    indices->type = index_type;
    indices->dictionary = nullptr;
    ARROW_ASSIGN_OR_RAISE(const arrow::Datum taken,
                          cp::Take(arrow::Datum(new_indices), arrow::Datum(indices)));
    result = taken.array()->Copy();
    result->type = array.type;
  }
  result->dictionary = std::move(values);
  return result;
}

arrow::Result<ArrayPtr> RankValues(const ArrayPtr& values) {
  ArrayPtr plain = values;
  if (values->type_id() == arrow::Type::STRING_VIEW) {
    ARROW_ASSIGN_OR_RAISE(plain, cp::Cast(*values, arrow::large_utf8()));
  } else if (values->type_id() == arrow::Type::BINARY_VIEW) {
    ARROW_ASSIGN_OR_RAISE(plain, cp::Cast(*values, arrow::large_binary()));
  }
  if (!arrow::is_base_binary_like(plain->type_id()) ||
      plain->length() > std::numeric_limits<uint32_t>::max()) {
    return arrow::Status::NotImplemented("ranks of ", plain->length(), " values of type ",
                                         plain->type()->ToString());
  }
  ARROW_ASSIGN_OR_RAISE(const ArrayPtr sorted, cp::SortIndices(*plain));
  const auto& order = static_cast<const arrow::UInt64Array&>(*sorted);
  return arrow::is_large_binary_like(plain->type_id())
             ? RanksByOrder<arrow::LargeBinaryArray>(*plain, order)
             : RanksByOrder<arrow::BinaryArray>(*plain, order);
}

arrow::Result<ColumnPtr> EncodeColumn(const ColumnPtr& column) {
  if (column->type()->id() == arrow::Type::DICTIONARY) return column;
  ARROW_ASSIGN_OR_RAISE(const arrow::Datum encoded, cp::DictionaryEncode(column));
  const ColumnPtr& result = encoded.chunked_array();
  const bool text = column->type()->id() == arrow::Type::STRING_VIEW;
  if (!text && column->type()->id() != arrow::Type::BINARY_VIEW) return result;
  const auto plain = text ? arrow::utf8() : arrow::binary();
  const auto type = arrow::dictionary(arrow::int32(), plain);
  DataPtr values;
  arrow::ArrayVector chunks;
  for (const auto& chunk : result->chunks()) {
    if (values == nullptr) {
      ARROW_ASSIGN_OR_RAISE(const arrow::Datum cast, cp::Cast(chunk->data()->dictionary, plain));
      values = cast.array();
    }
    ARROW_ASSIGN_OR_RAISE(const DataPtr data, WithDictionary(*chunk->data(), values, nullptr));
    data->type = type;
    chunks.push_back(arrow::MakeArray(data));
  }
  return arrow::ChunkedArray::Make(std::move(chunks), type);
}

}  // namespace zerrow::worker
