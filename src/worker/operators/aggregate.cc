#include <arrow/acero/exec_plan.h>
#include <arrow/acero/options.h>
#include <arrow/array/array_dict.h>
#include <arrow/compute/api_aggregate.h>

#include <algorithm>
#include <map>
#include <utility>

#include "worker/operators/operators.h"

namespace zerrow::worker {

namespace {

namespace ac = arrow::acero;
namespace cp = arrow::compute;

// What users write, and Arrow's function for one group; "hash_" is put before it for many.
const std::map<std::string, std::string>& Functions() {
  static const std::map<std::string, std::string> kFunctions = {
      {"all", "all"},
      {"any", "any"},
      {"approximate_median", "approximate_median"},
      {"count", "count"},
      {"count_distinct", "count_distinct"},
      {"first", "first"},
      {"last", "last"},
      {"max", "max"},
      {"mean", "mean"},
      {"min", "min"},
      {"product", "product"},
      {"stddev", "stddev"},
      {"sum", "sum"},
      {"variance", "variance"},
  };
  return kFunctions;
}

arrow::Result<cp::Aggregate> MakeAggregate(const Measure& measure, bool grouped) {
  const auto found = Functions().find(measure.function);
  if (found == Functions().end()) {
    return arrow::Status::Invalid("there is no aggregate function '", measure.function, "'");
  }
  const std::string prefix = grouped ? "hash_" : "";
  if (measure.column.empty()) {
    if (measure.function != "count") {
      return arrow::Status::Invalid(measure.function, "() needs a column");
    }
    return cp::Aggregate(prefix + "count_all", measure.name);
  }
  return cp::Aggregate(prefix + found->second, arrow::FieldRef(measure.column), measure.name);
}

// Grouping by a dictionary needs one dictionary for all chunks.
arrow::Result<TablePtr> UnifyKeys(TablePtr table, const std::vector<std::string>& by) {
  for (const std::string& name : by) {
    const int i = table->schema()->GetFieldIndex(name);
    if (i < 0) return arrow::Status::KeyError("there is no column '", name, "' to group by");
    ARROW_ASSIGN_OR_RAISE(auto unified,
                          arrow::DictionaryUnifier::UnifyChunkedArray(table->column(i)));
    ARROW_ASSIGN_OR_RAISE(table, table->SetColumn(i, table->schema()->field(i), unified));
  }
  return table;
}

}  // namespace

std::vector<std::string> AggregateFunctions() {
  std::vector<std::string> names;
  for (const auto& [name, function] : Functions()) names.push_back(name);
  return names;
}

arrow::Result<TablePtr> AggregateTable(const TablePtr& table, const std::vector<std::string>& by,
                                       const std::vector<Measure>& measures) {
  std::vector<cp::Aggregate> aggregates;
  std::vector<std::string> names = by;
  for (const Measure& measure : measures) {
    ARROW_ASSIGN_OR_RAISE(auto aggregate, MakeAggregate(measure, !by.empty()));
    aggregates.push_back(std::move(aggregate));
    names.push_back(measure.name);
  }
  ARROW_ASSIGN_OR_RAISE(const TablePtr source, UnifyKeys(table, by));
  const std::vector<arrow::FieldRef> keys(by.begin(), by.end());
  auto plan = ac::Declaration::Sequence(
      {{"table_source", ac::TableSourceNodeOptions(source)},
       {"aggregate", ac::AggregateNodeOptions(std::move(aggregates), keys)}});
  // One thread: the sum of floating point numbers depends on their order, and `first` on it too.
  ARROW_ASSIGN_OR_RAISE(TablePtr groups, ac::DeclarationToTable(std::move(plan), false));
  ARROW_ASSIGN_OR_RAISE(groups, groups->RenameColumns(names));
  if (by.empty()) return groups;
  std::vector<SortColumn> order;
  for (const std::string& name : by) order.push_back({name});
  return SortTable(groups, order);
}

}  // namespace zerrow::worker
