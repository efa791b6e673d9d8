#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <tuple>
#include <utility>

#include "bindings.h"
#include "errors.h"
#include "worker/operators/operators.h"

namespace nb = nanobind;

namespace zerrow::python {

namespace {

using arrow::compute::Expression;

// pyarrow has no function that unwraps an expression; what it pickles is Arrow's own
// serialization.
Expression ReadExpression(const nb::bytes& serialized) {
  auto buffer = arrow::Buffer::FromString(std::string(serialized.c_str(), serialized.size()));
  return ValueOrThrow(arrow::compute::Deserialize(std::move(buffer)));
}

template <typename Operator>
nb::object Run(nb::handle table, Operator&& perform) {
  const worker::TablePtr input = UnwrapTable(table);
  auto output = [&] {
    nb::gil_scoped_release released;
    return perform(input);
  }();
  return WrapTable(ValueOrThrow(std::move(output)));
}

nb::object Filter(nb::handle table, const nb::bytes& condition) {
  const Expression expression = ReadExpression(condition);
  return Run(table, [&](const auto& input) { return worker::FilterTable(input, expression); });
}

nb::object Sort(nb::handle table, const std::vector<std::pair<std::string, bool>>& by) {
  std::vector<worker::SortColumn> order;
  for (const auto& [name, descending] : by) order.push_back({name, descending});
  return Run(table, [&](const auto& input) { return worker::SortTable(input, order); });
}

nb::object Take(nb::handle table, nb::handle rows) {
  const auto chosen = ValueOrThrow(arrow::py::unwrap_chunked_array(rows.ptr()));
  return Run(table, [&](const auto& input) { return worker::TakeTable(input, chosen); });
}

nb::object Concat(const std::vector<std::pair<std::string, nb::object>>& tables) {
  std::vector<worker::NamedTable> inputs;
  for (const auto& [name, table] : tables) inputs.push_back({name, UnwrapTable(table)});
  auto output = [&] {
    nb::gil_scoped_release released;
    return worker::ConcatTables(inputs);
  }();
  return WrapTable(ValueOrThrow(std::move(output)));
}

nb::object Encode(nb::handle table, const std::vector<std::string>& columns) {
  return Run(table, [&](const auto& input) { return worker::EncodeColumns(input, columns); });
}

using MeasureTuple = std::tuple<std::string, std::string, std::string>;

nb::object Aggregate(nb::handle table, const std::vector<std::string>& by,
                     const std::vector<MeasureTuple>& measures) {
  std::vector<worker::Measure> wanted;
  for (const auto& [name, function, column] : measures) wanted.push_back({name, function, column});
  return Run(table, [&](const auto& input) { return worker::AggregateTable(input, by, wanted); });
}

}  // namespace

void BindOperators(nb::module_& module) {
  module.def("filter_table", &Filter, nb::arg("table"), nb::arg("condition"),
             "The rows for which a serialized Arrow expression is true.");
  module.def("sort_table", &Sort, nb::arg("table"), nb::arg("by"),
             "Sorted by pairs of column and whether descending; stable, nulls last.");
  module.def("take_table", &Take, nb::arg("table"), nb::arg("rows"),
             "The rows whose numbers are in a chunked array.");
  module.def("concat_tables", &Concat, nb::arg("tables"),
             "All rows of tables that are given as pairs of name, for messages, and table.");
  module.def("encode_columns", &Encode, nb::arg("table"), nb::arg("columns"),
             "The table with these columns as dictionaries.");
  module.def("aggregate_table", &Aggregate, nb::arg("table"), nb::arg("by"), nb::arg("measures"),
             "Grouped by columns; measures are (name, function, column or '').");
  module.def("aggregate_functions", &worker::AggregateFunctions);
}

}  // namespace zerrow::python
