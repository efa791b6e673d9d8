#include "cli/arguments.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <map>
#include <memory>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "base/byte_size.h"
#include "cli/query_options.h"
#include "cli/selection_options.h"
#include "cli/simulate_options.h"
#include "cli/usage.h"
#include "cli/version.h"
#include "engine/options.h"
#include "resource/events.h"

namespace zerrow::cli {

namespace {

constexpr int64_t kShownRows = 10;  // of `zerrow show`
constexpr int64_t kMaxShownRows = 1'000'000;

constexpr std::string_view kMainFooter = R"(Examples:
  zerrow init demo && zerrow run demo        make a small project and run it
  zerrow run --param origin=EWR              run the project in this folder
  zerrow show late_flights                   look at one model's rows
  zerrow query "SELECT * FROM late_flights"  ask something of sources and models
  zerrow COMMAND --help                      options and examples of a command

Environment:
  ZERROW_PYTHON                              the interpreter that functions run in
  ZERROW_ENGINE                              as --engine: own, resident or auto
  ZERROW_START_TIMEOUT_S                     how long importing libraries may take (default: 60)
  ZERROW_IMPORT_TIMEOUT_S                    how long importing the project may take (default: 60)
  ZERROW_IMPORT_ONCE=0                       each model imports the project, not the run once
  ZERROW_HISTORY=0                           forget what functions took of memory and time
  ZERROW_EXIT_TIMEOUT_S                      how long a function's process may take to end (default: 10)

Exit codes: 0 success, 1 failed, 2 wrong usage, 130 interrupted.)";

constexpr std::string_view kRunFooter = R"(Examples:
  zerrow run                                 all models of the project that this folder is in
  zerrow run flights --param origin=EWR      another folder, one parameter set
  zerrow run --select late_flights --preview 5
  zerrow run --select state:failed           what failed, once more, and what depends on it
  zerrow run --output out                    final models as out/MODEL.parquet
  zerrow run --inline late_flights           one model in this terminal: breakpoint() works
  zerrow run -O json | jq .models            one JSON document; everything else goes to stderr

The table at the end, with -v, of each model's output: new = handed over by reference, first stored
by this model; reshared = references to memory of its inputs; copied = written into the message
that hands the table over: each of the columns' buffers that lay outside of shared memory, as all
below 64 KiB do; cached = columns of a source that the engine had decoded before; duplicate = new
bytes equal to an input's. peak = memory of its process.)";

constexpr std::string_view kShowFooter = R"(Examples:
  zerrow show late_flights                   ten rows with their types
  zerrow show late_flights --preview 100 --param origin=EWR)";

constexpr std::string_view kExplainFooter = R"(Examples:
  zerrow explain                             what runs in which order, and what each model reads
  zerrow explain --select late_flights -O json)";

constexpr std::string_view kInitFooter = R"(Examples:
  zerrow init demo                           writes demo/, which `zerrow run demo` runs

The project has a Parquet source (20 MB, made up), models in Python and SQL, an expectation and a
test for pytest. No file that is there is touched.)";

constexpr std::string_view kEngineFooter = R"(Examples:
  zerrow engine start                        from now on zerrow run finds processes and memory warm
  zerrow engine status
  zerrow engine stop
  zerrow engine start --foreground           what a systemd unit or a container runs

It listens in $XDG_RUNTIME_DIR/zerrow, or /tmp/zerrow-UID where that isn't set. Settings, in
$XDG_CONFIG_HOME/zerrow/config.toml (else ~/.config): engine = "auto", "own" or "resident"; idle
memory goes back after rest_after_s (60) and zygotes_end_after_s (600) seconds without a run;
cache_size = "2GiB" is what decoded columns may take. memory_limit, eviction, spill_dir and
spill_limit are as the options of engine start, and hold for a command's own engine too.)";

constexpr std::string_view kCacheFooter = R"(Examples:
  zerrow cache ls                            decoded columns by file and row group
  zerrow cache ls -O json | jq '[.entries[].saved_s] | add'
  zerrow cache clear

A column of a file's row group is decoded once for all runs of an engine. It is kept until the file
changes, the room (--cache-size) is needed for what is worth more, or the engine has been idle for
zygotes_end_after_s. Without a resident engine each command has a cache for its own run.)";

constexpr std::string_view kEnvFooter = R"(Examples:
  zerrow env ls                              which packages they have, and what they take
  zerrow env ls -O json | jq '[.environments[].bytes] | add'
  zerrow env clear                           those that no run is using

A model with packages of its own, @zerrow.python(pip={...}), runs in an environment of these. It is
made when a run needs it first, and kept in zerrow/environments in $XDG_CACHE_HOME or ~/.cache. From
where uv installs it, uv's own settings say.)";

/// What options are parsed into before it becomes Arguments.
struct Raw {
  Arguments arguments;
  std::vector<std::string> parameters;
  std::string backend = "auto";
  std::string format = "text";
  std::string output_dir;
  std::string inline_model;
  std::vector<std::string> shown;
  int64_t shown_rows = kShownRows;
  std::string engine;
};

std::string CheckParameter(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals != std::string::npos && equals > 0) return "";
  return "'" + text + "' isn't NAME=VALUE";
}

// Repeating an option adds to it; it never swallows what follows.
CLI::Option* Repeatable(CLI::Option* option) {
  return option->allow_extra_args(false)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

// Says what would be right, where CLI11 says that it couldn't convert.
auto WholeFrom(int64_t least, int64_t most) {
  return [least, most](const std::string& text) -> std::string {
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && end == text.data() + text.size() && number >= least &&
        number <= most) {
      return "";
    }
    return "must be a whole number from " + std::to_string(least) + " to " + std::to_string(most) +
           ", not '" + text + "'";
  };
}

void AddEngineChoice(CLI::App* app, Raw* raw) {
  app->add_option("--engine", raw->engine,
                  "Which engine does it: own, resident (see zerrow engine), or auto (default): the "
                  "resident one if it runs")
      ->option_text("ENGINE")
      ->check(CLI::IsMember({"auto", "own", "resident"}));
}

void AddSize(CLI::App* app, const std::string& name, std::optional<int64_t>* bytes,
             const std::string& description,
             arrow::Result<int64_t> (*parse)(std::string_view) = base::ParseBytes,
             int64_t least_bytes = 1) {
  const auto set = [=](const std::string& text) {
    const auto parsed = parse(text);
    if (!parsed.ok()) throw CLI::ValidationError(name, parsed.status().message());
    if (*parsed < least_bytes) throw CLI::ValidationError(name, "must be at least one byte");
    *bytes = *parsed;
  };
  app->add_option_function<std::string>(name, set, description)->option_text("SIZE");
}

// Of an engine, be it resident or a command's own.
void AddEviction(CLI::App* app, Raw* raw) {
  app->add_option_function<std::string>(
         "--eviction",
         [raw](const std::string& name) { raw->arguments.eviction = ParseEvictionPolicy(name); },
         "What is done with tables when memory is short: adaptive (default), swap (write them to "
         "disk), rollback (make them again), none")
      ->option_text("POLICY")
      ->check(CLI::IsMember({"adaptive", "swap", "rollback", "none"}));
  app->add_option_function<std::string>(
         "--spill-dir", [raw](const std::string& path) { raw->arguments.spill_dir = path; },
         "Where swap writes (default: zerrow/spill in $XDG_CACHE_HOME or ~/.cache); not in memory")
      ->option_text("DIR");
  AddSize(app, "--spill-limit", &raw->arguments.spill_limit_bytes,
          "How much may lie there at once (default: what the disk has free)");
}

void AddCacheSize(CLI::App* app, Raw* raw, const char* description) {
  AddSize(app, "--cache-size", &raw->arguments.cache_bytes, description, base::ParseBytes, 0);
}

void AddFormat(CLI::App* app, Raw* raw) {
  app->add_option("-O,--format", raw->format, "How to print the result: text (default) or json")
      ->option_text("FORMAT")
      ->check(CLI::IsMember({"text", "json"}));
}

void AddProject(CLI::App* app, Raw* raw) {
  RunOptions& run = raw->arguments.run;
  app->add_option("-p,--project", run.project_dir,
                  "Folder with zerrow_project.yml (default: this one, or the nearest above it)")
      ->option_text("DIR");
  Repeatable(app->add_option("-a,--param,--arg", raw->parameters,
                             "Set a parameter of the project; may be repeated"))
      ->option_text("NAME=VALUE")
      ->check(CheckParameter);
}

// Instead of --project.
void AddFolder(CLI::App* app, Raw* raw) {
  app->add_option("DIR", raw->arguments.run.project_dir, "The project's folder, as with --project")
      ->option_text(" ")
      ->excludes(app->get_option("--project"));
}

void AddExecution(CLI::App* app, Raw* raw) {
  RunOptions& run = raw->arguments.run;
  app->add_option("-j,--jobs", run.jobs, "Functions at once (default: the number of cores)")
      ->option_text("N")
      ->check(WholeFrom(1, engine::kMaxJobs));
  app->add_option("--backend", raw->backend,
                  "How tables are handed over: auto (default), kernelzero, memfd, copy or "
                  "full-copy; see zerrow info")
      ->option_text("BACKEND")
      ->check(CLI::IsMember({"auto", "kernelzero", "memfd", "copy", "full-copy"}));
  app->add_flag(
      "--account", run.account,
      "Find bytes that a library copied without changing them (duplicate bytes), and report\n"
      "with -O json where the time of each handover went; slower. With the backend\n"
      "kernelzero also what the kernel module has moved meanwhile, and copied and why");
  app->add_flag_callback(
      "--no-cache", [&run] { run.cache = false; },
      "Decode every column anew, and keep none for other runs");
  AddCacheSize(
      app, raw,
      "What an engine of the command's own keeps of decoded columns, such as 2GiB (default: "
      "a quarter of the memory); the resident one has its own");
  AddSize(app, "--memory-limit", &run.memory_limit_bytes,
          "What the run may use of memory, such as 1GB or 512MiB, or none (default: memory_limit "
          "in zerrow_project.yml; also the engine's limit, see zerrow info)",
          ParseMemoryLimit);
  AddEviction(app, raw);
  app->add_option("--priority", run.priority,
                  "Among the runs of a resident engine those of a higher one go first (default: 0)")
      ->option_text("N")
      ->check(WholeFrom(-engine::kMaxPriority, engine::kMaxPriority));
  app->add_flag("--explain-memory", run.explain_memory,
                "Say what was decided about memory, when, and why");
  app->add_flag_callback(
      "--no-content-reshare", [&run] { run.content_reshare = false; },
      "Store again what a library copied without changing it, instead of finding it by content");
  AddEngineChoice(app, raw);
  app->add_flag("-v,--verbose", raw->arguments.verbose,
                "Print of each model where its bytes are, CPU time and memory, too");
}

void AddRun(CLI::App* app, Raw* raw) {
  CLI::App* run = app->add_subcommand("run", "Run a project's pipeline");
  RunOptions& options = raw->arguments.run;
  AddProject(run, raw);
  AddFolder(run, raw);
  AddSelection(run, &options);
  run->add_option("--preview", options.preview_rows, "Print N rows of each final model")
      ->option_text("N")
      ->check(WholeFrom(0, kMaxShownRows));
  run->add_option("--output", raw->output_dir, "Write the final models there, as MODEL.parquet")
      ->option_text("DIR");
  CLI::Option* strict =
      run->add_flag("--strict", options.strict,
                    "An expectation that isn't met fails the run; --output writes nothing then");
  run->add_flag("--no-strict")->description("It is a warning (default)")->excludes(strict);
  run->add_option("--inline", raw->inline_model,
                  "Run this model's function in this terminal, where breakpoint() works, and what "
                  "it needs as usual")
      ->option_text("MODEL");
  AddFormat(run, raw);
  AddExecution(run, raw);
  run->footer(std::string(kRunFooter).append(kSelectors));
  run->callback([raw] { raw->arguments.command = Command::kRun; });
}

void AddShow(CLI::App* app, Raw* raw) {
  CLI::App* show = app->add_subcommand(
      "show", "Run a model and what it needs; print its rows, or whether an expectation is met");
  show->add_option("MODEL", raw->shown, "Which to look at: models, or selectors as of --select")
      ->option_text(" ");
  show->add_option("--preview", raw->shown_rows, "How many rows (default: 10)")
      ->option_text("N")
      ->check(WholeFrom(0, kMaxShownRows));
  AddProject(show, raw);
  AddSelection(show, &raw->arguments.run);
  AddFormat(show, raw);
  AddExecution(show, raw);
  show->footer(std::string(kShowFooter).append(kSelectors));
  show->callback([raw] {
    raw->arguments.command = Command::kShow;
    if (raw->shown.empty() && raw->arguments.run.select.empty()) {
      throw CLI::RequiredError("MODEL or --select");
    }
  });
}

void AddQuery(CLI::App* app, Raw* raw) {
  CLI::App* query =
      app->add_subcommand("query", "Run a SQL query over the project's sources and models");
  AddQueryOptions(query, &raw->arguments.query);
  AddProject(query, raw);
  AddExecution(query, raw);
  query->callback([raw] {
    raw->arguments.command = Command::kQuery;
    CheckQueryOptions(&raw->arguments.query);
  });
}

void AddEngine(CLI::App* app, Raw* raw) {
  CLI::App* engine = app->add_subcommand(
      "engine", "Start, stop or look at the resident engine, which keeps what runs share");
  engine->require_subcommand(1);
  engine->footer(std::string(kEngineFooter));
  CLI::App* start = engine->add_subcommand("start", "Start it, in the background");
  start->add_flag("--foreground", raw->arguments.foreground,
                  "Stay here until it is stopped: for systemd, containers");
  AddCacheSize(
      start, raw,
      "How many bytes of decoded columns it keeps, such as 2GiB (default: a quarter of the "
      "memory, or the setting cache_size)");
  AddSize(start, "--memory-limit", &raw->arguments.memory_limit_bytes,
          "What it may use of memory with all that it starts, such as 8GB, or none (default: see "
          "zerrow info, or the setting memory_limit)",
          ParseMemoryLimit);
  AddEviction(start, raw);
  AddFormat(start, raw);
  start->callback([raw] { raw->arguments.command = Command::kEngineStart; });
  CLI::App* stop = engine->add_subcommand("stop", "Stop it; runs that are under way are cancelled");
  AddFormat(stop, raw);
  stop->callback([raw] { raw->arguments.command = Command::kEngineStop; });
  CLI::App* status = engine->add_subcommand("status", "Its runs, processes and memory");
  AddFormat(status, raw);
  status->callback([raw] { raw->arguments.command = Command::kEngineStatus; });
  for (CLI::App* command : engine->get_subcommands({})) command->group("Commands");
}

void AddCache(CLI::App* app, Raw* raw) {
  CLI::App* cache = app->add_subcommand(
      "cache", "Look at or empty the resident engine's cache of decoded Parquet columns");
  cache->require_subcommand(1);
  cache->footer(std::string(kCacheFooter));
  CLI::App* list = cache->add_subcommand("ls", "What it keeps, and what that has saved");
  AddFormat(list, raw);
  list->callback([raw] { raw->arguments.command = Command::kCacheList; });
  CLI::App* clear = cache->add_subcommand("clear", "Empty it; what runs use they keep");
  AddFormat(clear, raw);
  clear->callback([raw] { raw->arguments.command = Command::kCacheClear; });
  for (CLI::App* command : cache->get_subcommands({})) command->group("Commands");
}

void AddEnv(CLI::App* app, Raw* raw) {
  CLI::App* env = app->add_subcommand(
      "env", "Look at or remove the environments of models that have packages of their own");
  env->require_subcommand(1);
  env->footer(std::string(kEnvFooter));
  CLI::App* list = env->add_subcommand("ls", "Which there are");
  AddFormat(list, raw);
  list->callback([raw] { raw->arguments.command = Command::kEnvList; });
  CLI::App* clear = env->add_subcommand("clear", "Remove all but those that runs are using");
  AddFormat(clear, raw);
  clear->callback([raw] { raw->arguments.command = Command::kEnvClear; });
  for (CLI::App* command : env->get_subcommands({})) command->group("Commands");
}

void AddSimulate(CLI::App* app, Raw* raw) {
  CLI::App* simulate = app->add_subcommand(
      "simulate", "Tell what a memory limit would mean for a trace or a project");
  SimulateOptions& options = raw->arguments.simulate;
  AddSimulateOptions(simulate, &options);
  simulate->add_option("--slots", options.slots, "Tasks at once (default: the number of cores)")
      ->option_text("N")
      ->check(WholeFrom(1, engine::kMaxJobs));
  Repeatable(simulate->add_option("--param", raw->parameters,
                                  "Set a parameter of the project; may be repeated"))
      ->option_text("NAME=VALUE")
      ->check(CheckParameter);
  AddFormat(simulate, raw);
  simulate->callback([raw] { raw->arguments.command = Command::kSimulate; });
}

void AddOthers(CLI::App* app, Raw* raw) {
  CLI::App* explain =
      app->add_subcommand("explain", "Print the pipeline: order, columns and filters read");
  AddProject(explain, raw);
  AddFolder(explain, raw);
  AddSelection(explain, &raw->arguments.run);
  AddEngineChoice(explain, raw);
  AddFormat(explain, raw);
  explain->footer(std::string(kExplainFooter).append(kSelectors));
  explain->callback([raw] { raw->arguments.command = Command::kExplain; });

  CLI::App* init = app->add_subcommand("init", "Write a small project that runs");
  init->add_option("DIR", raw->arguments.new_project_dir, "Where; made if it isn't there")
      ->required()
      ->option_text(" ");
  init->footer(std::string(kInitFooter));
  init->callback([raw] { raw->arguments.command = Command::kInit; });

  CLI::App* info = app->add_subcommand("info", "What this machine offers: backends, isolation");
  AddFormat(info, raw);
  info->callback([raw] { raw->arguments.command = Command::kInfo; });

  CLI::App* version = app->add_subcommand("version", "Print the version");
  AddFormat(version, raw);
  version->callback([raw] { raw->arguments.command = Command::kVersion; });
}

// An option whose value is empty, as `--output "$UNSET"`, isn't as good as none.
void RefuseEmptyValues(CLI::App* app) {
  for (CLI::Option* option : app->get_options()) {
    if (option->get_items_expected_max() == 0) continue;  // a flag
    const bool required = option->get_required();
    option->check([required](const std::string& text) -> std::string {
      if (!text.empty()) return "";
      return required ? "is empty: give it a value" : "is empty: give it a value, or leave it out";
    });
  }
  for (CLI::App* command : app->get_subcommands({})) RefuseEmptyValues(command);
}

Arguments Finish(Raw raw) {
  Arguments arguments = std::move(raw.arguments);
  RunOptions& run = arguments.run;
  for (const std::string& text : raw.parameters) {
    const size_t equals = text.find('=');
    run.parameters[text.substr(0, equals)] = text.substr(equals + 1);
  }
  run.backend = ParseBackend(raw.backend).value_or(BackendKind::kAuto);  // checked above
  if (!raw.engine.empty()) arguments.engine = ParseEngineChoice(raw.engine);
  if (raw.format == "json") arguments.format = OutputFormat::kJson;
  if (!raw.output_dir.empty()) run.output_dir = raw.output_dir;
  if (!raw.inline_model.empty()) {
    run.inline_model = raw.inline_model;
    if (run.select.empty()) run.select = {raw.inline_model};
    // Where the function prints; that the document is alone there.
    if (arguments.format == OutputFormat::kJson) run.inline_stdout = 2;
  }
  if (arguments.command == Command::kShow) {
    run.select.insert(run.select.end(), raw.shown.begin(), raw.shown.end());
    run.preview_rows = raw.shown_rows;
  }
  return arguments;
}

}  // namespace

arrow::Result<int64_t> ParseMemoryLimit(std::string_view text) {
  return text == "none" ? resource::Budget::kUnlimited : base::ParseBytes(text);
}

std::optional<EngineChoice> ParseEngineChoice(std::string_view name) {
  if (name == "auto") return EngineChoice::kAuto;
  if (name == "own") return EngineChoice::kOwn;
  if (name == "resident") return EngineChoice::kResident;
  return std::nullopt;
}

std::variant<Arguments, Message> ParseArguments(int argc, const char* const* argv) {
  Raw raw;
  CLI::App app("Data pipelines of isolated functions that hand Arrow tables over without copying.",
               "zerrow");
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_version_flag("--version", VersionLine());
  app.require_subcommand(1);
  app.failure_message(UsageError);
  AddRun(&app, &raw);
  AddShow(&app, &raw);
  AddQuery(&app, &raw);
  AddEngine(&app, &raw);
  AddCache(&app, &raw);
  AddEnv(&app, &raw);
  AddSimulate(&app, &raw);
  AddOthers(&app, &raw);
  for (CLI::App* command : app.get_subcommands({})) command->group("Commands");
  app.footer(std::string(kMainFooter));
  RefuseEmptyValues(&app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    const int code = app.exit(error, out, err);
    return Message{out.str() + err.str(), code == 0 ? kExitSuccess : kExitUsage};
  }
  return Finish(std::move(raw));
}

}  // namespace zerrow::cli
