#include "engine/state_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "base/fd.h"

namespace zerrow::engine {

using arrow::Status;
namespace fs = std::filesystem;

namespace {

// The nearest folder above the file that is there already.
fs::path ExistingFolder(fs::path folder) {
  std::error_code error;
  while (!fs::exists(folder, error) && folder.has_relative_path()) folder = folder.parent_path();
  return folder;
}

}  // namespace

std::string StateFolder() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && state[0] == '/') return std::string(state) + "/zerrow";
  const char* home = std::getenv("HOME");
  if (home == nullptr || home[0] != '/') return "";
  return std::string(home) + "/.local/state/zerrow";
}

Status CheckOwner(const std::string& path, bool or_root) {
  struct stat found = {};
  if (::stat(path.c_str(), &found) != 0) return base::ErrnoStatus(errno, path);
  if (found.st_uid == ::geteuid() || (or_root && found.st_uid == 0)) return Status::OK();
  return Status::Invalid(path, " belongs to another user");
}

Status MakeStateFolder(const fs::path& folder) {
  // Root with somebody's $HOME (sudo) would leave what its owner can't use.
  ARROW_RETURN_NOT_OK(CheckOwner(ExistingFolder(folder), /*or_root=*/true));
  fs::path made;
  for (const auto& part : folder) {
    made /= part;
    if (::mkdir(made.c_str(), 0700) == 0 || errno == EEXIST) continue;
    std::error_code error;
    if (!fs::is_directory(made, error)) return base::ErrnoStatus(errno, made.string());
  }
  return CheckOwner(folder);
}

}  // namespace zerrow::engine
