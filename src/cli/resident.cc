#include "cli/resident.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>

#include "cli/output.h"
#include "cli/settings.h"
#include "cli/surroundings.h"
#include "engine/options.h"

namespace zerrow::cli {

namespace fs = std::filesystem;
using arrow::Status;

namespace {

constexpr auto kVariable = "ZERROW_ENGINE";

// The command line, then the environment, then the settings.
arrow::Result<EngineChoice> ChoiceOf(const Arguments& arguments) {
  if (arguments.engine) return *arguments.engine;
  if (const char* name = std::getenv(kVariable); name != nullptr && *name != '\0') {
    const auto choice = ParseEngineChoice(name);
    if (choice) return *choice;
    return Status::Invalid(kVariable, " must be auto, own or resident, not ", name);
  }
  ARROW_ASSIGN_OR_RAISE(const Settings settings, ReadSettings(SettingsPath()));
  return settings.engine.value_or(EngineChoice::kAuto);
}

// As the system would find it: absolute, links unresolved, since a venv's python is one.
std::string FindProgram(const std::string& name) {
  std::error_code error;
  if (name.find('/') != std::string::npos) return fs::absolute(name, error).string();
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path candidate = fs::path(folder.empty() ? "." : folder) / name;
    if (::access(candidate.c_str(), X_OK) == 0) return fs::absolute(candidate, error).string();
  }
  return name;
}

// Relative entries mean this process's working folder, in which nothing else of the run is.
std::string AbsolutePaths(const std::string& list) {
  std::string absolute;
  std::istringstream entries(list);
  std::error_code error;
  for (std::string entry; std::getline(entries, entry, ':');) {
    if (!absolute.empty()) absolute += ':';
    absolute += fs::absolute(entry.empty() ? "." : entry, error).string();
  }
  return absolute;
}

engine::Environment EnvironmentHere() {
  engine::Environment environment = engine::OwnEnvironment();
  const auto path = environment.find("PYTHONPATH");
  if (path != environment.end()) path->second = AbsolutePaths(path->second);
  return environment;
}

}  // namespace

arrow::Result<std::shared_ptr<server::Connection>> FindResident(const Arguments& arguments) {
  ARROW_ASSIGN_OR_RAISE(const EngineChoice choice, ChoiceOf(arguments));
  if (choice == EngineChoice::kOwn) return nullptr;
  auto connection = server::Connection::ToEngine(ZERROW_VERSION);
  if (connection.ok()) return connection;
  const Status& why = connection.status();
  if (choice == EngineChoice::kResident) {
    if (why.IsKeyError()) return Status::IOError(why.message());
    return Status::IOError("the resident engine can't do this run: ", why.message());
  }
  if (!why.IsKeyError()) {
    PrintTo(stderr, "note: the resident engine can't do this run, so that it has one of its own: " +
                        why.message() + "\n");
  }
  return nullptr;
}

arrow::Result<server::Wanted> WantedHere(const RunOptions& options, bool plan_only) {
  server::Wanted wanted;
  ARROW_ASSIGN_OR_RAISE(wanted.options, engine::CompleteOptions(options));
  wanted.plan_only = plan_only;
  const engine::EngineOptions here = EngineOptionsHere();
  wanted.python = FindProgram(here.python);
  wanted.python_path = here.python_path;
  wanted.environment = EnvironmentHere();
  return wanted;
}

}  // namespace zerrow::cli
