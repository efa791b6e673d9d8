// `zerrow engine status` as text.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "cli/format.h"
#include "cli/render.h"

namespace zerrow::cli {

using nlohmann::json;

namespace {

constexpr double kToldStall = 0.1;

std::string Joined(const json& texts) {
  std::string list;
  for (const json& text : texts) list += (list.empty() ? "" : ", ") + text.get<std::string>();
  return list;
}

std::string RunLine(const json& run) {
  const int64_t total = run.at("models").at("total");
  const std::string models =
      total == 0
          ? "reading the project"
          : fmt::format("{} of {} models", run.at("models").at("finished").get<int64_t>(), total);
  const std::string running = Joined(run.at("running"));
  return fmt::format("  {}  {}, {}, process {}{}{}\n", run.at("project").get<std::string>(), models,
                     FormatSeconds(run.at("elapsed_s")), run.at("client_pid").get<int64_t>(),
                     running.empty() ? "" : ": ", running);
}

std::string RenderLimits(const json& limits, const Style& style) {
  const auto bytes = [&](const char* key) { return FormatBytes(limits.at(key)); };
  std::optional<int64_t> limit;
  if (!limits.at("limit").is_null()) limit = limits.at("limit").get<int64_t>();
  std::string text = fmt::format("{}  {} of {} used; {} for tables and functions, {} on disk\n",
                                 style.Wrap(style.bold(), "limit"), bytes("used"),
                                 FormatLimit(limit), bytes("charged"), bytes("spilled"));
  for (const json& table : limits.at("largest_tables")) {
    const int64_t disk_bytes = table.at("disk_bytes");
    text += fmt::format("  {}  {}{}\n", table.at("model").get<std::string>(),
                        FormatBytes(table.at("bytes")),
                        disk_bytes > 0 ? ", on disk " + FormatBytes(disk_bytes) : "");
  }
  if (const json& stalled = limits.at("stalled");
      stalled.is_number() && stalled.get<double>() > kToldStall) {
    text += fmt::format("  processes waited for memory for {:.0f} % of the last ten seconds\n",
                        100 * stalled.get<double>());
  }
  const json& waiting = limits.at("waiting");
  if (waiting.is_null()) return text;
  return text + fmt::format("  {} waits for memory: {}\n", waiting.at("model").get<std::string>(),
                            waiting.at("reason").get<std::string>());
}

}  // namespace

std::string RenderStatus(const json& status, const Style& style) {
  const auto heading = [&](std::string_view text) { return style.Wrap(style.bold(), text); };
  std::string text =
      fmt::format("{}  process {}, zerrow {}", heading("engine"), status.at("pid").get<int64_t>(),
                  status.at("version").get<std::string>());
  if (status.contains("error")) return text + ": " + status["error"].get<std::string>() + "\n";
  text += fmt::format(", up {}\n", FormatSeconds(status.at("uptime_s")));
  text += fmt::format("{}  {}\n", heading("runs"), status.at("runs").size());
  for (const json& run : status.at("runs")) text += RunLine(run);
  text += fmt::format("{}  {}\n", heading("workers"), status.at("workers").get<int64_t>());
  text += fmt::format("{}  {}\n", heading("zygotes"), status.at("zygotes").size());
  for (const json& zygote : status.at("zygotes")) {
    const std::string libraries = Joined(zygote.at("libraries"));
    text += fmt::format("  {}{}{}\n", zygote.at("python").get<std::string>(),
                        libraries.empty() ? "" : ": ", libraries);
  }
  text += heading("memory") + "\n";
  for (const auto& [kind, bytes] : status.at("memory").items()) {
    text += fmt::format("  {:<8} {}\n", kind, FormatBytes(bytes));
  }
  return text + RenderLimits(status.at("limits"), style);
}

}  // namespace zerrow::cli
