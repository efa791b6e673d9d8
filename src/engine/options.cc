#include "engine/options.h"

#include <arrow/util/utf8.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/machine.h"

namespace zerrow::engine {

namespace fs = std::filesystem;
using arrow::Status;

namespace {

// Workers are told paths in JSON.
Status CheckPath(std::string_view what, const std::string& path) {
  arrow::util::InitializeUTF8();
  return arrow::util::ValidateUTF8(path)
             ? Status::OK()
             : Status::Invalid("the ", what, "'s path isn't UTF-8; rename it");
}

}  // namespace

arrow::Result<RunOptions> CompleteOptions(RunOptions options) {
  std::error_code error;
  options.project_dir = fs::absolute(options.project_dir, error).lexically_normal().string();
  if (error || !fs::is_directory(options.project_dir, error)) {
    return Status::Invalid("the project folder ", options.project_dir, " doesn't exist");
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
  return options;
}

}  // namespace zerrow::engine
