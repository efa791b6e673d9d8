// `zerrow query`.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/fd.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/render.h"

namespace zerrow::cli {

namespace fs = std::filesystem;
using arrow::Result;
using arrow::Status;

namespace {

constexpr int64_t kShownRows = 10;
constexpr int64_t kMostShownRows = 1'000'000;
constexpr int64_t kMaxFileBytes = 4 << 20;

/// A folder that is gone with its object, for a result that is printed.
class ScratchFolder {
 public:
  static Result<ScratchFolder> Make() {
    std::error_code error;
    std::string path = fs::temp_directory_path(error) / "zerrow-query-XXXXXX";
    if (error || ::mkdtemp(path.data()) == nullptr) {
      return Status::IOError("a temporary folder can't be made in ", fs::path(path).parent_path());
    }
    return ScratchFolder(path);
  }
  ScratchFolder(ScratchFolder&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  ~ScratchFolder() {
    std::error_code error;
    if (!path_.empty()) fs::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }

 private:
  explicit ScratchFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

std::string Absolute(const std::string& path) {
  std::error_code error;
  return fs::absolute(path, error).lexically_normal().string();
}

Result<std::string> ReadQuery(const std::string& path) {
  const base::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  auto text = file.valid() ? base::ReadAll(file.get(), kMaxFileBytes)
                           : Result<std::string>(base::ErrnoStatus(errno, "it can't be read"));
  if (!text.ok()) return Status::Invalid(path, ": ", text.status().message());
  return text;
}

Result<AdHocQuery> QueryOf(const QueryOptions& options) {
  AdHocQuery query;
  query.sql = options.sql;
  if (!options.file.empty()) {
    query.file = Absolute(options.file);
    ARROW_ASSIGN_OR_RAISE(query.sql, ReadQuery(options.file));
  }
  query.format = options.format;
  query.max_rows = options.max_rows;
  if (!options.output.empty()) query.output = Absolute(options.output);
  return query;
}

Status PrintFile(const std::string& path) {
  const base::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return base::ErrnoStatus(errno, path);
  std::array<char, 1 << 16> buffer;
  while (!OutputFailed()) {
    const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return base::ErrnoStatus(errno, path);
    if (count == 0) break;
    PrintTo(stdout, {buffer.data(), static_cast<size_t>(count)});
  }
  return Status::OK();
}

Result<RunReport> RunQuery(Arguments arguments) {
  const QueryOptions& options = arguments.query;
  RunOptions& run = arguments.run;
  ARROW_ASSIGN_OR_RAISE(AdHocQuery query, QueryOf(options));
  run.select = {std::string(AdHocQuery::kName)};
  if (options.format == "table") {
    run.preview_rows = options.all_rows ? kMostShownRows : options.max_rows.value_or(kShownRows);
    // Without any the preview would be left out, and with it columns and types.
    run.preview_rows = std::clamp<int64_t>(run.preview_rows, 1, kMostShownRows);
    run.query = std::move(query);
    ARROW_ASSIGN_OR_RAISE(RunReport report, RunEngine(arguments, stderr));
    for (Preview& preview : report.previews) {
      if (options.max_rows == 0) preview.rows.clear();
      PrintTo(stdout, RenderPreview(preview, StyleOf(STDOUT_FILENO)));
    }
    return report;
  }
  if (!query.output.empty()) {
    run.query = std::move(query);
    ARROW_ASSIGN_OR_RAISE(RunReport report, RunEngine(arguments, stderr));
    for (const std::string& path : report.outputs) PrintTo(stderr, "wrote " + path + "\n");
    return report;
  }
  if (options.format == "parquet" && ::isatty(STDOUT_FILENO) == 1) {
    return Status::Invalid("Parquet isn't for a terminal: use --output FILE, or a pipe");
  }
  ARROW_ASSIGN_OR_RAISE(const ScratchFolder scratch, ScratchFolder::Make());
  query.output = scratch.path() + "/result";
  run.query = std::move(query);
  ARROW_ASSIGN_OR_RAISE(RunReport report, RunEngine(arguments, stderr));
  if (report.status == RunStatus::kSuccess) {
    for (const std::string& path : report.outputs) ARROW_RETURN_NOT_OK(PrintFile(path));
  } else if (options.format == "json") {
    PrintJson(report.ToJson());
  }
  return report;
}

}  // namespace

int Query(const Arguments& arguments) {
  const auto report = RunQuery(arguments);
  if (report.status().IsCancelled()) return kExitInterrupted;
  if (!report.ok()) return Fail(report.status());
  PrintTo(stderr, RenderErrors(*report, arguments.run.project_dir, StyleOf(STDERR_FILENO)));
  return ExitCode(report->status);
}

}  // namespace zerrow::cli
