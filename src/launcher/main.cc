// `zerrow` as it stands on PATH: becomes the command proper, which lies in the Python package.
//
// It links nothing but libc, so that it starts in a fraction of the time that Python or libarrow
// take; that is why it answers for the version by itself.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <variant>

#include "launcher/installation.h"

namespace {

using namespace zerrow::launcher;  // NOLINT(google-build-using-namespace): the whole file is about
                                   // it

int Fail(const std::string& text) {
  std::fprintf(stderr, "zerrow: %s\n", text.c_str());
  return EXIT_FAILURE;
}

int PrintVersion() {
  std::fputs("zerrow " ZERROW_VERSION " (Arrow " ZERROW_ARROW_VERSION ")\n", stdout);
  if (std::fflush(stdout) == 0) return EXIT_SUCCESS;
  std::fputs("error: the output couldn't be written completely\n", stderr);
  return EXIT_FAILURE;
}

void AddToPythonPath(const std::string& site) {
  const char* path = std::getenv("PYTHONPATH");
  const std::string before = path != nullptr && *path != '\0' ? std::string(path) + ":" : "";
  ::setenv("PYTHONPATH", (before + site).c_str(), /*overwrite=*/1);
}

int Become(const Installation& installation, char** argv) {
  ::setenv("ZERROW_PYTHON", installation.python.c_str(), /*overwrite=*/1);
  if (!installation.extra_site.empty()) AddToPythonPath(installation.extra_site);
  char name[] = "zerrow";
  if (argv[0] != nullptr) argv[0] = name;
  ::execv(installation.binary.c_str(), argv);
  return Fail(installation.binary + " can't be started: " + std::strerror(errno));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 &&
      (std::strcmp(argv[1], "version") == 0 || std::strcmp(argv[1], "--version") == 0)) {
    return PrintVersion();
  }
  const auto found = FindInstallation();
  if (const auto* problem = std::get_if<Problem>(&found)) return Fail(problem->text);
  return Become(std::get<Installation>(found), argv);
}
