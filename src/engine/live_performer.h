// Performs the Core's decisions with processes, files and shared memory.
//
// On the loop's thread; checking and trimming outputs and reading large answers happens on its
// other threads. Whatever way it ends, its destructor ends all processes and gives back
// their memory; if the engine is killed the kernel does.
#pragma once

#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/dispatcher.h"
#include "engine/event_loop.h"
#include "engine/oom_kills.h"
#include "engine/performer.h"
#include "engine/scans.h"
#include "engine/zygotes.h"
#include "sandbox/memory_sampler.h"
#include "shm/segment_store.h"

namespace zerrow::engine {

class LivePerformer final : public Performer {
 public:
  struct Options {
    std::chrono::milliseconds idle{};  // Zygotes::Options
    std::function<resource::Time()> now;
    /// Null: there is no such backend here.
    std::function<Backend*(BackendKind)> backend;
    decache::Cache::Limits cache;
    resource::Budget budget;  // the engine's: a hard limit where that is possible
    /// Shared memory that is no table's: kept for the next worker, or being read back.
    std::function<int64_t()> spare_bytes;
    /// Nobody holds the segment any more.
    std::function<void(SegmentId)> on_free;
    /// Cancels what its user has cancelled by now: a terminal's Ctrl-C also reaches a zygote that
    /// hasn't left the terminal's session yet, and that is then no failure.
    std::function<void()> check_cancelled;
  };
  /// `loop` and `store` outlive it.
  LivePerformer(EventLoop& loop, shm::SegmentStore& store, Options options);
  ~LivePerformer() override;

  /// Before anything else; it outlives the last call of the loop.
  void Attach(Dispatcher& dispatcher) { dispatcher_ = &dispatcher; }

  void Start(resource::TaskId task, int attempt, const Run& run) override;
  void Stop(resource::TaskId task, int attempt) override;
  void Free(SegmentId segment) override;
  void Shrink(SegmentId segment, std::vector<ByteRange> used) override;
  std::shared_ptr<const ResultTable> Hand(const TablePtr& table,
                                          std::function<void()> on_drop) override;
  void Pause(resource::RunId run, bool paused) override;
  RunUse EndRun(resource::RunId run) override;

  /// What an attempt has of memory besides its inputs: private heaps of its processes, what it has
  /// been granted and hasn't published, columns that were decoded for it.
  struct Measured {
    resource::TaskId task;
    int attempt = 1;
    int64_t bytes = 0;
  };
  /// Of those for which that has changed since the last call.
  std::vector<Measured> MeasureAttempts();
  /// What the sampler counts in each of several processes though they share it.
  int64_t CountedTwiceBytes() const;
  /// The attempt's processes don't go on, or do again.
  void Freeze(resource::TaskId task, int attempt, bool frozen);

  /// Ends what hangs, samples memory: every few milliseconds while there are runs.
  void OnTime();
  const Zygotes& zygotes() const { return zygotes_; }
  Zygotes& zygotes() { return zygotes_; }
  Scans& scans() { return scans_; }
  const Scans& scans() const { return scans_; }
  const sandbox::MemorySampler& sampler() const { return sampler_; }
  std::vector<pid_t> WorkerPids() const;
  /// Shared memory of tables, and of those that are being made.
  int64_t TableBytes() const;

 private:
  /// An attempt's process, from start until its output is published and it is gone.
  struct Attempt {
    int number = 1;
    RunTask::Kind kind = RunTask::Kind::kNode;
    bool has_table = false;
    bool scanning = false;  // its table comes from `scans_`
    std::shared_ptr<Grant> grant;
    Segments inputs;
    WorkerPool* pool = nullptr;
    std::optional<WorkerId> worker;  // nullopt: it is gone
    pid_t pid = 0;
    // Once it has left, its output may be published before it is gone.
    std::optional<Answer> answer;  // unless it is being published
    bool publishing = false;       // on another thread
    TablePtr published;
    std::optional<Outcome> ended;  // it is gone, and that is known of it
    bool zygote_lost = false;      // or what it was forked from
    bool broken = false;           // its end wasn't its own: WorkerEnd::error
    std::string starved;           // why it couldn't get on for want of memory, nor will again
    // When it began: how often memory had been short by then.
    int64_t times_full = 0;
    int64_t oom_kills = 0;

    std::string scratch;      // what is left of this folder is removed
    bool discarding = false;  // it was stopped, and what it was granted is given back
    bool frozen = false;
    int64_t inherited_bytes = 0;        // anonymous memory that it was forked with
    int64_t descendant_bytes = 0;       // of what it has started, when that was last looked at
    int64_t told_bytes = 0;             // Measured
    std::optional<int64_t> peak_bytes;  // of these, once it was
  };
  struct Publishing;
  /// What an active run has here.
  struct ActiveRun {
    ZygoteOptions zygote;
    Backend* backend = nullptr;
    const Run* run = nullptr;
    std::vector<base::UniqueFd> environments;  // held, so that nobody removes them
    int64_t peak_bytes = 0;
    bool paused = false;
    bool warned = false;   // that the shim isn't loaded
    bool planned = false;  // the next is known
    /// The kernel module's counters when it began, if they are to be reported.
    std::optional<std::map<std::string, int64_t>> kernelzero;
    std::array<size_t, 2> unstarted{};  // tasks: that don't need the project, and that do
  };

  ActiveRun& Activate(resource::RunId id, const Run& run);
  static ZygoteOptions ZygoteFor(resource::TaskId task, const ActiveRun& active);
  static std::optional<RunImport> ImportFor(resource::TaskId task, const Run& run);
  decltype(Outcome::what) HoldEnvironment(resource::RunId run, nlohmann::json value);
  static std::string ScratchFor(resource::TaskId task, int attempt, const Run& run);
  void RemoveScratch(const std::string& folder);
  void StartScan(resource::TaskId task, const Run& run);
  void LaunchOrFail(resource::TaskId task, const Scan* scan);
  arrow::Status Launch(resource::TaskId task, Attempt& attempt, ActiveRun& active,
                       const Scan* scan);
  void NoteForked(Attempt& attempt, pid_t pid);
  void Discard(resource::TaskId task, Attempt& attempt);
  int64_t PrivateBytes(Attempt& attempt, bool look_at_tree);
  WorkerHandlers HandlersFor(resource::TaskId task);
  void WarnWithoutShim(resource::TaskId task);
  void ForkAhead(resource::TaskId started, const Attempt& attempt, ActiveRun& active);
  void OnWorkerLeft(resource::TaskId task, base::Message message);
  void OnScanned(resource::TaskId task, arrow::Result<TablePtr> table);
  void OnTriedToPublish(resource::TaskId task, Publishing& job);
  void OnWorkerEnded(resource::TaskId task, WorkerEnd end);
  void Conclude(resource::TaskId task);
  void EndStarved();
  void NoteShortage(const Attempt& attempt, Failure& failure, Outcome& outcome) const;
  void OnDescribed(resource::TaskId task, Outcome outcome, nlohmann::json value);
  void OnOutput(resource::TaskId task, Outcome outcome, OutputAnswer output);
  arrow::Result<TablePtr> Store(arrow::Result<Publication> published);
  void Tell(resource::TaskId task, Outcome outcome);
  void TellLater(resource::TaskId task, Outcome outcome);

  EventLoop& loop_;
  shm::SegmentStore& store_;
  const Options options_;
  Dispatcher* dispatcher_ = nullptr;
  sandbox::MemorySampler sampler_;
  std::map<resource::RunId, ActiveRun> runs_;
  std::map<resource::TaskId, Attempt> attempts_;
  int samples_ = 0;
  std::optional<resource::Time> starved_since_;  // Zerrow itself needs all of the limit
  Scans scans_;
  Zygotes zygotes_;  // first to go: then nobody is left who could write to what was granted
};

}  // namespace zerrow::engine
