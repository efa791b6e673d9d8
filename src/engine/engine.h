// The engine: runs pipelines, each function in a process of its own, any number of them at once.
//
// It lives as long as its owner wants and keeps between runs what is dear to make: processes that
// have imported libraries, and shared memory that is backed by pages. It has a thread of its own,
// on which everything happens; its methods may be called from any thread and don't wait for it
// unless they say so. All that it started is gone when its destructor returns, and dies with its
// process if that is killed; shared memory has no names, so nothing stays behind. Not to be used in
// a process that was forked from the one that made it.
#pragma once

#include <arrow/result.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/cancel_token.h"
#include "engine/run_sink.h"
#include "engine/surroundings.h"
#include "engine/worker_pool.h"
#include "resource/ledger.h"
#include "zerrow/run.h"

namespace zerrow::engine {

class RunQueue;

/// How much memory an engine may use with all that it starts, and what happens beyond.
struct MemoryOptions {
  /// DefaultMemoryLimit() if unset; resource::Budget::kUnlimited: none.
  std::optional<int64_t> limit_bytes;
  EvictionPolicy eviction = EvictionPolicy::kAdaptive;
  std::string spill_dir;                     // empty: DefaultSpillFolder(), if it can be used
  std::optional<int64_t> spill_limit_bytes;  // at once; unset: as the disk has room
};

/// The share of the machine's memory, or of what a cgroup leaves of it, that an engine takes unless
/// it is told otherwise.
int64_t DefaultMemoryLimit();
/// zerrow/spill in $XDG_CACHE_HOME or ~/.cache; empty: there is no home folder.
std::string DefaultSpillFolder();

struct EngineOptions {
  std::string python;     // interpreter of the workers; empty: $ZERROW_PYTHON, else python3
  std::string shim_path;  // libzerrow_shim.so; empty: the memfd backend isn't offered
  std::vector<std::string> python_path;  // put before the workers' PYTHONPATH
  int slots = 0;                         // functions at once, of all runs; 0: the number of cores
  std::optional<int64_t> cache_bytes;  // of decoded columns; a quarter of the memory limit if unset
  MemoryOptions memory;
  // After so long without a run all recycled pages and all zygotes but one are given back. Zero:
  // never.
  std::chrono::milliseconds rest_after{0};
  // After that a zygote that nobody needs is ended, and without a run the cache of decoded columns
  // is emptied. Zero: never.
  std::chrono::milliseconds zygote_idle{0};
};

/// What an engine does and holds at a moment.
struct EngineStatus {
  struct Zygote {
    pid_t pid = 0;
    std::string python;
    std::vector<std::string> libraries;
  };
  /// A table that a run goes on with, or its segments.
  struct Table {
    std::string run;
    std::string model;
    int64_t bytes = 0;
    int64_t disk_bytes = 0;  // of these: not in memory
  };
  struct Memory {
    std::optional<int64_t> limit_bytes;  // nullopt: none
    int64_t reserve_bytes = 0;           // of that: for Zerrow's own processes, and kept free
    int64_t used_bytes = 0;              // by all processes and tables
    int64_t charged_bytes = 0;           // of tables and functions
    int64_t committed_bytes = 0;         // and what these may come to need
    int64_t segment_bytes = 0;  // of charged_bytes: tables and cache, as the ledger has them
    int64_t backed_bytes = 0;   // memory that the kernel says is behind these now
    int64_t spilled_bytes = 0;  // of tables, on disk
    int64_t anon_bytes = 0;     // by the cgroup, where there is one, as the next
    int64_t shmem_bytes = 0;
    std::string method;  // how it is measured
    bool hard_limit = false;
    // Of the last ten seconds some process waited for memory so much of the time, from 0 to 1: of
    // this engine's where that can be told, or else of the machine's. Nullopt: the kernel doesn't
    // say.
    std::optional<double> stalled;
    EvictionPolicy eviction = EvictionPolicy::kAdaptive;
    std::string spill_dir;      // empty: nothing can be written to disk
    std::string history;        // why nothing is known of earlier runs; empty: all is well
    std::vector<Table> tables;  // the largest
    std::string waiting_model;  // that comes first and waits for memory; empty: none
    std::string waiting_reason;
  };
  double uptime_s = 0;
  Memory memory;
  std::vector<Zygote> zygotes;
  std::vector<pid_t> workers;
  int64_t table_bytes = 0;  // shared memory of tables, and of those that are being made
  int64_t pool_bytes = 0;   // shared memory that is kept for the next worker
  int64_t cache_bytes = 0;  // of table_bytes, what the cache of decoded columns keeps
};

/// A column of some row groups of a Parquet file that the engine's cache keeps decoded.
struct CachedColumn {
  std::string file;
  int row_group = 0;  // the first one
  int row_groups = 1;
  std::string column;
  int64_t bytes = 0;
  int64_t hits = 0;     // readers that were served without decoding
  double decode_s = 0;  // CPU time
  double saved_s = 0;   // decoding that they were spared
};

/// Whether this machine offers a backend; if not, why not.
struct BackendInfo {
  BackendKind kind = BackendKind::kCopy;
  bool available = false;
  std::string detail;  // what it is made of here, or the reason why it isn't there
};

/// What to run, and for whom.
struct RunSpec {
  RunOptions options;
  bool plan_only = false;                    // read and plan the project, run nothing
  std::optional<Surroundings> surroundings;  // nullopt: the engine's own
  std::optional<CancelToken> cancel;         // another way to Engine::Cancel, for signal handlers
};

class Engine {
 public:
  /// Invalid: an interpreter or shim that isn't there.
  static arrow::Result<std::unique_ptr<Engine>> Make(EngineOptions options);
  /// Cancels all runs and waits for their end.
  ~Engine();

  /// Begins a run; `sink` gets its news, and Done in any case. Looks at the project's folder, so
  /// it may wait for a disk. How long things may take says the run's environment:
  /// $ZERROW_START_TIMEOUT_S for importing libraries (60), $ZERROW_IMPORT_TIMEOUT_S for reading the
  /// project (60), $ZERROW_EXIT_TIMEOUT_S for a worker's end after its answer (10).
  resource::RunId Submit(RunSpec spec, std::unique_ptr<RunSink> sink);
  /// Stops a run; its sink's Done follows.
  void Cancel(resource::RunId run);
  /// The sink of the run takes lines again, after it had enough.
  void Resume(resource::RunId run);

  /// Submits a run, waits for its end and tells `observer` on this thread meanwhile. Errors of the
  /// project, failing functions and cancellation are in the report; a non-OK result is the engine's
  /// own: Invalid (options, a backend that isn't there), IOError (the zygote doesn't start, a
  /// system call).
  arrow::Result<RunResult> Run(const RunOptions& options, RunObserver& observer,
                               const CancelToken& cancel);
  /// Reads the project and plans it without running anything, and waits. Errors as Run.
  arrow::Result<Explanation> Explain(const RunOptions& options, const CancelToken& cancel);

  /// Each backend, the one that `auto` takes first. Tries what they need, which takes some
  /// milliseconds and a child process.
  std::vector<BackendInfo> DescribeBackends() const;
  /// Waits for the engine's thread, up to some seconds. IOError: it doesn't answer.
  arrow::Result<EngineStatus> Inspect() const;
  /// What the cache keeps, by file, row group and column. Waits and fails as Inspect.
  arrow::Result<std::vector<CachedColumn>> ListCache() const;
  /// Empties the cache; what runs use stays until they don't. How many bytes it had kept.
  arrow::Result<int64_t> ClearCache();
  /// Starts a zygote only to ask it, and waits. IOError if it doesn't start.
  arrow::Result<ZygoteInfo> Probe() const;

 private:
  class Loop;
  arrow::Result<RunResult> Wait(resource::RunId run, RunQueue& queue, RunObserver& observer);
  Engine(EngineOptions options, std::unique_ptr<Loop> loop);

  const EngineOptions options_;
  std::unique_ptr<Loop> loop_;
};

}  // namespace zerrow::engine
