#include "cli/surroundings.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace zerrow::cli {

namespace fs = std::filesystem;

std::string PythonInterpreter() {
  const char* python = std::getenv("ZERROW_PYTHON");
  return python != nullptr && *python != '\0' ? python : "python3";
}

engine::EngineOptions EngineOptionsHere() {
  engine::EngineOptions options;
  options.python = PythonInterpreter();
  std::error_code error;
  const fs::path binary = fs::read_symlink("/proc/self/exe", error);
  if (error) return options;
  const fs::path shim = binary.parent_path() / "libzerrow_shim.so";
  if (fs::exists(shim, error)) options.shim_path = shim;
  // Started by itself, as python/zerrow/_bin/zerrow of a checkout: the interpreter may be one that
  // doesn't have the package.
  const fs::path package = binary.parent_path().parent_path();
  if (std::getenv("ZERROW_PYTHON") == nullptr && fs::exists(package / "_entry.py", error)) {
    options.python_path = {package.parent_path()};
  }
  return options;
}

}  // namespace zerrow::cli
