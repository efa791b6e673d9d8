// Where the Python package lies that this command belongs to, and the interpreter it was installed
// for.
//
// Reads the environment and the file system, nothing else. One thread. Owns nothing and leaves
// nothing.
#pragma once

#include <string>
#include <variant>

namespace zerrow::launcher {

struct Installation {
  std::string binary;  // the command proper: _bin/zerrow of the package
  std::string python;  // absolute; not resolved, or a virtual environment's would lose its packages
  std::string extra_site;  // where the package lies, if the interpreter wouldn't look there
};

/// What is wrong and what to do about it.
struct Problem {
  std::string text;
};

/// A package on PYTHONPATH comes first, as for Python itself.
std::variant<Installation, Problem> FindInstallation();

}  // namespace zerrow::launcher
