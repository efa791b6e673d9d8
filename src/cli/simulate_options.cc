#include "cli/simulate_options.h"

#include <functional>
#include <string>
#include <utility>

#include "base/byte_size.h"

namespace zerrow::cli {

namespace {

constexpr std::string_view kSimulateFooter = R"(Examples:
  zerrow simulate trace.csv --memory-limit 64GB --slots 8
  zerrow simulate flights --memory-limit 1GB --policy swap --disk-write 200MB
  zerrow simulate flights --memory-limit 1GB -O json | jq .makespan_s

A TRACE is a CSV file of the scheduling simulator eudoxia. Of a PROJECT nothing runs; what its
models need is known from earlier runs, or estimated. See docs/simulate.md. Exit code 1: something
would fail for want of memory.)";

// One that is there is at least a byte.
void AddSize(CLI::App* app, const char* name, const char* description,
             const std::function<void(int64_t)>& take) {
  const auto check = [](const std::string& size) -> std::string {
    const auto bytes = base::ParseBytes(size);
    if (!bytes.ok()) return bytes.status().message();
    return *bytes > 0 ? "" : "must be at least one byte";
  };
  app->add_option_function<std::string>(
         name, [take](const std::string& size) { take(base::ParseBytes(size).ValueOr(0)); },
         description)
      ->option_text("SIZE")
      ->check(check);
}

}  // namespace

void AddSimulateOptions(CLI::App* app, SimulateOptions* options) {
  app->add_option("TRACE|PROJECT", options->workload, "A trace, or a project's folder")
      ->required()
      ->option_text(" ");
  AddSize(app, "--memory-limit", "Such as 1GB or 512MiB (default: none)",
          [options](int64_t bytes) { options->memory_limit_bytes = bytes; });
  app->add_option_function<std::string>(
         "--policy",
         [options](const std::string& name) {
           using enum resource::EvictionPolicy;
           for (const auto policy : {kNone, kSwap, kRollback, kAdaptive}) {
             if (ToString(policy) == name) options->policy = policy;
           }
         },
         "What goes where memory is short: none, swap, rollback or adaptive (default)")
      ->option_text("POLICY")
      ->check(CLI::IsMember({"none", "swap", "rollback", "adaptive"}));
  AddSize(app, "--disk-write", "What the disk writes per second (default: 500MB)",
          [options](int64_t bytes) { options->disk_write_bytes_per_s = bytes; });
  AddSize(app, "--disk-read", "What it reads per second (default: 1GB)",
          [options](int64_t bytes) { options->disk_read_bytes_per_s = bytes; });
  app->add_option("--table-share", options->table_share,
                  "Of an operator's memory in a trace what is its table (default: 0.5)")
      ->option_text("SHARE")
      ->check(CLI::Range(0.0, 1.0));
  app->add_option("--expect", options->needs_file,
                  "A JSON file that says what models of a project need")
      ->option_text("FILE");
  app->footer(std::string(kSimulateFooter));
}

}  // namespace zerrow::cli
