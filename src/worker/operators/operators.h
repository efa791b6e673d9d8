// The built-in models: filter, project, sort and aggregate of one table, and some tables as one.
//
// Pure functions on Arrow's own thread pool, callable from any thread that isn't one of its
// workers. They leave as much as they can where it is: columns that aren't changed, the bytes that
// views point to, dictionaries, and batches of which a filter keeps everything or one piece.
// Filtering and sorting tables with views needs RegisterViewKernels(). Errors: Invalid, TypeError,
// KeyError and NotImplemented, as Arrow words them.
#pragma once

#include <arrow/compute/expression.h>
#include <arrow/result.h>
#include <arrow/table.h>

#include <memory>
#include <string>
#include <vector>

namespace zerrow::worker {

using TablePtr = std::shared_ptr<arrow::Table>;

/// The rows for which `condition` is true (not null).
arrow::Result<TablePtr> FilterTable(const TablePtr& table,
                                    const arrow::compute::Expression& condition);

struct SortColumn {
  std::string name;
  bool descending = false;
};
/// Stable; nulls last, also those that a dictionary has among its values. Dictionary columns stay
/// where they are, but for their indices; chunks with different dictionaries get a common one.
arrow::Result<TablePtr> SortTable(const TablePtr& table, const std::vector<SortColumn>& by);

/// The rows of these numbers, in their order; a null makes a row of nulls. Dictionaries as in
/// SortTable. IndexError for a row that isn't there.
arrow::Result<TablePtr> TakeTable(const TablePtr& table,
                                  const std::shared_ptr<arrow::ChunkedArray>& rows);
/// The same without the check, for rows that are known to be there.
arrow::Result<TablePtr> TakeRows(const TablePtr& table,
                                 const std::shared_ptr<arrow::ChunkedArray>& rows,
                                 bool check_bounds);

struct NamedTable {
  std::string name;  // for messages
  TablePtr table;
};
/// All rows of all tables, one after the other, with the first one's columns; of the others they
/// are taken by name. All have the same type, or are the same text (or other values) as
/// dictionaries, views or plainly: dictionaries win, then views, then large offsets. Nothing that
/// has the wanted type already is copied, each table's dictionaries stay its chunks' own. Invalid
/// for columns that are missing, surplus or there twice, TypeError for types that don't agree; at
/// least one table.
arrow::Result<TablePtr> ConcatTables(const std::vector<NamedTable>& tables);

/// These columns as dictionaries, see EncodeColumn.
arrow::Result<TablePtr> EncodeColumns(const TablePtr& table,
                                      const std::vector<std::string>& columns);

struct Measure {
  std::string name;
  std::string function;  // one of AggregateFunctions()
  std::string column;    // empty: `count` of rows
};
/// One row per distinct combination of the columns `by` (one row in all without any), in order
/// of `by`: the result doesn't depend on how threads were scheduled.
arrow::Result<TablePtr> AggregateTable(const TablePtr& table, const std::vector<std::string>& by,
                                       const std::vector<Measure>& measures);

/// The names that Measure::function may have.
std::vector<std::string> AggregateFunctions();

}  // namespace zerrow::worker
