#include <nanobind/nanobind.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>

#include "bindings.h"
#include "errors.h"
#include "worker/growing_values.h"

namespace nb = nanobind;

namespace zerrow::python {

namespace {

using worker::GrowingValues;

std::unique_ptr<GrowingValues> Make(nb::handle first) {
  const auto array = ValueOrThrow(arrow::py::unwrap_array(first.ptr()));
  auto values = [&] {
    nb::gil_scoped_release released;
    return GrowingValues::Make(*array);
  }();
  return ValueOrThrow(std::move(values));
}

nb::object IndicesOf(GrowingValues& values, nb::handle column) {
  const auto chunks = ValueOrThrow(arrow::py::unwrap_chunked_array(column.ptr()));
  auto indices = [&] {
    nb::gil_scoped_release released;
    return values.IndicesOf(*chunks);
  }();
  return nb::steal(arrow::py::wrap_array(ValueOrThrow(std::move(indices))));
}

nb::object Finish(GrowingValues& values) {
  auto array = [&] {
    nb::gil_scoped_release released;
    return values.Finish();
  }();
  return nb::steal(arrow::py::wrap_array(ValueOrThrow(std::move(array))));
}

}  // namespace

void BindDictionaries(nb::module_& module) {
  nb::class_<GrowingValues>(module, "GrowingValues",
                            "A dictionary's values. See src/worker/growing_values.h.")
      .def("indices_of", &IndicesOf, nb::arg("column"),
           "The rows of a chunked array of dictionaries as an array of indices into these values, "
           "which get what they lack.")
      .def("finish", &Finish, "All values, as an array; the last call.");
  module.def("growing_values", &Make, nb::arg("first"), "They begin with an array.");
}

}  // namespace zerrow::python
