#include "worker/operators/text_functions.h"

#include <arrow/api.h>
#include <arrow/compute/api_scalar.h>
#include <arrow/compute/api_vector.h>
#include <arrow/compute/cast.h>
#include <arrow/compute/exec.h>
#include <arrow/compute/function.h>
#include <arrow/compute/kernel.h>
#include <arrow/compute/registry.h>

#include <array>
#include <limits>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "worker/operators/ascii_case.h"
#include "worker/operators/dictionaries.h"
#include "worker/operators/view_parts.h"

namespace zerrow::worker {

namespace {

namespace cp = arrow::compute;
using arrow::Result;
using arrow::Status;

// The arguments after the texts.
using Arguments = std::vector<const arrow::Scalar*>;
// Computes one function for plain texts (utf8 or large_utf8).
using Compute = Result<DataPtr> (*)(const DataPtr& texts, const Arguments& arguments);

Result<DataPtr> Call(const char* function, const DataPtr& texts,
                     const cp::FunctionOptions* options = nullptr) {
  ARROW_ASSIGN_OR_RAISE(const arrow::Datum result, cp::CallFunction(function, {texts}, options));
  return result.array();
}

std::string TextOf(const arrow::Scalar& scalar) {
  return std::string(static_cast<const arrow::StringScalar&>(scalar).view());
}

template <Case to>
Result<DataPtr> ChangeCase(const DataPtr& texts, const Arguments&) {
  ARROW_ASSIGN_OR_RAISE(DataPtr ascii, ChangeAsciiCase(texts, to));
  if (ascii != nullptr) return ascii;
  return Call(to == Case::kUpper ? "utf8_upper" : "utf8_lower", texts);
}

enum class Side { kBoth, kLeft, kRight };

template <Side side>
Result<DataPtr> Trim(const DataPtr& texts, const Arguments& arguments) {
  constexpr std::array kSpaces = {"utf8_trim_whitespace", "utf8_ltrim_whitespace",
                                  "utf8_rtrim_whitespace"};
  constexpr std::array kCharacters = {"utf8_trim", "utf8_ltrim", "utf8_rtrim"};
  constexpr auto kSide = static_cast<size_t>(side);
  if (!arguments[0]->is_valid) return Call(kSpaces.at(kSide), texts);
  const cp::TrimOptions options(TextOf(*arguments[0]));
  return Call(kCharacters.at(kSide), texts, &options);
}

Result<DataPtr> Replace(const DataPtr& texts, const Arguments& arguments) {
  if (!arguments[0]->is_valid || !arguments[1]->is_valid) {
    return Status::Invalid("pattern and replacement must not be null");
  }
  const cp::ReplaceSubstringOptions options(TextOf(*arguments[0]), TextOf(*arguments[1]));
  if (options.pattern.empty()) return texts;
  return Call("replace_substring", texts, &options);
}

Result<DataPtr> Substring(const DataPtr& texts, const Arguments& arguments) {
  const auto number = [&](size_t i, int64_t missing) {
    const auto& scalar = static_cast<const arrow::Int64Scalar&>(*arguments[i]);
    return scalar.is_valid ? scalar.value : missing;
  };
  const cp::SliceOptions options(number(0, 0), number(1, std::numeric_limits<int64_t>::max()));
  return Call("utf8_slice_codeunits", texts, &options);
}

Result<DataPtr> FromStart(const DataPtr& texts, const Arguments& arguments) {
  const arrow::Int64Scalar to_the_end;
  return Substring(texts, {arguments[0], &to_the_end});
}

Result<DataPtr> Whole(const DataPtr& texts, const Arguments&) { return texts; }

Result<DataPtr> Length(const DataPtr& texts, const Arguments&) {
  ARROW_ASSIGN_OR_RAISE(const DataPtr lengths, Call("utf8_length", texts));
  ARROW_ASSIGN_OR_RAISE(const arrow::Datum narrow, cp::Cast(lengths, arrow::int32()));
  return narrow.array();
}

struct TextFunction {
  const char* name;
  std::vector<std::string> arguments;
  std::vector<std::shared_ptr<arrow::DataType>> types = {};  // of the arguments after the texts
  Compute compute;
  // Where the result is a part of each text: the text from where the part begins.
  Compute rest = nullptr;
  // Computes views where they are, null if it can't; without it they become plain texts first.
  Result<DataPtr> (*compute_views)(const DataPtr& texts) = nullptr;
  bool makes_text = true;
};

template <Case to>
Result<DataPtr> ChangeCaseOfViews(const DataPtr& texts) {
  return ChangeAsciiCaseOfViews(texts, to);
}

struct FunctionData : cp::KernelState {
  explicit FunctionData(const TextFunction& given) : function(given) {}
  TextFunction function;
};

// What was made of dictionaries in this call, for its other chunks. The dictionaries are held, so
// that no other one can come to lie in their memory.
struct Cache : cp::KernelState {
  struct Entry {
    DataPtr dictionary;
    DistinctValues made;
  };
  std::mutex lock;
  std::vector<Entry> entries;
};

// `result`, or `texts` if they are the same.
DataPtr IfChanged(DataPtr result, const DataPtr& texts) {
  if (arrow::MakeArray(result)->Equals(*arrow::MakeArray(texts))) return texts;
  return result;
}

Result<DataPtr> ComputeViews(const TextFunction& function, const DataPtr& texts,
                             const Arguments& arguments) {
  if (function.compute_views != nullptr) {
    ARROW_ASSIGN_OR_RAISE(DataPtr result, function.compute_views(texts));
    if (result != nullptr) return IfChanged(std::move(result), texts);
  }
  ARROW_ASSIGN_OR_RAISE(const arrow::Datum plain, cp::Cast(texts, arrow::large_utf8()));
  ARROW_ASSIGN_OR_RAISE(DataPtr result, function.compute(plain.array(), arguments));
  if (!function.makes_text) return result;
  result = IfChanged(std::move(result), plain.array());
  if (result == plain.array()) return texts;
  if (function.rest != nullptr) {
    ARROW_ASSIGN_OR_RAISE(const DataPtr rests, function.rest(plain.array(), arguments));
    return ViewParts(texts, *rests, *result);
  }
  ARROW_ASSIGN_OR_RAISE(const arrow::Datum views, cp::Cast(result, arrow::utf8_view()));
  return views.array();
}

Result<DataPtr> ComputeTexts(const TextFunction& function, const DataPtr& texts,
                             const Arguments& arguments) {
  if (texts->type->id() == arrow::Type::STRING_VIEW) {
    return ComputeViews(function, texts, arguments);
  }
  ARROW_ASSIGN_OR_RAISE(DataPtr result, function.compute(texts, arguments));
  return function.makes_text ? IfChanged(std::move(result), texts) : result;
}

Result<DistinctValues> ComputeDictionary(const TextFunction& function, const DataPtr& dictionary,
                                         const Arguments& arguments, Cache& cache) {
  const std::lock_guard guard(cache.lock);
  for (const auto& [known, made] : cache.entries) {
    if (SameMemory(*known, *dictionary)) return made;
  }
  ARROW_ASSIGN_OR_RAISE(const DataPtr values, ComputeTexts(function, dictionary, arguments));
  DistinctValues made{values, nullptr};
  if (function.makes_text && values != dictionary) {
    ARROW_ASSIGN_OR_RAISE(made, FindDistinct(values));
  }
  cache.entries.push_back({dictionary, made});
  return made;
}

Result<DataPtr> ComputeIndexed(const TextFunction& function, const DataPtr& texts,
                               const Arguments& arguments, Cache& cache) {
  ARROW_ASSIGN_OR_RAISE(const DistinctValues made,
                        ComputeDictionary(function, texts->dictionary, arguments, cache));
  if (function.makes_text) return WithDictionary(*texts, made.values, made.positions);
  const DataPtr indices = texts->Copy();
  indices->type = DictionaryTypeOf(*texts->type).index_type();
  indices->dictionary = nullptr;
  ARROW_ASSIGN_OR_RAISE(const arrow::Datum taken, cp::Take(made.values, indices));
  return taken.array();
}

Status Execute(cp::KernelContext* context, const cp::ExecSpan& batch, cp::ExecResult* out) {
  const auto& function = static_cast<const FunctionData&>(*context->kernel()->data).function;
  Arguments arguments;
  for (int i = 1; i < batch.num_values(); ++i) {
    if (!batch[i].is_scalar()) {
      return Status::Invalid("argument ", function.arguments[static_cast<size_t>(i)],
                             " must be one value for all rows");
    }
    arguments.push_back(batch[i].scalar);
  }
  const DataPtr texts = batch[0].array.ToArrayData();
  if (texts->type->id() == arrow::Type::DICTIONARY) {
    auto& cache = static_cast<Cache&>(*context->state());
    ARROW_ASSIGN_OR_RAISE(out->value, ComputeIndexed(function, texts, arguments, cache));
  } else {
    ARROW_ASSIGN_OR_RAISE(out->value, ComputeTexts(function, texts, arguments));
  }
  return Status::OK();
}

Result<arrow::TypeHolder> SameType(cp::KernelContext*,
                                   const std::vector<arrow::TypeHolder>& types) {
  return types[0];
}

Status CheckDictionary(const arrow::DataType& type) {
  const auto& values = DictionaryTypeOf(type).value_type();
  if (arrow::is_string(values->id()) || values->id() == arrow::Type::STRING_VIEW) {
    return Status::OK();
  }
  return Status::TypeError(type.ToString(), " has no texts");
}

Result<std::unique_ptr<cp::KernelState>> MakeCache(cp::KernelContext*,
                                                   const cp::KernelInitArgs& args) {
  if (args.inputs[0].id() == arrow::Type::DICTIONARY) {
    ARROW_RETURN_NOT_OK(CheckDictionary(*args.inputs[0].type));
  }
  return std::make_unique<Cache>();
}

Status Register(const TextFunction& function) {
  auto* registry = cp::GetFunctionRegistry();
  if (registry->GetFunction(function.name).ok()) return Status::OK();
  const auto arity = static_cast<int>(function.arguments.size());
  auto added = std::make_shared<cp::ScalarFunction>(
      function.name, cp::Arity(arity),
      cp::FunctionDoc("A function of texts that keeps what it need not change",
                      "See zerrow.compute, which calls it.", function.arguments));
  for (const auto id : {arrow::Type::STRING, arrow::Type::LARGE_STRING, arrow::Type::STRING_VIEW,
                        arrow::Type::DICTIONARY}) {
    std::vector<cp::InputType> inputs{cp::InputType(id)};
    inputs.insert(inputs.end(), function.types.begin(), function.types.end());
    const cp::OutputType output =
        function.makes_text ? cp::OutputType(SameType) : cp::OutputType(arrow::int32());
    cp::ScalarKernel kernel(std::move(inputs), output, Execute, MakeCache);
    kernel.data = std::make_shared<FunctionData>(function);
    kernel.null_handling = cp::NullHandling::COMPUTED_NO_PREALLOCATE;
    kernel.mem_allocation = cp::MemAllocation::NO_PREALLOCATE;
    kernel.can_write_into_slices = false;
    ARROW_RETURN_NOT_OK(added->AddKernel(std::move(kernel)));
  }
  return registry->AddFunction(std::move(added));
}

}  // namespace

Status RegisterTextFunctions() {
  const auto& text = arrow::utf8();
  const auto& number = arrow::int64();
  const std::vector<std::string> just_values = {"values"};
  const std::vector<std::string> trim = {"values", "characters"};
  const std::vector<TextFunction> functions = {
      {.name = "zerrow_upper",
       .arguments = just_values,
       .compute = ChangeCase<Case::kUpper>,
       .compute_views = ChangeCaseOfViews<Case::kUpper>},
      {.name = "zerrow_lower",
       .arguments = just_values,
       .compute = ChangeCase<Case::kLower>,
       .compute_views = ChangeCaseOfViews<Case::kLower>},
      {"zerrow_trim", trim, {text}, Trim<Side::kBoth>, Trim<Side::kLeft>},
      {"zerrow_ltrim", trim, {text}, Trim<Side::kLeft>, Trim<Side::kLeft>},
      {"zerrow_rtrim", trim, {text}, Trim<Side::kRight>, Whole},
      {"zerrow_replace", {"values", "pattern", "replacement"}, {text, text}, Replace},
      {"zerrow_substring", {"values", "start", "stop"}, {number, number}, Substring, FromStart},
      {.name = "zerrow_length", .arguments = just_values, .compute = Length, .makes_text = false},
  };
  for (const TextFunction& function : functions) ARROW_RETURN_NOT_OK(Register(function));
  return Status::OK();
}

}  // namespace zerrow::worker
