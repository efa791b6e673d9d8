#include "engine/environment.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

namespace zerrow::engine {

using arrow::Status;

namespace {

arrow::Result<std::string> Path(const nlohmann::json& value, const char* key) {
  const auto found = value.find(key);
  if (found != value.end() && found->is_string()) {
    auto path = found->get<std::string>();
    if (path.starts_with('/') && path.find('\0') == std::string::npos) return path;
  }
  return Status::SerializationError("its environment's ", key, " isn't an absolute path");
}

bool IsAt(const std::string& path, int fd) {
  struct stat there {};
  struct stat opened {};
  return ::stat(path.c_str(), &there) == 0 && ::fstat(fd, &opened) == 0 &&
         there.st_dev == opened.st_dev && there.st_ino == opened.st_ino;
}

}  // namespace

arrow::Result<PreparedEnvironment> ReadPrepared(const nlohmann::json& value) {
  if (!value.is_object()) return Status::SerializationError("its environment is malformed");
  PreparedEnvironment environment;
  ARROW_ASSIGN_OR_RAISE(environment.folder, Path(value, "folder"));
  ARROW_ASSIGN_OR_RAISE(environment.python, Path(value, "python"));
  ARROW_ASSIGN_OR_RAISE(environment.package_folder, Path(value, "package_folder"));
  return environment;
}

arrow::Result<base::UniqueFd> Hold(const PreparedEnvironment& environment) {
  const std::string& path = environment.folder;
  base::UniqueFd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return base::ErrnoStatus(errno, "opening the environment " + path);
  if (::flock(folder.get(), LOCK_SH | LOCK_NB) != 0 || !IsAt(path, folder.get())) {
    return Status::IOError("the environment ", path, " is being removed; run again");
  }
  return folder;
}

ZygoteOptions In(const PreparedEnvironment& environment, ZygoteOptions options) {
  options.python = environment.python;
  options.python_path = {environment.package_folder};
  return options;
}

std::string EnvironmentsFolder(const std::optional<Environment>& variables) {
  const Environment& known = variables ? *variables : OwnEnvironment();
  const auto absolute = [&known](const char* name) {
    const auto found = known.find(name);
    return found != known.end() && found->second.starts_with('/') ? found->second : "";
  };
  if (const std::string cache = absolute("XDG_CACHE_HOME"); !cache.empty()) {
    return cache + "/zerrow/environments";
  }
  const std::string home = absolute("HOME");
  return home.empty() ? "" : home + "/.cache/zerrow/environments";
}

}  // namespace zerrow::engine
