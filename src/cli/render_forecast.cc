#include "cli/render_forecast.h"

#include <fmt/core.h>

#include "cli/format.h"
#include "resource/reasons.h"
#include "zerrow/run.h"

namespace zerrow::cli {

using nlohmann::json;
using resource::Forecast;
using resource::ForecastEviction;
using resource::ForecastOptions;
using resource::ForecastTask;

namespace {

std::string Seconds(double seconds) { return fmt::format("{:.2f} s", seconds); }

std::string TaskTable(const Forecast& forecast) {
  using enum TextTable::Align;
  TextTable table({{"task", kLeft},
                   {"status", kLeft},
                   {"start", kRight},
                   {"end", kRight},
                   {"for a slot", kRight},
                   {"for memory", kRight},
                   {"attempts", kRight}});
  for (const ForecastTask& task : forecast.tasks) {
    const bool began = task.start.has_value();
    table.AddRow({{OneLine(task.name, 60), ""},
                  {std::string(ToString(task.status)), ""},
                  {began ? Seconds(*task.start) : "", ""},
                  {Seconds(task.end), ""},
                  {began ? Seconds(task.slot_wait_s) : "", ""},
                  {began ? Seconds(task.memory_wait_s) : "", ""},
                  {std::to_string(task.attempts), ""}});
  }
  return table.ToString();
}

json WaitsOf(const ForecastTask& task) {
  json waits = json::array();
  if (task.slot_wait_s > 0) {
    waits.push_back({{"s", task.slot_wait_s}, {"reason", "every slot is taken"}});
  }
  if (task.memory_wait_s > 0) {
    waits.push_back({{"s", task.memory_wait_s},
                     {"reason", "it doesn't fit beside what is in memory, or is read back"}});
  }
  return waits;
}

}  // namespace

std::string RenderForecast(const Forecast& forecast, const ForecastOptions& options,
                           const std::string& note) {
  std::string text =
      fmt::format("{} at once, {}, eviction {}\n{}\n\n", FormatPlural(options.core.slots, "task"),
                  options.core.budget.limited()
                      ? "a memory limit of " + resource::InDecimal(options.core.budget.limit_bytes)
                      : "no memory limit",
                  ToString(options.core.policy), note);
  text += TaskTable(forecast);
  for (const ForecastTask& task : forecast.tasks) {
    if (task.status != ModelStatus::kFailed) continue;
    text += fmt::format("\n{} would fail: {}", OneLine(task.name, 60), task.error);
  }
  if (forecast.failed > 0) text += "\n";
  if (!forecast.evictions.empty()) text += "\n";
  for (const ForecastEviction& eviction : forecast.evictions) {
    text += fmt::format("{}: {} of {} ({}) {}\n", Seconds(eviction.at), eviction.how,
                        OneLine(eviction.table, 60), resource::InDecimal(eviction.bytes),
                        eviction.reason);
  }
  text += fmt::format(
      "\n{} until the end; at most {} in memory; {} written, {} read back; {} of tasks run again; "
      "{} stopped for memory; {} would fail\n",
      FormatSeconds(forecast.makespan_s), resource::InDecimal(forecast.peak_bytes),
      resource::InDecimal(forecast.written_bytes), resource::InDecimal(forecast.read_bytes),
      FormatSeconds(forecast.remade_s),
      FormatPlural(static_cast<int64_t>(forecast.stops), "attempt"),
      FormatPlural(static_cast<int64_t>(forecast.failed), "task"));
  return text;
}

json ForecastJson(const Forecast& forecast, const ForecastOptions& options,
                  const std::string& note) {
  json tasks = json::array();
  for (const ForecastTask& task : forecast.tasks) {
    tasks.push_back({{"name", task.name},
                     {"status", ToString(task.status)},
                     {"start_s", task.start ? json(*task.start) : json()},
                     {"end_s", task.end},
                     {"attempts", task.attempts},
                     {"waits", WaitsOf(task)},
                     {"error", task.error.empty() ? json() : json(task.error)}});
  }
  json evictions = json::array();
  for (const ForecastEviction& eviction : forecast.evictions) {
    evictions.push_back({{"at_s", eviction.at},
                         {"task", eviction.table},
                         {"how", eviction.how},
                         {"bytes", eviction.bytes},
                         {"reason", eviction.reason}});
  }
  const resource::Budget& budget = options.core.budget;
  return {{"slots", options.core.slots},
          {"memory_limit_bytes", budget.limited() ? json(budget.limit_bytes) : json()},
          {"policy", ToString(options.core.policy)},
          {"assumed", note},
          {"makespan_s", forecast.makespan_s},
          {"peak_bytes", forecast.peak_bytes},
          {"written_bytes", forecast.written_bytes},
          {"read_bytes", forecast.read_bytes},
          {"remade_s", forecast.remade_s},
          {"stopped", {{"attempts", forecast.stops}, {"lost_s", forecast.lost_s}}},
          {"failed", forecast.failed},
          {"tasks", tasks},
          {"evictions", evictions}};
}

}  // namespace zerrow::cli
