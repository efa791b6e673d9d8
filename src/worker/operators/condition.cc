#include "worker/operators/condition.h"

#include <arrow/array/util.h>
#include <arrow/compute/api_scalar.h>
#include <arrow/compute/api_vector.h>
#include <arrow/compute/exec.h>

#include <utility>

#include "worker/operators/dictionaries.h"

namespace zerrow::worker {

namespace {

namespace cp = arrow::compute;
using ArrayPtr = std::shared_ptr<arrow::Array>;

// True or false for each row; null is false.
arrow::Result<ArrayPtr> Truth(const cp::Expression& bound, const cp::ExecBatch& rows) {
  ARROW_ASSIGN_OR_RAISE(arrow::Datum truth, cp::ExecuteScalarExpression(bound, rows));
  if (truth.is_scalar()) return arrow::MakeArrayFromScalar(*truth.scalar(), rows.length);
  return truth.make_array();
}

arrow::Result<ArrayPtr> NullAs(const ArrayPtr& mask, bool value) {
  if (mask->null_count() == 0) return mask;
  ARROW_ASSIGN_OR_RAISE(const arrow::Datum filled,
                        cp::CallFunction("coalesce", {mask, arrow::Datum(value)}));
  return filled.make_array();
}

void Split(const cp::Expression& expression, std::vector<cp::Expression>* parts) {
  const auto* call = expression.call();
  if (call == nullptr || call->function_name != "and_kleene") {
    parts->push_back(expression);
    return;
  }
  for (const cp::Expression& argument : call->arguments) Split(argument, parts);
}

// The one dictionary column of texts that the expression reads; -1 if it reads anything else.
int TextDictionary(const cp::Expression& expression, const arrow::Schema& schema) {
  int column = -1;
  for (const arrow::FieldRef& ref : cp::FieldsInExpression(expression)) {
    const int i = ref.name() == nullptr ? -1 : schema.GetFieldIndex(*ref.name());
    if (i < 0 || (column >= 0 && i != column)) return -1;
    column = i;
  }
  if (column < 0 || schema.field(column)->type()->id() != arrow::Type::DICTIONARY) return -1;
  const auto values = DictionaryTypeOf(*schema.field(column)->type()).value_type()->id();
  return arrow::is_string(values) || values == arrow::Type::STRING_VIEW ? column : -1;
}

// By the truth of each of the dictionary's values and, for rows that are null, of null.
arrow::Result<ArrayPtr> TruthByValue(const cp::Expression& bound, const arrow::Array& column) {
  const DataPtr& values = column.data()->dictionary;
  ARROW_ASSIGN_OR_RAISE(ArrayPtr truth, Truth(bound, cp::ExecBatch({values}, values->length)));
  ARROW_ASSIGN_OR_RAISE(truth, NullAs(truth, false));
  const DataPtr indices = column.data()->Copy();
  indices->type = DictionaryTypeOf(*column.type()).index_type();
  indices->dictionary = nullptr;
  ARROW_ASSIGN_OR_RAISE(const ArrayPtr mask, cp::Take(*truth, *arrow::MakeArray(indices)));
  if (mask->null_count() == 0) return mask;
  ARROW_ASSIGN_OR_RAISE(const ArrayPtr null, arrow::MakeArrayOfNull(values->type, 1));
  ARROW_ASSIGN_OR_RAISE(const ArrayPtr of_null, Truth(bound, cp::ExecBatch({null}, 1)));
  const auto& truth_of_null = static_cast<const arrow::BooleanArray&>(*of_null);
  return NullAs(mask, truth_of_null.IsValid(0) && truth_of_null.Value(0));
}

}  // namespace

arrow::Result<Condition> Condition::Make(const cp::Expression& expression,
                                         const arrow::Schema& schema) {
  ARROW_ASSIGN_OR_RAISE(const cp::Expression bound, expression.Bind(schema));
  if (bound.type()->id() != arrow::Type::BOOL) {
    return arrow::Status::TypeError("a condition must be true or false, ", expression.ToString(),
                                    " is of type ", bound.type()->ToString());
  }
  std::vector<cp::Expression> parts;
  Split(expression, &parts);
  Condition condition;
  for (const cp::Expression& part : parts) {
    ARROW_ASSIGN_OR_RAISE(Part made, MakePart(part, schema));
    condition.parts_.push_back(std::move(made));
  }
  return condition;
}

arrow::Result<Condition::Part> Condition::MakePart(const cp::Expression& expression,
                                                   const arrow::Schema& schema) {
  Part part;
  ARROW_ASSIGN_OR_RAISE(part.of_rows, expression.Bind(schema));
  const int column = TextDictionary(expression, schema);
  if (column < 0) return part;
  const auto& field = schema.field(column);
  const auto values = field->WithType(DictionaryTypeOf(*field->type()).value_type());
  auto of_values = expression.Bind(*arrow::schema({values}));
  if (!of_values.ok()) return part;  // it asks for the dictionary itself
  part.of_values = std::move(of_values).ValueUnsafe();
  part.column = column;
  return part;
}

arrow::Result<ArrayPtr> Condition::EvaluatePart(const Part& part, const arrow::RecordBatch& batch) {
  if (part.column >= 0) {
    const ArrayPtr column = batch.column(part.column);
    if (column->data()->dictionary->length <= column->length()) {
      auto truth = TruthByValue(part.of_values, *column);
      // What fails for a value fails, or doesn't, for the rows: no row may have the value.
      if (truth.ok()) return truth;
    }
  }
  ARROW_ASSIGN_OR_RAISE(const ArrayPtr truth, Truth(part.of_rows, cp::ExecBatch(batch)));
  return NullAs(truth, false);
}

arrow::Result<std::shared_ptr<arrow::BooleanArray>> Condition::Evaluate(
    const arrow::RecordBatch& batch) const {
  ArrayPtr mask;
  for (const Part& part : parts_) {
    ARROW_ASSIGN_OR_RAISE(const ArrayPtr truth, EvaluatePart(part, batch));
    if (mask == nullptr) {
      mask = truth;
    } else {
      ARROW_ASSIGN_OR_RAISE(const arrow::Datum both, cp::And(mask, truth));
      mask = both.make_array();
    }
  }
  return std::static_pointer_cast<arrow::BooleanArray>(mask);
}

}  // namespace zerrow::worker
