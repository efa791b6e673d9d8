// What the user asked for on the command line.
//
// Parsing has no effects: what would be printed is returned. Any thread. Only this file
// and the *_options.h know CLI11.
#pragma once

#include <arrow/result.h>

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "resource/eviction.h"
#include "zerrow/run.h"

namespace zerrow::cli {

enum class Command {
  kInit,
  kRun,
  kShow,
  kQuery,
  kExplain,
  kSimulate,
  kInfo,
  kVersion,
  kEngineStart,
  kEngineStop,
  kEngineStatus,
  kCacheList,
  kCacheClear,
  kEnvList,
  kEnvClear
};
enum class OutputFormat { kText, kJson };

/// By which engine a command's run is done: one of its own, the user's resident one, or that if it
/// is there.
enum class EngineChoice { kAuto, kOwn, kResident };
std::optional<EngineChoice> ParseEngineChoice(std::string_view name);

/// Bytes as base::ParseBytes reads them; of "none" resource::Budget::kUnlimited.
arrow::Result<int64_t> ParseMemoryLimit(std::string_view text);

/// Exit codes of the command.
inline constexpr int kExitSuccess = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;

/// Of `zerrow simulate`.
struct SimulateOptions {
  std::string workload;    // a trace, or a project's folder
  std::string needs_file;  // "": none
  std::optional<int64_t> memory_limit_bytes;
  resource::EvictionPolicy policy = resource::EvictionPolicy::kAdaptive;
  int slots = 0;  // 0: the number of cores
  int64_t disk_write_bytes_per_s = 500'000'000;
  int64_t disk_read_bytes_per_s = 1'000'000'000;
  double table_share = 0.5;  // of an operator's memory
};

/// Of `zerrow query`.
struct QueryOptions {
  std::string sql;
  std::string file;    // "": the query is `sql`
  std::string output;  // "": the result is printed
  std::string format;  // table, json, csv or parquet
  std::optional<int64_t> max_rows;
  bool all_rows = false;
};

struct Arguments {
  Command command = Command::kVersion;
  RunOptions run;  // of run, show, query and explain
  OutputFormat format = OutputFormat::kText;
  bool verbose = false;                // run and show: all that is known of each model
  std::string new_project_dir;         // init
  QueryOptions query;                  // query
  SimulateOptions simulate;            // simulate
  std::optional<EngineChoice> engine;  // of run, show, query and explain
  bool foreground = false;             // engine start
  // Of engine start, and of a command's own engine: engine::EngineOptions.
  std::optional<int64_t> cache_bytes;
  std::optional<int64_t> memory_limit_bytes;  // engine start only: of a run it is in `run`
  std::optional<EvictionPolicy> eviction;
  std::optional<std::string> spill_dir;
  std::optional<int64_t> spill_limit_bytes;
};

/// There is nothing to do but to print: help, or a usage error.
struct Message {
  std::string text;
  int exit_code = kExitSuccess;  // help and version go to stdout, errors to stderr
};

std::variant<Arguments, Message> ParseArguments(int argc, const char* const* argv);

}  // namespace zerrow::cli
