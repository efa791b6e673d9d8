#include "hosted_run.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <new>
#include <string>

#include "errors.h"
#include "server/address.h"

namespace nb = nanobind;

namespace zerrow::python {

using engine::Engine;
using engine::RunQueue;
using std::chrono::milliseconds;

HostedEngine::~HostedEngine() {
  if (here()) {
    Stop();
  } else {
    // Its threads aren't in this process.
    new (std::nothrow) std::shared_ptr<Engine>(std::move(engine_));
  }
}

std::shared_ptr<Engine> HostedEngine::Find() const {
  const std::lock_guard lock(mutex_);
  return engine_;
}

void HostedEngine::Stop() {
  if (!here()) return;
  nb::gil_scoped_release released;
  std::shared_ptr<Engine> stopping;
  const std::lock_guard lock(mutex_);
  stopping.swap(engine_);
}

namespace {

class OwnRun final : public RunSource {
 public:
  OwnRun(std::shared_ptr<HostedEngine> host, std::shared_ptr<RunQueue> queue, resource::RunId id)
      : host_(std::move(host)), queue_(std::move(queue)), id_(id) {}
  ~OwnRun() override { queue_->OnRoom(nullptr); }  // which holds the engine

  std::optional<RunQueue::Item> Take(milliseconds patience) override {
    return queue_->Take(patience);
  }
  void Cancel() override {
    if (const auto engine = host_->Find()) engine->Cancel(id_);
  }

 private:
  const std::shared_ptr<HostedEngine> host_;
  const std::shared_ptr<RunQueue> queue_;
  const resource::RunId id_;
};

class ResidentRun final : public RunSource {
 public:
  explicit ResidentRun(std::shared_ptr<server::Connection> connection)
      : connection_(std::move(connection)) {}

  std::optional<RunQueue::Item> Take(milliseconds patience) override {
    return connection_->Take(patience);
  }
  void Cancel() override { connection_->Cancel(); }

 private:
  const std::shared_ptr<server::Connection> connection_;
};

}  // namespace

arrow::Result<std::unique_ptr<RunSource>> SubmitHere(const std::shared_ptr<HostedEngine>& host,
                                                     engine::RunSpec spec) {
  if (!host->here()) return ElsewhereError();
  const auto engine = host->Find();
  if (engine == nullptr) return arrow::Status::IOError("the engine was stopped");
  ARROW_ASSIGN_OR_RAISE(auto queue, RunQueue::Make());
  const auto id = engine->Submit(std::move(spec), RunQueue::Sink(queue));
  queue->OnRoom([host, id] {
    if (const auto living = host->Find()) living->Resume(id);
  });
  return std::make_unique<OwnRun>(host, std::move(queue), id);
}

namespace {

// Also while libraries make the kernel go on with what a signal has interrupted.
bool Interrupted() {
  const nb::gil_scoped_acquire held;
  return PyErr_CheckSignals() != 0;
}

arrow::Status Refused(const arrow::Status& why) {
  if (why.ok() || why.IsCancelled()) return why;
  return arrow::Status::IOError("the resident engine can't do this process's runs: ",
                                why.message());
}

}  // namespace

server::Patience UntilInterrupted() {
  return server::Patience(server::Patience::kDefault, Interrupted);
}

// pyarrow would make a KeyError of the engine that isn't there.
arrow::Result<std::shared_ptr<server::Connection>> ConnectToResident() {
  auto connection = server::Connection::ToEngine(ZERROW_VERSION, UntilInterrupted());
  if (connection.ok()) return connection;
  const arrow::Status& why = connection.status();
  return why.IsKeyError() ? arrow::Status::IOError(why.message()) : Refused(why);
}

arrow::Result<std::unique_ptr<RunSource>> SubmitToResident(const server::Wanted& wanted) {
  ARROW_ASSIGN_OR_RAISE(auto connection, ConnectToResident());
  ARROW_RETURN_NOT_OK(Refused(connection->Submit(wanted, UntilInterrupted())));
  return std::make_unique<ResidentRun>(std::move(connection));
}

HostedRun::~HostedRun() {
  if (here()) {
    Cancel();
    nb::gil_scoped_release released;
    source_.reset();
  } else {
    // Its locks may be held for ever here.
    new (std::nothrow) std::unique_ptr<RunSource>(std::move(source_));
  }
}

void HostedRun::Cancel() const {
  if (ended()) return;
  nb::gil_scoped_release released;
  source_->Cancel();
}

namespace {

// As _engine.pyi has it.
struct EventTuple {
  nb::object operator()(const engine::Planned& planned) const {
    nb::list models;
    for (const ModelReport& model : planned.models) models.append(model.name);
    return nb::make_tuple("planned", models);
  }
  nb::object operator()(const engine::ModelStarted& started) const {
    return nb::make_tuple("started", started.model, started.expected_s);
  }
  nb::object operator()(const engine::MemoryMeasured& measured) const {
    nb::dict bytes;
    for (const auto& model : measured.models) bytes[nb::str(model.model.c_str())] = model.bytes;
    return nb::make_tuple("measured", bytes);
  }
  nb::object operator()(const engine::ModelFinished& finished) const {
    return nb::make_tuple("finished", finished.report.name,
                          std::string(ToString(finished.report.status)));
  }
  nb::object operator()(const engine::OutputLine& line) const {
    return nb::make_tuple("line", line.model, line.stream,
                          nb::bytes(line.line.data(), line.line.size()));
  }
};

}  // namespace

nb::object HostedRun::Wait(double patience_s) {
  if (ended()) return nb::none();
  auto item = [&] {
    nb::gil_scoped_release released;
    const std::chrono::duration<double> patience(patience_s);
    return source_->Take(std::chrono::ceil<milliseconds>(patience));
  }();
  if (!item) return nb::none();
  if (auto* done = std::get_if<RunQueue::Done>(&*item)) {
    done_ = std::make_unique<RunQueue::Done>(std::move(*done));
    return nb::none();
  }
  return std::visit(EventTuple{}, std::get<engine::RunEvent>(*item));
}

engine::RunResult HostedRun::TakeResult() {
  if (!here()) ThrowNotOk(ElsewhereError());
  if (done_ == nullptr) ThrowNotOk(arrow::Status::IOError("the run hasn't ended"));
  return ValueOrThrow(std::move(*done_));
}

arrow::Status ElsewhereError() {
  return arrow::Status::IOError("the engine belongs to the process that this one was forked from");
}

}  // namespace zerrow::python
