// Python's objects as JSON and back, without Python's own json module.
//
// User code runs in the processes that use this, and may have replaced whatever Python code would
// be called. So only exact C structures are read: dict, list, tuple, str, int, float, bool, None
// and what is derived from them; no method of an object is called. Needs the GIL; keeps no state.
#pragma once

#include <nanobind/nanobind.h>

#include <nlohmann/json.hpp>

namespace zerrow::python {

/// Lone surrogates become `\udc80` and the like, numbers that JSON doesn't have null. Raises
/// TypeError for other objects and ValueError for what is nested more than 64 deep.
nlohmann::json ToJson(nanobind::handle object);

/// Raises ValueError for what is nested more than 64 deep.
nanobind::object FromJson(const nlohmann::json& value);

}  // namespace zerrow::python
