// `zerrow._engine`: the engine inside a Python process, for zerrow.run().
//
// A module of its own, so that workers don't load the engine. The GIL is released for the whole
// run and taken for each line that a function prints; the run may be on any thread.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/result_table.h"
#include "errors.h"

namespace nb = nanobind;

namespace zerrow::python {

namespace {

using engine::CancelToken;
using engine::Engine;
using engine::ResultTable;

// What functions print, handed to a Python callable (model, stream, line).
class LineObserver : public RunObserver {
 public:
  explicit LineObserver(nb::object on_line) : on_line_(std::move(on_line)) {}

  void OnOutputLine(const std::string& model, int stream, std::string_view line) override {
    nb::gil_scoped_acquire locked;
    try {
      on_line_(model, stream, nb::bytes(line.data(), line.size()));
    } catch (nb::python_error& error) {
      error.discard_as_unraisable("zerrow.run: showing a line");
    }
  }

 private:
  nb::object on_line_;
};

std::optional<BackendKind> ParseBackend(const std::string& name) {
  for (const BackendKind kind : {BackendKind::kAuto, BackendKind::kKernelZero, BackendKind::kMemfd,
                                 BackendKind::kCopy, BackendKind::kFullCopy}) {
    if (name == ToString(kind)) return kind;
  }
  return std::nullopt;
}

struct Outcome {
  std::string report;  // JSON
  std::map<std::string, std::shared_ptr<const ResultTable>> tables;
};

Outcome Run(const engine::EngineOptions& engine_options, RunOptions options,
            const std::string& backend, const CancelToken& cancel, nb::object on_line) {
  const auto kind = ParseBackend(backend);
  if (!kind) ThrowNotOk(arrow::Status::Invalid("there is no backend '", backend, "'"));
  options.backend = *kind;
  LineObserver observer(std::move(on_line));
  auto result = [&]() -> arrow::Result<engine::RunResult> {
    nb::gil_scoped_release released;
    ARROW_ASSIGN_OR_RAISE(const auto engine, Engine::Make(engine_options));
    return engine->Run(options, observer, cancel);
  }();
  engine::RunResult run = ValueOrThrow(std::move(result));
  return {run.report.ToJson().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
          std::move(run.tables)};
}

nb::object Open(const std::shared_ptr<const ResultTable>& table) {
  auto opened = [&] {
    nb::gil_scoped_release released;
    return engine::OpenTable(table);
  }();
  return WrapTable(ValueOrThrow(std::move(opened)));
}

// Shared pointers to const aren't nanobind's: a handle of its own.
struct TableHandle {
  std::shared_ptr<const ResultTable> table;
};

}  // namespace

NB_MODULE(_engine, module) {
  module.doc() = "The engine inside a Python process.";
  if (arrow::py::import_pyarrow() != 0) throw nb::python_error();

  nb::class_<CancelToken>(module, "CancelToken", "Asks a running pipeline to stop.")
      .def_static("make", [] { return ValueOrThrow(CancelToken::Make()); })
      .def("cancel", &CancelToken::Cancel);

  nb::class_<TableHandle>(module, "TableHandle", "Holds a published table.")
      .def("open", [](const TableHandle& handle) { return Open(handle.table); });

  module.def(
      "run",
      [](const std::string& python, const std::string& shim_path,
         std::vector<std::string> python_path, const std::string& project_dir,
         std::map<std::string, std::string> parameters, std::vector<std::string> select, int jobs,
         const std::string& backend, bool strict, bool account,
         std::optional<std::string> output_dir, std::vector<std::string> keep,
         const CancelToken& cancel, nb::object on_line) {
        engine::EngineOptions engine_options;
        engine_options.python = python;
        engine_options.shim_path = shim_path;
        engine_options.python_path = std::move(python_path);
        RunOptions options;
        options.project_dir = project_dir;
        options.parameters = std::move(parameters);
        options.select = std::move(select);
        options.jobs = jobs;
        options.strict = strict;
        options.account = account;
        options.output_dir = std::move(output_dir);
        options.keep = std::move(keep);
        Outcome outcome =
            Run(engine_options, std::move(options), backend, cancel, std::move(on_line));
        nb::dict tables;
        for (auto& [name, table] : outcome.tables) {
          tables[nb::str(name.c_str())] = nb::cast(TableHandle{std::move(table)});
        }
        return nb::make_tuple(outcome.report, tables);
      },
      nb::kw_only(), nb::arg("python"), nb::arg("shim_path"), nb::arg("python_path"),
      nb::arg("project_dir"), nb::arg("parameters"), nb::arg("select"), nb::arg("jobs"),
      nb::arg("backend"), nb::arg("strict"), nb::arg("account"), nb::arg("output_dir").none(),
      nb::arg("keep"), nb::arg("cancel"), nb::arg("on_line"),
      "(report as JSON text, {model: TableHandle}); raises pyarrow's exceptions for the engine's "
      "own failures.");
}

}  // namespace zerrow::python
