#include "engine/last_run.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

// The hash that Arrow itself uses, from its headers.
#define XXH_INLINE_ALL
#include <arrow/vendored/xxhash.h>

#include "base/fd.h"
#include "base/json.h"
#include "engine/state_folder.h"

namespace zerrow::engine {

namespace fs = std::filesystem;
using arrow::Result;
using arrow::Status;
using nlohmann::json;

namespace {

constexpr int kVersion = 1;
constexpr size_t kMostProjects = 1000;
constexpr int64_t kMostBytes = 32 << 20;  // of a file: the names of 100,000 models

std::string FolderOfRuns() {
  const std::string state = StateFolder();
  return state.empty() ? "" : state + "/last_runs";
}

std::string WithoutLinks(const std::string& project_dir) {
  std::error_code error;
  const fs::path path = fs::canonical(project_dir, error);
  return error ? project_dir : path.string();
}

std::string FileOf(const std::string& folder, const std::string& project_dir) {
  const uint64_t hash = XXH3_64bits(project_dir.data(), project_dir.size());
  return fmt::format("{}/{:016x}.json", folder, hash);
}

// So that projects that come and go leave no more than that.
void RemoveOldest(const std::string& folder) {
  std::vector<std::pair<fs::file_time_type, fs::path>> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    files.emplace_back(entry->last_write_time(error), entry->path());
  }
  if (files.size() <= kMostProjects) return;
  std::ranges::sort(files);
  files.resize(files.size() - kMostProjects);
  for (const auto& [when, path] : files) fs::remove(path, error);
}

Status WriteFile(const std::string& path, const std::string& text) {
  std::string unfinished = path + ".XXXXXX";
  const base::UniqueFd file(::mkostemp(unfinished.data(), O_CLOEXEC));
  if (!file.valid()) return base::ErrnoStatus(errno, path);
  Status written = base::WriteAll(file.get(), text);
  if (written.ok() && ::rename(unfinished.c_str(), path.c_str()) != 0) {
    written = base::ErrnoStatus(errno, path);
  }
  if (!written.ok()) ::unlink(unfinished.c_str());
  return written;
}

Result<std::vector<std::string>> Parse(const std::string& text, const std::string& project_dir) {
  ARROW_ASSIGN_OR_RAISE(const json document, base::ParseJson(text));
  try {
    if (document.at("version").get<int>() != kVersion) return Status::Invalid("another version");
    if (document.at("project").get<std::string>() != project_dir) {
      return Status::Invalid("another project");
    }
    return document.at("failed").get<std::vector<std::string>>();
  } catch (const json::exception& problem) {
    return Status::Invalid(problem.what());
  }
}

}  // namespace

std::vector<std::string> FailedModels(const RunReport& report) {
  std::vector<std::string> failed;
  const bool stopped = report.status == RunStatus::kCancelled;
  for (const ModelReport& model : report.models) {
    // Others that were skipped depend on what failed.
    const bool counts =
        model.status != ModelStatus::kSuccess && (stopped || model.status != ModelStatus::kSkipped);
    // Those of sources are no names of the project.
    if (counts && model.kind != ModelKind::kFilter) failed.push_back(model.name);
    if (counts && model.kind == ModelKind::kFilter) {
      failed.push_back(model.name.substr(0, model.name.rfind('#')));
    }
  }
  for (const RunError& error : report.errors) {
    if (!error.model.empty()) failed.push_back(error.model);  // it couldn't be written
  }
  return failed;
}

Status NoteLastRun(const std::string& project_dir, const RunReport& report) {
  const std::string project = WithoutLinks(project_dir);
  const std::string folder = FolderOfRuns();
  if (report.models.empty() || folder.empty()) return Status::OK();
  ARROW_RETURN_NOT_OK(MakeStateFolder(folder));
  const json document = {{"version", kVersion},
                         {"project", project},
                         {"run_id", report.run_id},
                         {"status", ToString(report.status)},
                         {"failed", FailedModels(report)}};
  ARROW_RETURN_NOT_OK(WriteFile(FileOf(folder, project), document.dump()));
  RemoveOldest(folder);
  return Status::OK();
}

Result<std::vector<std::string>> FailedInLastRun(const std::string& project_dir) {
  const std::string project = WithoutLinks(project_dir);
  const std::string path = FileOf(FolderOfRuns(), project);
  const base::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid() && errno == ENOENT) {
    return Status::Invalid("state:failed: no run of this project is known yet (", path,
                           " isn't there); zerrow run makes one");
  }
  auto text = file.valid() ? base::ReadAll(file.get(), kMostBytes)
                           : Result<std::string>(base::ErrnoStatus(errno, "opening it"));
  auto failed = text.ok() ? Parse(*text, project) : text.status();
  if (failed.ok()) return failed;
  return Status::Invalid("state:failed: ", path, " doesn't tell what failed in the last run (",
                         failed.status().message(), "); zerrow run writes it anew");
}

}  // namespace zerrow::engine
