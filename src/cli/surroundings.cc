#include "cli/surroundings.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace zerrow::cli {

namespace fs = std::filesystem;

engine::EngineOptions EngineOptionsHere() {
  engine::EngineOptions options;
  const char* python = std::getenv("ZERROW_PYTHON");
  options.python = python != nullptr && *python != '\0' ? python : "python3";
  std::error_code error;
  const fs::path binary = fs::read_symlink("/proc/self/exe", error);
  if (error) return options;
  const fs::path shim = binary.parent_path() / "libzerrow_shim.so";
  if (fs::exists(shim, error)) options.shim_path = shim;
  // Started by itself, as python/zerrow/_bin/zerrow of a checkout: the interpreter may be one that
  // doesn't have the package.
  const fs::path package = binary.parent_path().parent_path();
  if (python == nullptr && fs::exists(package / "_entry.py", error)) {
    options.python_path = {package.parent_path()};
  }
  return options;
}

arrow::Status BecomePython(const std::string& module, const std::vector<std::string>& arguments) {
  const engine::EngineOptions here = EngineOptionsHere();
  for (const std::string& folder : here.python_path) {
    const char* path = std::getenv("PYTHONPATH");
    const std::string before = path != nullptr && *path != '\0' ? std::string(path) + ":" : "";
    ::setenv("PYTHONPATH", (before + folder).c_str(), /*overwrite=*/1);
  }
  std::vector<std::string> words = {here.python, "-P", "-m", module};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  return arrow::Status::IOError("can't start ", here.python, ": ", std::strerror(errno));
}

}  // namespace zerrow::cli
