// `zerrow._engine`: the engine inside a Python process, for zerrow.run().
//
// A module of its own, so that workers don't load the engine. The GIL is released whenever the
// engine is asked for something, and the engine's thread never needs it: news of a run are taken by
// the thread that waits for it. Of a forked process the engine isn't a part: there its objects
// refuse to work, and are never destroyed.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/result_table.h"
#include "engine/run_queue.h"
#include "errors.h"

namespace nb = nanobind;

namespace zerrow::python {

namespace {

using engine::Engine;
using engine::ResultTable;
using engine::RunQueue;
using engine::RunSpec;

// Shared by the runs that it does, so that none ends because nobody keeps the engine any more.
class HostedEngine {
 public:
  static std::shared_ptr<HostedEngine> Make(engine::EngineOptions options) {
    auto made = [&] {
      nb::gil_scoped_release released;
      return Engine::Make(std::move(options));
    }();
    return std::make_shared<HostedEngine>(ValueOrThrow(std::move(made)));
  }
  explicit HostedEngine(std::shared_ptr<Engine> engine) : engine_(std::move(engine)) {}
  HostedEngine(const HostedEngine&) = delete;
  HostedEngine& operator=(const HostedEngine&) = delete;
  ~HostedEngine() {
    if (here()) {
      Stop();
    } else {
      new (std::nothrow)
          std::shared_ptr<Engine>(std::move(engine_));  // its threads aren't in this process
    }
  }

  bool here() const { return ::getpid() == owner_; }

  // Null once it was stopped.
  std::shared_ptr<Engine> Find() const {
    const std::lock_guard lock(mutex_);
    return engine_;
  }

  // Cancels its runs and waits until none of its processes is left.
  void Stop() {
    if (!here()) return;
    nb::gil_scoped_release released;
    std::shared_ptr<Engine> stopping;
    const std::lock_guard lock(mutex_);
    stopping.swap(engine_);
  }

 private:
  const pid_t owner_ = ::getpid();
  mutable std::mutex mutex_;  // of engine_; not taken in a forked process
  std::shared_ptr<Engine> engine_;
};

// One run, for the thread that waits for it. Ends with its object.
class HostedRun {
 public:
  static std::unique_ptr<HostedRun> Submit(std::shared_ptr<HostedEngine> host, RunSpec spec) {
    if (!host->here()) ThrowNotOk(ElsewhereError());
    auto run = [&]() -> arrow::Result<std::unique_ptr<HostedRun>> {
      nb::gil_scoped_release released;
      const auto engine = host->Find();
      if (engine == nullptr) return arrow::Status::IOError("the engine was stopped");
      ARROW_ASSIGN_OR_RAISE(auto queue, RunQueue::Make());
      const auto id = engine->Submit(std::move(spec), RunQueue::Sink(queue));
      queue->OnRoom([host, id] {
        if (const auto living = host->Find()) living->Resume(id);
      });
      return std::make_unique<HostedRun>(host, std::move(queue), id);
    }();
    return ValueOrThrow(std::move(run));
  }
  HostedRun(std::shared_ptr<HostedEngine> host, std::shared_ptr<RunQueue> queue, resource::RunId id)
      : host_(std::move(host)), queue_(std::move(queue)), id_(id) {}
  HostedRun(const HostedRun&) = delete;
  HostedRun& operator=(const HostedRun&) = delete;
  ~HostedRun() {
    if (host_->here()) {
      queue_->OnRoom(nullptr);  // which holds the engine
      Cancel();
    } else {
      new (std::nothrow)
          std::shared_ptr<RunQueue>(std::move(queue_));  // its lock may be held for ever here
    }
  }

  bool ended() const { return done_ != nullptr || !host_->here(); }

  void Cancel() const {
    if (ended()) return;
    nb::gil_scoped_release released;
    if (const auto engine = host_->Find()) engine->Cancel(id_);
  }

  // The next line that a function printed, as (model, stream, bytes); None if there is none for
  // that long, or no more.
  nb::object Wait(double patience_s) {
    if (ended()) return nb::none();
    auto item = [&] {
      nb::gil_scoped_release released;
      const std::chrono::duration<double> patience(patience_s);
      return queue_->Take(std::chrono::ceil<std::chrono::milliseconds>(patience));
    }();
    if (!item) return nb::none();
    if (auto* done = std::get_if<RunQueue::Done>(&*item)) {
      done_ = std::make_unique<RunQueue::Done>(std::move(*done));
      return nb::none();
    }
    const auto* line = std::get_if<engine::OutputLine>(&std::get<engine::RunEvent>(*item));
    if (line == nullptr) return nb::none();
    return nb::make_tuple(line->model, line->stream,
                          nb::bytes(line->line.data(), line->line.size()));
  }

  // What it left, once it has ended; once.
  engine::RunResult TakeResult() {
    if (!host_->here()) ThrowNotOk(ElsewhereError());
    if (done_ == nullptr) ThrowNotOk(arrow::Status::IOError("the run hasn't ended"));
    return ValueOrThrow(std::move(*done_));
  }

 private:
  static arrow::Status ElsewhereError() {
    return arrow::Status::IOError(
        "the engine belongs to the process that this one was forked from");
  }

  const std::shared_ptr<HostedEngine> host_;
  std::shared_ptr<RunQueue> queue_;
  const resource::RunId id_;
  std::unique_ptr<RunQueue::Done> done_;  // null: it hasn't ended
};

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

nb::tuple TakeResult(HostedRun& run) {
  engine::RunResult result = run.TakeResult();
  nb::dict tables;
  for (auto& [name, table] : result.tables) {
    tables[nb::str(name.c_str())] = nb::cast(TableHandle{std::move(table)});
  }
  return nb::make_tuple(
      result.report.ToJson().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
      tables);
}

void BindEngine(nb::module_& module) {
  nb::class_<HostedEngine>(module, "Engine", "An engine of this process, with its own thread.")
      .def_static(
          "make",
          [](const std::string& python, const std::string& shim_path, double zygote_idle_s) {
            engine::EngineOptions options;
            options.python = python;
            options.shim_path = shim_path;
            options.zygote_idle = std::chrono::ceil<std::chrono::milliseconds>(
                std::chrono::duration<double>(zygote_idle_s));
            return HostedEngine::Make(std::move(options));
          },
          nb::kw_only(), nb::arg("python"), nb::arg("shim_path"), nb::arg("zygote_idle_s"))
      .def(
          "submit",
          [](const std::shared_ptr<HostedEngine>& host, std::vector<std::string> python_path,
             const nb::dict& environment, int umask, const nb::bytes& project_dir,
             std::map<std::string, std::string> parameters, std::vector<std::string> select,
             int jobs, const std::string& backend, bool strict, bool account,
             const std::optional<nb::bytes>& output_dir, std::vector<std::string> keep) {
            RunSpec spec;
            auto& surroundings = spec.surroundings.emplace();
            surroundings.python_path = std::move(python_path);
            surroundings.attributes.umask = umask;
            surroundings.environment.emplace();
            for (const auto& [name, value] : environment) {
              surroundings.environment->emplace(Text(name), Text(value));
            }
            RunOptions& options = spec.options;
            options.project_dir = Text(project_dir);
            options.parameters = std::move(parameters);
            options.select = std::move(select);
            options.jobs = jobs;
            const auto kind = ParseBackend(backend);
            if (!kind) ThrowNotOk(arrow::Status::Invalid("there is no backend '", backend, "'"));
            options.backend = *kind;
            options.strict = strict;
            options.account = account;
            if (output_dir) options.output_dir = Text(*output_dir);
            options.keep = std::move(keep);
            return HostedRun::Submit(host, std::move(spec));
          },
          nb::kw_only(), nb::arg("python_path"), nb::arg("environment"), nb::arg("umask"),
          nb::arg("project_dir"), nb::arg("parameters"), nb::arg("select"), nb::arg("jobs"),
          nb::arg("backend"), nb::arg("strict"), nb::arg("account"), nb::arg("output_dir").none(),
          nb::arg("keep"),
          "Begins a run. Raises pyarrow's exceptions for the engine's own failures.")
      .def("stop", &HostedEngine::Stop,
           "Cancels all runs and ends all processes. Tables that are held stay valid.");
}

}  // namespace

NB_MODULE(_engine, module) {
  module.doc() = "The engine inside a Python process.";
  if (arrow::py::import_pyarrow() != 0) throw nb::python_error();

  nb::class_<TableHandle>(module, "TableHandle", "Holds a published table.").def("open", &Open);

  nb::class_<HostedRun>(module, "Run", "A run that was begun.")
      .def_prop_ro("ended", &HostedRun::ended)
      .def("wait", &HostedRun::Wait, nb::arg("patience_s"),
           "(model, stream, line), the next that a function printed; None: nothing for that long.")
      .def("cancel", &HostedRun::Cancel)
      .def("take_result", &TakeResult,
           "(report as JSON text, {model: TableHandle}) of a run that has ended, once; raises "
           "pyarrow's exceptions for the engine's own failures.");

  BindEngine(module);
}

}  // namespace zerrow::python
