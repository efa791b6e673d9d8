#include <arrow/compute/initialize.h>
#include <arrow/config.h>
#include <arrow/python/pyarrow.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "bindings.h"
#include "errors.h"
#include "worker/operators/text_functions.h"
#include "worker/operators/view_kernels.h"

NB_MODULE(_native, module) {
  module.doc() = "The C++ parts of Zerrow that run inside Python processes.";
  if (arrow::py::import_pyarrow() != 0) throw nanobind::python_error();
  zerrow::python::ThrowNotOk(arrow::compute::Initialize());
  zerrow::python::ThrowNotOk(zerrow::worker::RegisterViewKernels());
  zerrow::python::ThrowNotOk(zerrow::worker::RegisterTextFunctions());
  module.attr("ARROW_VERSION") = arrow::GetBuildInfo().version_string;
  zerrow::python::BindChannel(module);
  zerrow::python::BindDictionaries(module);
  zerrow::python::BindHandover(module);
  zerrow::python::BindOperators(module);
}
