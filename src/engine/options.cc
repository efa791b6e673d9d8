#include "engine/options.h"

#include <arrow/util/utf8.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/machine.h"
#include "engine/last_run.h"
#include "engine/selector.h"

namespace zerrow::engine {

namespace fs = std::filesystem;
using arrow::Status;

namespace {

constexpr auto kProjectFile = "zerrow_project.yml";

// Workers are told paths in JSON.
Status CheckPath(std::string_view what, const std::string& path) {
  arrow::util::InitializeUTF8();
  return arrow::util::ValidateUTF8(path)
             ? Status::OK()
             : Status::Invalid("the ", what, "'s path isn't UTF-8; rename it");
}

// What a word is taken for that could also be meant as a model.
std::string NoFolder(const std::string& path, const std::string& given) {
  std::string text = "the project folder " + path + " doesn't exist";
  const bool name = given.find_first_of("/.") == std::string::npos;
  return name ? text + "; if " + given + " is a model, say --select " + given : text;
}

}  // namespace

std::string FindProject() {
  struct stat here;
  std::error_code error;
  fs::path folder = fs::current_path(error);
  if (error || ::stat(".", &here) != 0) return ".";
  std::string found;
  for (;; folder = folder.parent_path()) {
    struct stat file;
    if (::stat((folder / kProjectFile).c_str(), &file) == 0) {
      const bool trusted = file.st_uid == ::geteuid() || file.st_uid == here.st_uid;
      return found.empty() || !trusted ? "." : found;
    }
    if (!folder.has_relative_path()) return ".";
    found += found.empty() ? ".." : "/..";
  }
}

arrow::Result<RunOptions> CompleteOptions(RunOptions options) {
  std::error_code error;
  const std::string given = options.project_dir.empty() ? FindProject() : options.project_dir;
  fs::path folder = fs::absolute(given, error).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();  // of a name that ends with a slash
  options.project_dir = folder.string();
  if (error || !fs::is_directory(options.project_dir, error)) {
    return Status::Invalid(NoFolder(options.project_dir, given));
  }
  ARROW_RETURN_NOT_OK(CheckPath("project folder", options.project_dir));
  if (options.jobs < 0 || options.jobs > kMaxJobs) {
    return Status::Invalid("jobs must be a whole number from 1 to ", kMaxJobs, ", not ",
                           options.jobs);
  }
  if (options.jobs == 0) options.jobs = base::UsableCores();
  if (options.memory_limit_bytes && *options.memory_limit_bytes < 1) {
    return Status::Invalid("the memory limit must be at least one byte, not ",
                           *options.memory_limit_bytes);
  }
  if (options.priority < -kMaxPriority || options.priority > kMaxPriority) {
    return Status::Invalid("priority must be a whole number from ", -kMaxPriority, " to ",
                           kMaxPriority, ", not ", options.priority);
  }
  if (options.output_dir) {
    options.output_dir = fs::absolute(*options.output_dir, error).lexically_normal().string();
    ARROW_RETURN_NOT_OK(CheckPath("output folder", *options.output_dir));
    fs::create_directories(*options.output_dir, error);
    if (error || !fs::is_directory(*options.output_dir, error)) {
      return Status::Invalid("the output folder ", *options.output_dir, " can't be made",
                             error ? ": " + error.message() : "");
    }
  }
  if (options.query && !options.query->output.empty()) {
    ARROW_RETURN_NOT_OK(CheckPath("output file", options.query->output));
  }
  if (!options.failed && (AsksForFailed(options.select) || AsksForFailed(options.exclude))) {
    ARROW_ASSIGN_OR_RAISE(options.failed, FailedInLastRun(options.project_dir));
  }
  return options;
}

}  // namespace zerrow::engine
