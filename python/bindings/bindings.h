// What each file of this folder adds to the module `zerrow._native`.
//
// The module is a thin layer: arguments in, one call into C++ without the GIL where it may take
// long, results out. Thread safety is that of the C++ underneath.
#pragma once

#include <nanobind/nanobind.h>

namespace zerrow::python {

void BindChannel(nanobind::module_& module);
void BindDictionaries(nanobind::module_& module);
void BindHandover(nanobind::module_& module);
void BindOperators(nanobind::module_& module);

}  // namespace zerrow::python
