#include "launcher/installation.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <vector>

namespace zerrow::launcher {

namespace {

// A wheel is built for one version of Python and is only ever installed for that.
constexpr char kPython[] = "python" ZERROW_PYTHON_VERSION;

constexpr char kBinary[] = "/zerrow/_bin/zerrow";

struct Place {
  std::string prefix;
  std::string bin;
  bool is_venv;
};

bool IsFile(const std::string& path, int mode) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         ::access(path.c_str(), mode) == 0;
}

bool IsSameFolder(const std::string& a, const std::string& b) {
  struct stat first;
  struct stat second;
  return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string Parent(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

bool IsVenvBin(const std::string& bin) { return IsFile(Parent(bin) + "/pyvenv.cfg", R_OK); }

// The folders of a list like PATH. They may be relative; an empty one is the working directory.
std::vector<std::string> Folders(const std::string& list) {
  std::vector<std::string> folders;
  if (list.empty()) return folders;
  char here[PATH_MAX] = "";
  const std::string base = ::getcwd(here, sizeof(here)) != nullptr ? here : "";
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(':', begin), list.size());
    const std::string folder = list.substr(begin, end - begin);
    folders.push_back(folder.starts_with('/') ? folder
                      : folder.empty()        ? base
                                              : base + "/" + folder);
    begin = end + 1;
  }
  return folders;
}

// By the link that the kernel keeps: whatever symlinks led here, and wherever the tree was moved
// to.
std::optional<Place> OwnPlace() {
  char path[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof(path));
  if (length <= 0 || length == static_cast<ssize_t>(sizeof(path))) return std::nullopt;
  const std::string bin = Parent(std::string(path, static_cast<size_t>(length)));
  return Place{Parent(bin), bin, IsVenvBin(bin)};
}

std::vector<std::string> Sites(const std::string& prefix) {
  std::vector<std::string> sites;
  for (const char* lib : {"/lib/", "/lib64/"}) {
    for (const char* packages : {"/site-packages", "/dist-packages"}) {
      sites.push_back(prefix + lib + kPython + packages);
    }
  }
  return sites;
}

std::string InstalledSite(const Place& place) {
  for (const std::string& site : Sites(place.prefix)) {
    if (IsFile(site + kBinary, X_OK)) return site;
  }
  return "";
}

std::string SiteOnPythonPath() {
  for (const std::string& folder : Folders(Environment("PYTHONPATH"))) {
    if (IsFile(folder + "/zerrow/__init__.py", R_OK)) return folder;
  }
  return "";
}

std::string SearchPath() {
  const std::string path = Environment("PATH");
  return path.empty() ? "/usr/local/bin:/usr/bin:/bin" : path;
}

// An environment that is active comes first on PATH, but it doesn't have what is installed outside.
std::string PythonOnPath() {
  for (const std::string& bin : Folders(SearchPath())) {
    std::string python = bin + "/" + kPython;
    if (IsFile(python, X_OK) && !IsVenvBin(bin)) return python;
  }
  return "";
}

// Empty if there is none.
std::string Interpreter(const Place& place) {
  std::string beside = place.bin + "/" + (place.is_venv ? "python" : kPython);
  if (IsFile(beside, X_OK)) return beside;
  return place.is_venv ? "" : PythonOnPath();
}

// Whether an interpreter from elsewhere looks for packages there without being told.
bool IsKnownPrefix(const std::string& prefix) {
  const std::string base = Environment("PYTHONUSERBASE");
  const std::string user = base.empty() ? Environment("HOME") + "/.local" : base;
  return prefix == "/usr" || prefix == "/usr/local" || IsSameFolder(prefix, user);
}

Problem NoPackage(const Place& place) {
  std::string text = "the Python package zerrow isn't installed beside this command. Looked in";
  for (const std::string& site : Sites(place.prefix)) text += "\n  " + site;
  return {text + "\nand on PYTHONPATH. Reinstall the package (in a checkout: make)"};
}

Problem NoInterpreter(const Place& place) {
  if (place.is_venv) {
    return {
        "this virtual environment's interpreter, " + place.bin +
        "/python, is missing or can't be run: make the environment anew and install zerrow there"};
  }
  return {std::string("there is no ") + kPython + ", which zerrow is installed for: looked in " +
          place.bin + " and on PATH (" + SearchPath() +
          "), virtual environments left out. Install Python " +
          ZERROW_PYTHON_VERSION " or put its folder on PATH"};
}

}  // namespace

std::variant<Installation, Problem> FindInstallation() {
  const auto place = OwnPlace();
  if (!place) return Problem{"/proc/self/exe can't be read: is /proc mounted?"};
  const std::string installed = InstalledSite(*place);
  const std::string given = SiteOnPythonPath();
  if (installed.empty() && given.empty()) return NoPackage(*place);
  Installation found{.binary = (given.empty() ? installed : given) + kBinary,
                     .python = Interpreter(*place),
                     .extra_site = ""};
  if (found.python.empty()) return NoInterpreter(*place);
  if (!IsFile(found.binary, X_OK)) {
    return Problem{found.binary +
                   " is missing or can't be run: reinstall the package (in a checkout: make)"};
  }
  if (Parent(found.python) != place->bin && installed != given && !IsKnownPrefix(place->prefix)) {
    found.extra_site = installed;
  }
  return found;
}

}  // namespace zerrow::launcher
