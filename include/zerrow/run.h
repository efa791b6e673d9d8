// What a run of a pipeline is asked to do, what it reports while it goes, and what it leaves.
//
// Plain values and one callback interface; engine/engine.h runs them.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zerrow/byte_counts.h"

namespace zerrow {

/// How outputs become shared memory. kAuto takes the best that this machine offers.
enum class BackendKind { kAuto, kKernelZero, kMemfd, kCopy, kFullCopy };
std::string_view ToString(BackendKind kind);
/// The backend that a user calls so; nullopt: there is none.
std::optional<BackendKind> ParseBackend(std::string_view name);

/// How tables' memory goes where a limit is short of it: written to disk and read back, dropped and
/// made again, the cheaper of both for each table, or not at all.
enum class EvictionPolicy { kNone, kSwap, kRollback, kAdaptive };
std::string_view ToString(EvictionPolicy policy);
/// As a user calls it; nullopt: there is none.
std::optional<EvictionPolicy> ParseEvictionPolicy(std::string_view name);

/// A query over a project's tables, which is planned as a SQL model of it is.
struct AdHocQuery {
  /// What the model is called.
  static constexpr std::string_view kName = "<query>";

  std::string sql;
  std::string file;                 // where it is written, absolute; empty: it was given as a text
  std::string output;               // a file for its result, absolute; empty: none
  std::string format = "parquet";   // of that: parquet, csv or json
  std::optional<int64_t> max_rows;  // that are written; nullopt: all
};

struct RunOptions {
  std::string project_dir;  // empty: the working folder, or the nearest above it with a project
  std::map<std::string, std::string> parameters;  // name -> value as the user wrote it
  std::vector<std::string> select;   // selectors (engine/selector.h) of what runs; empty: all
  std::vector<std::string> exclude;  // and of what doesn't, unless it is needed
  /// What failed in the last run, where that is asked for: engine::CompleteOptions finds it.
  std::optional<std::vector<std::string>> failed;
  std::optional<AdHocQuery> query;  // runs, instead of what is selected
  int jobs = 0;                     // functions at once; 0: the number of cores
  BackendKind backend = BackendKind::kAuto;
  bool strict = false;          // a failed expectation fails the run
  bool account = false;         // compute duplicate_bytes and timings
  bool cache = true;            // take columns from the engine's cache, and keep them there
  bool content_reshare = true;  // refer to inputs for what a library copied unchanged
  std::optional<int64_t> memory_limit_bytes;  // of its tables and functions together, at least 1
  int priority = 0;                           // runs of a higher one go first
  bool explain_memory = false;                // report each decision about memory
  std::optional<std::string> output_dir;      // final models are written here as Parquet
  int64_t preview_rows = 0;                   // rows of each final model to report; 0: none
  std::vector<std::string> keep;              // models whose tables the result holds; "*": all
  /// A model in Python whose function has the stdin and stderr of the engine's own process, and
  /// inline_stdout of its descriptors, so that a debugger works; it has no timeout.
  std::optional<std::string> inline_model;
  int inline_stdout = 1;
};

enum class RunStatus { kSuccess, kFailed, kCancelled };
enum class ModelStatus { kSuccess, kFailed, kSkipped, kTimeout, kKilled, kCancelled };
/// kFilter: the rows of a source that one or more of its readers ask for.
enum class ModelKind { kSource, kFilter, kPython, kSql, kNative, kExpectation };
std::string_view ToString(RunStatus status);
std::string_view ToString(ModelStatus status);
std::string_view ToString(ModelKind kind);

/// Why something failed, said to the user: where it is and what to do.
struct RunError {
  std::string message;    // one line
  std::string model;      // empty: the project as a whole
  std::string file;       // the user's file, relative to the project; empty if there is none
  int line = 0;           // 0: unknown
  std::string traceback;  // the user's own frames; may be empty

  /// "file:line: model: message" as far as known.
  std::string ToString() const;
};

/// Where a model's time went between its inputs' tables and its own (RunOptions::account). The
/// worker's own figures are its claim.
struct ModelTimings {
  double open_s = 0;        // from published inputs to tables in the worker
  double run_s = 0;         // the function
  double encode_s = 0;      // looking up the output's buffers, writing its message
  double exit_s = 0;        // from the answer until the last of its processes is gone
  double exit_cpu_s = 0;    // of that, in the worker
  double trim_cpu_s = 0;    // taking out of its chunks what isn't output
  double freeze_cpu_s = 0;  // making them immutable
};

/// What a source's columns came from, by pieces of a column that are decoded together.
struct CacheUse {
  int64_t hits = 0;    // were decoded before
  int64_t misses = 0;  // were decoded for this run
  int64_t hit_bytes = 0;
  int64_t miss_bytes = 0;
  double saved_s = 0;  // what decoding the hits had taken
};

/// A table's memory that went so that a limit was kept.
struct EvictionReport {
  std::string model;   // whose table it was; of the cache: empty
  std::string how;     // swap, rollback or cache
  int64_t bytes = 0;   // that became free
  std::string reason;  // in words
};

/// A decision about memory, in words.
struct MemoryEvent {
  double at_s = 0;  // since the run began
  std::string what;
};

/// A model's task that could have started but for memory.
struct MemoryWait {
  double wait_s = 0;
  std::string reason;  // why it waited last
};

/// Some rows of a table, as JSON: docs/formats/rows.md.
struct Preview {
  std::string model;
  std::vector<std::pair<std::string, std::string>> columns;  // name, Arrow type
  std::vector<std::vector<nlohmann::json>> rows;
  int64_t total_rows = 0;
};

struct ModelReport {
  std::string name;
  ModelKind kind = ModelKind::kPython;
  ModelStatus status = ModelStatus::kSkipped;
  std::optional<int64_t> rows;
  ByteCounts bytes;  // of the output
  double wall_s = 0;
  double cpu_s = 0;
  int64_t peak_memory_bytes = 0;
  std::optional<ModelTimings> timings;  // with --account, of a model that gave a table
  std::optional<CacheUse> cache;        // of a source that was read
  std::optional<MemoryWait> memory_wait;
  std::optional<RunError> error;
  std::optional<bool> expectation;   // what an expectation answered
  std::optional<RunError> warning;   // why an expectation isn't met, in a run that isn't strict
  std::optional<Preview> offending;  // some of the rows that don't meet an expectation; of how many
};

/// A model that isn't deterministic though it says so: its table was made again for want of memory
/// and came out differently.
struct VaryingModel {
  std::string model;
  int64_t run_again = 0;  // models that had read the first table, directly or not, and ran again
};

struct RunReport {
  std::string run_id;
  RunStatus status = RunStatus::kFailed;
  double wall_s = 0;
  int64_t peak_memory_bytes = 0;
  int64_t memory_limit_bytes = 0;            // the engine's or the run's, what is less; 0: unknown
  BackendKind backend = BackendKind::kAuto;  // the one that was used
  std::vector<ModelReport> models;           // in topological order
  std::vector<RunError> errors;              // of the project, before anything ran
  std::vector<Preview> previews;
  std::vector<std::string> outputs;       // files written to output_dir
  std::vector<EvictionReport> evictions;  // the first thousands
  int64_t evicted_bytes = 0;              // of all
  std::vector<VaryingModel> varying;
  /// With RunOptions::explain_memory: what was decided about memory, as long as that isn't too
  /// much.
  std::optional<std::vector<MemoryEvent>> memory_events;
  /// With RunOptions::account, if a model is Python's: why each of them imported the project
  /// itself. Empty: it was imported once.
  std::optional<std::string> import_again;
  /// With RunOptions::account and the backend kernelzero: what the module's counters rose by while
  /// the run was there, whoever moved memory. By name, of pages of 4 KiB unless
  /// docs/formats/kernelzero_abi.md says otherwise.
  std::optional<std::map<std::string, int64_t>> kernelzero;

  /// The document that `-O json` prints.
  nlohmann::json ToJson() const;
};

/// What a model that runs has of memory, its inputs aside.
struct ModelMemory {
  std::string model;
  int64_t bytes = 0;
};

/// Called on the thread that waits for the run, one at a time.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  /// The project was read and is sound: what is going to run, in topological order.
  virtual void OnPlanned(const std::vector<ModelReport>& models) {}
  /// A model that has read what came out differently when it was made again starts and finishes
  /// once more: what it finished with last holds.
  /// `expected_s`: how long it will probably take, if that is known from earlier runs.
  virtual void OnModelStarted(const std::string& model, std::optional<double> expected_s) {}
  /// About once in a second, of models that run, while that changes.
  virtual void OnMemoryMeasured(const std::vector<ModelMemory>& models) {}
  virtual void OnModelFinished(const ModelReport& report) {}
  /// One line, without its newline, that a function printed. `stream` is 1 or 2.
  virtual void OnOutputLine(const std::string& model, int stream, std::string_view line) {}
};

}  // namespace zerrow
