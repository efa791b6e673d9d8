// `zerrow._engine`: the engine inside a Python process, for zerrow.run().
//
// A module of its own, so that workers don't load the engine. The GIL is released whenever the
// engine is asked for something, and the engine's thread never needs it: news of a run are taken by
// the thread that waits for it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/last_run.h"
#include "engine/options.h"
#include "engine/result_table.h"
#include "errors.h"
#include "hosted_run.h"
#include "server/client.h"

namespace nb = nanobind;

namespace zerrow::python {

namespace {

using engine::ResultTable;

// Paths and what the environment holds needn't be text.
std::string Text(nb::handle bytes) {
  const auto held = nb::cast<nb::bytes>(bytes);
  return {held.c_str(), held.size()};
}

// Shared pointers to const aren't nanobind's: a handle of its own.
struct TableHandle {
  std::shared_ptr<const ResultTable> table;
};

nb::object Open(const TableHandle& handle) {
  auto opened = [&] {
    nb::gil_scoped_release released;
    return engine::OpenTable(handle.table);
  }();
  return WrapTable(ValueOrThrow(std::move(opened)));
}

std::string Dump(const nlohmann::json& document) {
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

nb::tuple TakeResult(HostedRun& run) {
  engine::RunResult result = run.TakeResult();
  {
    nb::gil_scoped_release released;
    // Where that isn't possible, state:failed says so.
    (void)engine::NoteLastRun(run.project_dir(), result.report);
  }
  nb::dict tables;
  for (auto& [name, table] : result.tables) {
    tables[nb::str(name.c_str())] = nb::cast(TableHandle{std::move(table)});
  }
  return nb::make_tuple(Dump(result.report.ToJson()), tables);
}

// What a run is asked to do, as Python says it.
struct Asked {
  RunOptions options;
  engine::Environment environment;
  std::vector<std::string> python_path;
};

Asked Ask(std::vector<std::string> python_path, const nb::dict& environment,
          const nb::bytes& project_dir, std::map<std::string, std::string> parameters,
          std::vector<std::string> select, std::vector<std::string> exclude, int jobs,
          const std::string& backend, bool strict, bool account, bool cache, bool content_reshare,
          std::optional<int64_t> memory_limit_bytes, int priority, bool explain_memory,
          const std::optional<nb::bytes>& output_dir, std::vector<std::string> keep) {
  Asked asked;
  asked.python_path = std::move(python_path);
  for (const auto& [name, value] : environment) asked.environment.emplace(Text(name), Text(value));
  RunOptions& options = asked.options;
  options.project_dir = Text(project_dir);
  options.parameters = std::move(parameters);
  options.select = std::move(select);
  options.exclude = std::move(exclude);
  options.jobs = jobs;
  const auto kind = ParseBackend(backend);
  if (!kind) ThrowNotOk(arrow::Status::Invalid("there is no backend '", backend, "'"));
  options.backend = *kind;
  options.strict = strict;
  options.account = account;
  options.cache = cache;
  options.content_reshare = content_reshare;
  options.memory_limit_bytes = memory_limit_bytes;
  options.priority = priority;
  options.explain_memory = explain_memory;
  if (output_dir) options.output_dir = Text(*output_dir);
  options.keep = std::move(keep);
  return asked;
}

// What a signal handler has raised meanwhile comes first: see UntilInterrupted.
template <typename T>
T ValueOrRaised(arrow::Result<T> result) {
  if (PyErr_Occurred() != nullptr) throw nb::python_error();
  return ValueOrThrow(std::move(result));
}

std::unique_ptr<HostedRun> Begin(arrow::Result<std::unique_ptr<RunSource>> source,
                                 std::string project_dir) {
  return std::make_unique<HostedRun>(ValueOrRaised(std::move(source)), std::move(project_dir));
}

std::unique_ptr<HostedRun> Submit(const std::shared_ptr<HostedEngine>& host, Asked asked,
                                  uint32_t umask) {
  const std::string project_dir = asked.options.project_dir;
  engine::RunSpec spec;
  spec.options = std::move(asked.options);
  auto& surroundings = spec.surroundings.emplace();
  surroundings.python_path = std::move(asked.python_path);
  surroundings.environment = std::move(asked.environment);
  surroundings.attributes.umask = umask;
  return Begin(
      [&] {
        nb::gil_scoped_release released;
        return SubmitHere(host, std::move(spec));
      }(),
      project_dir);
}

std::unique_ptr<HostedRun> SubmitElsewhere(Asked asked, std::string python) {
  const std::string project_dir = asked.options.project_dir;
  return Begin(
      [&]() -> arrow::Result<std::unique_ptr<RunSource>> {
        nb::gil_scoped_release released;
        server::Wanted wanted;
        ARROW_ASSIGN_OR_RAISE(wanted.options, engine::CompleteOptions(std::move(asked.options)));
        wanted.python = std::move(python);
        wanted.python_path = std::move(asked.python_path);
        wanted.environment = std::move(asked.environment);
        return SubmitToResident(wanted);
      }(),
      project_dir);
}

std::shared_ptr<HostedEngine> MakeEngine(const std::string& python, const std::string& shim_path,
                                         double zygote_idle_s) {
  engine::EngineOptions options;
  options.python = python;
  options.shim_path = shim_path;
  options.zygote_idle =
      std::chrono::ceil<std::chrono::milliseconds>(std::chrono::duration<double>(zygote_idle_s));
  auto made = [&] {
    nb::gil_scoped_release released;
    return engine::Engine::Make(std::move(options));
  }();
  return std::make_shared<HostedEngine>(ValueOrThrow(std::move(made)));
}

std::string ResidentStatus() {
  auto status = []() -> arrow::Result<nlohmann::json> {
    nb::gil_scoped_release released;
    ARROW_ASSIGN_OR_RAISE(auto connection, ConnectToResident());
    return connection->Status(UntilInterrupted());
  }();
  return Dump(ValueOrRaised(std::move(status)));
}

void BindEngine(nb::module_& module) {
  nb::class_<Asked>(module, "Asked", "What a run is asked to do.")
      .def(nb::new_(&Ask), nb::kw_only(), nb::arg("python_path"), nb::arg("environment"),
           nb::arg("project_dir"), nb::arg("parameters"), nb::arg("select"), nb::arg("exclude"),
           nb::arg("jobs"), nb::arg("backend"), nb::arg("strict"), nb::arg("account"),
           nb::arg("cache"), nb::arg("content_reshare"), nb::arg("memory_limit_bytes").none(),
           nb::arg("priority"), nb::arg("explain_memory"), nb::arg("output_dir").none(),
           nb::arg("keep"));
  nb::class_<HostedEngine>(module, "Engine", "An engine of this process, with its own thread.")
      .def_static("make", &MakeEngine, nb::kw_only(), nb::arg("python"), nb::arg("shim_path"),
                  nb::arg("zygote_idle_s"))
      .def("submit", &Submit, nb::arg("asked"), nb::kw_only(), nb::arg("umask"),
           "Begins a run. Raises pyarrow's exceptions for the engine's own failures.")
      .def("stop", &HostedEngine::Stop,
           "Cancels all runs and ends all processes. Tables that are held stay valid.");
  module.def("submit_to_resident", &SubmitElsewhere, nb::arg("asked"), nb::kw_only(),
             nb::arg("python"),
             "Has the user's resident engine do a run. Raises OSError if there is none.");
  module.def("resident_status", &ResidentStatus,
             "What `zerrow engine status -O json` prints. Raises OSError if there is none.");
}

}  // namespace

NB_MODULE(_engine, module) {
  module.doc() = "The engine inside a Python process.";
  module.attr("MAX_JOBS") = engine::kMaxJobs;
  module.attr("MAX_PRIORITY") = engine::kMaxPriority;
  if (arrow::py::import_pyarrow() != 0) throw nb::python_error();

  nb::class_<TableHandle>(module, "TableHandle", "Holds a published table.").def("open", &Open);

  nb::class_<HostedRun>(module, "Run", "A run that was begun.")
      .def_prop_ro("ended", &HostedRun::ended)
      .def("wait", &HostedRun::Wait, nb::arg("patience_s"),
           "The next thing that happened, as _engine.pyi has it; None: nothing for that long.")
      .def("cancel", &HostedRun::Cancel)
      .def("take_result", &TakeResult,
           "(report as JSON text, {model: TableHandle}) of a run that has ended, once; raises "
           "pyarrow's exceptions for the engine's own failures.");

  BindEngine(module);
}

}  // namespace zerrow::python
