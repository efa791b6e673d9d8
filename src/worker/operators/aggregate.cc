#include <arrow/acero/exec_plan.h>
#include <arrow/acero/options.h>
#include <arrow/array/util.h>
#include <arrow/compute/api_aggregate.h>

#include <algorithm>
#include <array>
#include <utility>

#include "worker/operators/dictionaries.h"
#include "worker/operators/operators.h"

namespace zerrow::worker {

namespace {

namespace ac = arrow::acero;
namespace cp = arrow::compute;

// Arrow's functions for one group; for many, "hash_" is put before the name.
constexpr std::array kFunctions = {"all",
                                   "any",
                                   "approximate_median",
                                   "count",
                                   "count_distinct",
                                   "first",
                                   "last",
                                   "max",
                                   "mean",
                                   "min",
                                   "product",
                                   "stddev",
                                   "sum",
                                   "variance"};

arrow::Result<cp::Aggregate> MakeAggregate(const Measure& measure, bool grouped) {
  if (std::find(kFunctions.begin(), kFunctions.end(), measure.function) == kFunctions.end()) {
    return arrow::Status::Invalid("there is no aggregate function '", measure.function, "'");
  }
  const std::string prefix = grouped ? "hash_" : "";
  if (measure.column.empty()) {
    if (measure.function != "count") {
      return arrow::Status::Invalid(measure.function, "() needs a column");
    }
    return cp::Aggregate(prefix + "count_all", measure.name);
  }
  return cp::Aggregate(prefix + measure.function, arrow::FieldRef(measure.column), measure.name);
}

// Arrow groups by indices: all chunks need one dictionary, in which each value is there once and no
// null at all.
arrow::Result<ColumnPtr> DistinctKey(const ColumnPtr& column) {
  ARROW_ASSIGN_OR_RAISE(const ColumnPtr shared, ShareDictionaries(column));
  if (shared->type()->id() != arrow::Type::DICTIONARY || shared->num_chunks() == 0) return shared;
  ARROW_ASSIGN_OR_RAISE(
      const DistinctValues distinct,
      FindDistinct(shared->chunk(0)->data()->dictionary, /*may_keep_null=*/false));
  if (distinct.positions == nullptr) return shared;
  arrow::ArrayVector chunks;
  for (const auto& chunk : shared->chunks()) {
    ARROW_ASSIGN_OR_RAISE(const DataPtr data,
                          WithDictionary(*chunk->data(), distinct.values, distinct.positions));
    chunks.push_back(arrow::MakeArray(data));
  }
  return arrow::ChunkedArray::Make(std::move(chunks), shared->type());
}

arrow::Result<TablePtr> UnifyKeys(TablePtr table, const std::vector<std::string>& by) {
  for (const std::string& name : by) {
    const int i = table->schema()->GetFieldIndex(name);
    if (i < 0) return arrow::Status::KeyError("there is no column '", name, "' to group by");
    ARROW_ASSIGN_OR_RAISE(const ColumnPtr key, DistinctKey(table->column(i)));
    const auto field = table->schema()->field(i)->WithType(key->type());
    ARROW_ASSIGN_OR_RAISE(table, table->SetColumn(i, field, key));
  }
  return table;
}

}  // namespace

std::vector<std::string> AggregateFunctions() { return {kFunctions.begin(), kFunctions.end()}; }

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
