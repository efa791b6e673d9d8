#include "cli/resident.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "cli/output.h"
#include "cli/settings.h"
#include "cli/surroundings.h"
#include "engine/options.h"

namespace zerrow::cli {

namespace fs = std::filesystem;
using arrow::Status;
using server::Patience;

namespace {

constexpr auto kVariable = "ZERROW_ENGINE";
// A living engine says hello within milliseconds; one of the command's own takes half a second.
constexpr std::chrono::seconds kAutoPatience{2};

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

// Of a list like PATH. Each may be empty, also the last: the working folder.
std::vector<std::string> Entries(std::string_view list) {
  std::vector<std::string> entries;
  for (size_t begin = 0; begin <= list.size(); begin += entries.back().size() + 1) {
    entries.emplace_back(list.substr(begin, list.find(':', begin) - begin));
  }
  return entries;
}

// As the system would find it: absolute, links unresolved, since a venv's python is one.
std::string FindProgram(const std::string& name) {
  std::error_code error;
  if (name.find('/') != std::string::npos) return fs::absolute(name, error).string();
  const char* path = std::getenv("PATH");
  for (const auto& folder : Entries(path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin")) {
    const fs::path candidate = fs::path(folder.empty() ? "." : folder) / name;
    if (::access(candidate.c_str(), X_OK) == 0) return fs::absolute(candidate, error).string();
  }
  return name;
}

// Relative entries mean this process's working folder, in which nothing else of the run is. To
// Python an empty list is none.
std::string AbsolutePaths(const std::string& list) {
  std::string absolute;
  std::error_code error;
  if (list.empty()) return absolute;
  for (const std::string& entry : Entries(list)) {
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

// The run as seen from this process. Invalid: see engine::CompleteOptions.
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

}  // namespace

arrow::Result<std::shared_ptr<server::Connection>> ConnectToEngine(
    const server::Patience& patience) {
  ARROW_ASSIGN_OR_RAISE(const auto address, server::Address::Open(server::RuntimeFolder()));
  return server::Connection::Open(address, ZERROW_VERSION, patience);
}

arrow::Result<std::shared_ptr<server::Connection>> BeginAtResident(
    const Arguments& arguments, bool plan_only, const engine::CancelToken& token) {
  ARROW_ASSIGN_OR_RAISE(const EngineChoice choice, ChoiceOf(arguments));
  if (arguments.run.inline_model) {  // whose terminal is this process's
    if (choice != EngineChoice::kResident) return nullptr;
    return Status::Invalid("--inline runs a model in this terminal, which takes --engine own");
  }
  if (choice == EngineChoice::kOwn) return nullptr;
  const auto cancelled = [&token] { return token.cancelled(); };
  const auto greeting = choice == EngineChoice::kAuto ? kAutoPatience : Patience::kDefault;
  auto connection = server::Connection::ToEngine(ZERROW_VERSION, Patience(greeting, cancelled));
  Status why = connection.status();
  if (why.ok()) {
    ARROW_ASSIGN_OR_RAISE(const auto wanted, WantedHere(arguments.run, plan_only));
    why = (*connection)->Submit(wanted, Patience(Patience::kDefault, cancelled));
    if (why.ok()) return connection;
  }
  if (why.IsCancelled()) return why;
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

}  // namespace zerrow::cli
