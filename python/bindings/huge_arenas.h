// `zerrow._process.use_huge_arenas`: huge pages for the zygote's small objects.
#pragma once

#include <nanobind/nanobind.h>

namespace zerrow::python {

void BindHugeArenas(nanobind::module_& module);

}  // namespace zerrow::python
