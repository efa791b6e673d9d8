// A run as the Python thread that waits for it sees it, whichever engine does it.
//
// The GIL is released whenever an engine is asked for something. Of a forked process neither engine
// nor connection is a part: there these objects refuse to work, and what they hold is never
// destroyed.
#pragma once

#include <nanobind/nanobind.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "engine/engine.h"
#include "engine/run_queue.h"
#include "server/client.h"

namespace zerrow::python {

/// Shared by the runs that it does, so that none ends because nobody keeps the engine any more.
class HostedEngine {
 public:
  explicit HostedEngine(std::shared_ptr<engine::Engine> engine) : engine_(std::move(engine)) {}
  HostedEngine(const HostedEngine&) = delete;
  HostedEngine& operator=(const HostedEngine&) = delete;
  ~HostedEngine();

  bool here() const { return ::getpid() == owner_; }
  /// Null once it was stopped.
  std::shared_ptr<engine::Engine> Find() const;
  /// Cancels its runs and waits until none of its processes is left.
  void Stop();

 private:
  const pid_t owner_ = ::getpid();
  mutable std::mutex mutex_;  // of engine_; not taken in a forked process
  std::shared_ptr<engine::Engine> engine_;
};

/// Where a run's news come from. Called without the GIL.
class RunSource {
 public:
  virtual ~RunSource() = default;
  virtual std::optional<engine::RunQueue::Item> Take(std::chrono::milliseconds patience) = 0;
  virtual void Cancel() = 0;
};

/// Begins a run. Without the GIL.
arrow::Result<std::unique_ptr<RunSource>> SubmitHere(const std::shared_ptr<HostedEngine>& host,
                                                     engine::RunSpec spec);
/// That of a thread which may be Python's main one: a signal handler's exception ends it,
/// Cancelled, and is what Python raises then.
server::Patience UntilInterrupted();
/// The user's resident engine. IOError: there is none, or it can't do runs for this process.
/// Cancelled: see UntilInterrupted; so below.
arrow::Result<std::shared_ptr<server::Connection>> ConnectToResident();
/// Has it do a run. IOError: as before; Invalid.
arrow::Result<std::unique_ptr<RunSource>> SubmitToResident(const server::Wanted& wanted);

/// Ends with its object.
class HostedRun {
 public:
  HostedRun(std::unique_ptr<RunSource> source, std::string project_dir)
      : source_(std::move(source)), project_dir_(std::move(project_dir)) {}
  HostedRun(const HostedRun&) = delete;
  HostedRun& operator=(const HostedRun&) = delete;
  ~HostedRun();

  const std::string& project_dir() const { return project_dir_; }
  bool ended() const { return done_ != nullptr || !here(); }
  void Cancel() const;
  /// The next line that a function printed, as (model, stream, bytes); None if there is none for
  /// that long, or no more.
  nanobind::object Wait(double patience_s);
  /// What it left, once it has ended; once. Throws.
  engine::RunResult TakeResult();

 private:
  bool here() const { return ::getpid() == owner_; }

  const pid_t owner_ = ::getpid();
  std::unique_ptr<RunSource> source_;
  const std::string project_dir_;                 // as it was asked for
  std::unique_ptr<engine::RunQueue::Done> done_;  // null: it hasn't ended
};

/// An IOError for a process that was forked from the one that made the engine.
arrow::Status ElsewhereError();

}  // namespace zerrow::python
