// A condition over a table's columns, of which a filter keeps the rows where it is true.
//
// Parts, joined by AND, that read one dictionary column of texts only are evaluated for each of the
// dictionary's values instead of for each row: no row's text is decoded. Immutable; Evaluate() may
// be called from many threads.
#pragma once

#include <arrow/array/array_primitive.h>
#include <arrow/compute/expression.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>

#include <memory>
#include <string>
#include <vector>

namespace zerrow::worker {

class Condition {
 public:
  /// TypeError if the expression is neither true nor false; other errors as Arrow's Bind().
  static arrow::Result<Condition> Make(const arrow::compute::Expression& expression,
                                       const arrow::Schema& schema);

  /// For each row of a batch of the schema whether the condition is true; false for null.
  arrow::Result<std::shared_ptr<arrow::BooleanArray>> Evaluate(
      const arrow::RecordBatch& batch) const;

 private:
  struct Part {
    arrow::compute::Expression of_rows;    // bound to the schema
    arrow::compute::Expression of_values;  // bound to the dictionary's values alone
    int column = -1;                       // the dictionary column; -1: `of_values` isn't there
  };

  static arrow::Result<Part> MakePart(const arrow::compute::Expression& expression,
                                      const arrow::Schema& schema);
  static arrow::Result<std::shared_ptr<arrow::Array>> EvaluatePart(const Part& part,
                                                                   const arrow::RecordBatch& batch);

  std::vector<Part> parts_;
};

}  // namespace zerrow::worker
