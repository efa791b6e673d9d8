// `zerrow._process.OwnProcess`: what a worker needs of its process, kept while user code runs.
#pragma once

#include <nanobind/nanobind.h>

namespace zerrow::python {

void BindOwnProcess(nanobind::module_& module);

}  // namespace zerrow::python
