// What lies around the binary: the interpreter for workers, the allocator shim, the package.
//
// Reads the environment and the file system; call it before threads are started.
#pragma once

#include <string>

#include "engine/engine.h"

namespace zerrow::cli {

/// $ZERROW_PYTHON, which the launcher and `python -m zerrow` set, or else python3.
std::string PythonInterpreter();

/// Where an Engine finds its interpreter, the shim beside this binary and the Python package.
engine::EngineOptions EngineOptionsHere();

}  // namespace zerrow::cli
