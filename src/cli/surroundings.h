// What lies around the binary: the interpreter for workers, the allocator shim, the package.
//
// Reads the environment and the file system; call it before threads are started.
#pragma once

#include <arrow/status.h>

#include <string>
#include <vector>

#include "engine/engine.h"

namespace zerrow::cli {

/// Where an Engine finds its interpreter ($ZERROW_PYTHON, which the launcher and `python -m zerrow`
/// set, or else python3), the shim beside this binary and the Python package.
engine::EngineOptions EngineOptionsHere();

/// Becomes `python -m MODULE ARGUMENTS...`; returns only if that fails.
arrow::Status BecomePython(const std::string& module, const std::vector<std::string>& arguments);

}  // namespace zerrow::cli
