#include "worker/operators/view_kernels.h"

#include <arrow/api.h>
#include <arrow/compute/api_vector.h>
#include <arrow/compute/cast.h>
#include <arrow/compute/exec.h>
#include <arrow/compute/function.h>
#include <arrow/compute/kernel.h>
#include <arrow/compute/registry.h>

#include <utility>

namespace zerrow::worker {

namespace {

namespace cp = arrow::compute;
using DataPtr = std::shared_ptr<arrow::ArrayData>;

constexpr int kViewBytes = 16;

template <typename Options>
struct OptionsState : cp::KernelState {
  explicit OptionsState(Options given) : options(std::move(given)) {}
  Options options;
};

template <typename Options>
arrow::Result<std::unique_ptr<cp::KernelState>> KeepOptions(cp::KernelContext*,
                                                            const cp::KernelInitArgs& args) {
  const auto* options = static_cast<const Options*>(args.options);
  return std::make_unique<OptionsState<Options>>(options == nullptr ? Options() : *options);
}

template <typename Options>
const Options& OptionsOf(cp::KernelContext* context) {
  return static_cast<const OptionsState<Options>&>(*context->state()).options;
}

// `views` as an array of 16 plain bytes each: what `select` makes of these are the views of the
// result, and they point into the same text. Rows that are null may have any 16 bytes in both
// types.
template <typename Select>
arrow::Status SelectViews(const arrow::ArraySpan& views, cp::ExecResult* out, Select&& select) {
  const DataPtr data = views.ToArrayData();
  const DataPtr plain = data->Copy();
  plain->type = arrow::fixed_size_binary(kViewBytes);
  plain->buffers.resize(2);
  ARROW_ASSIGN_OR_RAISE(const arrow::Datum selected, select(arrow::Datum(plain)));
  const DataPtr result = selected.array()->Copy();
  result->type = data->type;
  result->buffers.insert(result->buffers.end(), data->buffers.begin() + 2, data->buffers.end());
  out->value = result;
  return arrow::Status::OK();
}

arrow::Status FilterViews(cp::KernelContext* context, const cp::ExecSpan& batch,
                          cp::ExecResult* out) {
  const arrow::Datum mask(batch[1].array.ToArrayData());
  return SelectViews(batch[0].array, out, [&](const arrow::Datum& plain) {
    return cp::Filter(plain, mask, OptionsOf<cp::FilterOptions>(context), context->exec_context());
  });
}

arrow::Status TakeViews(cp::KernelContext* context, const cp::ExecSpan& batch,
                        cp::ExecResult* out) {
  const arrow::Datum indices(batch[1].array.ToArrayData());
  return SelectViews(batch[0].array, out, [&](const arrow::Datum& plain) {
    return cp::Take(plain, indices, OptionsOf<cp::TakeOptions>(context), context->exec_context());
  });
}

// Sorting reads the text anyway: a plain copy of it costs little beside that.
arrow::Status SortViews(cp::KernelContext* context, const cp::ExecSpan& batch,
                        cp::ExecResult* out) {
  const DataPtr views = batch[0].array.ToArrayData();
  const auto plain =
      views->type->id() == arrow::Type::STRING_VIEW ? arrow::large_utf8() : arrow::large_binary();
  ARROW_ASSIGN_OR_RAISE(
      const arrow::Datum text,
      cp::Cast(arrow::Datum(views), plain, cp::CastOptions::Safe(), context->exec_context()));
  ARROW_ASSIGN_OR_RAISE(
      const auto indices,
      cp::SortIndices(*text.make_array(), OptionsOf<cp::ArraySortOptions>(context),
                      context->exec_context()));
  out->value = indices->data();
  return arrow::Status::OK();
}

arrow::Status Add(const std::string& name, cp::VectorKernel kernel) {
  ARROW_ASSIGN_OR_RAISE(const auto function, cp::GetFunctionRegistry()->GetFunction(name));
  std::vector<arrow::TypeHolder> types;
  for (const cp::InputType& type : kernel.signature->in_types()) {
    types.emplace_back(type.kind() == cp::InputType::EXACT_TYPE ? type.type() : arrow::int64());
  }
  if (function->DispatchExact(types).ok()) return arrow::Status::OK();  // Arrow has learnt it
  return static_cast<cp::VectorFunction&>(*function).AddKernel(std::move(kernel));
}

}  // namespace

arrow::Status RegisterViewKernels() {
  for (const auto& type : {arrow::utf8_view(), arrow::binary_view()}) {
    cp::VectorKernel filter({type, arrow::boolean()}, type, FilterViews,
                            KeepOptions<cp::FilterOptions>);
    ARROW_RETURN_NOT_OK(Add("array_filter", std::move(filter)));

    const cp::InputType any_integer(cp::match::Integer());
    cp::VectorKernel take({type, any_integer}, type, TakeViews, KeepOptions<cp::TakeOptions>);
    take.can_execute_chunkwise = false;  // indices count from the start of the whole array
    ARROW_RETURN_NOT_OK(Add("array_take", std::move(take)));

    cp::VectorKernel sort({type}, arrow::uint64(), SortViews, KeepOptions<cp::ArraySortOptions>);
    sort.can_execute_chunkwise = false;
    ARROW_RETURN_NOT_OK(Add("array_sort_indices", std::move(sort)));
  }
  return arrow::Status::OK();
}

}  // namespace zerrow::worker
