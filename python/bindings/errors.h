// arrow::Status as Python exceptions, and pyarrow objects as Arrow C++ ones and back.
//
// An Invalid status becomes pyarrow.ArrowInvalid and so on, exactly as pyarrow itself would raise
// it. Every function here needs the GIL; none keeps state.
#pragma once

#include <arrow/python/pyarrow.h>
#include <arrow/result.h>
#include <arrow/status.h>
#include <nanobind/nanobind.h>

#include <memory>
#include <utility>

namespace zerrow::python {

inline void ThrowNotOk(const arrow::Status& status) {
  if (status.ok()) return;
  arrow::py::internal::check_status(status);  // sets Python's error indicator
  throw nanobind::python_error();
}

template <typename T>
T ValueOrThrow(arrow::Result<T> result) {
  ThrowNotOk(result.status());
  return std::move(result).ValueUnsafe();
}

inline nanobind::object WrapTable(const std::shared_ptr<arrow::Table>& table) {
  return nanobind::steal(arrow::py::wrap_table(table));
}

inline std::shared_ptr<arrow::Table> UnwrapTable(nanobind::handle table) {
  return ValueOrThrow(arrow::py::unwrap_table(table.ptr()));
}

}  // namespace zerrow::python
