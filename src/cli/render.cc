#include "cli/render.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/format.h"

namespace zerrow::cli {

namespace {

using Align = TextTable::Align;
using Cell = TextTable::Cell;

constexpr size_t kMaxCellWidth = 40;
constexpr size_t kMaxNameWidth = 40;
constexpr size_t kMaxTypeWidth = 24;

std::string StatusStyle(const ModelReport& model, const Style& style) {
  if (model.expectation == false) return style.yellow();
  switch (model.status) {
    case ModelStatus::kSuccess:
      return style.green();
    case ModelStatus::kSkipped:
    case ModelStatus::kCancelled:
      return style.yellow();
    case ModelStatus::kFailed:
    case ModelStatus::kTimeout:
    case ModelStatus::kKilled:
      return style.red();
  }
  return "";
}

bool Ran(const ModelReport& model) {
  return model.status != ModelStatus::kSkipped && model.status != ModelStatus::kCancelled;
}

bool AnyDuplicates(const RunReport& report) {
  return std::any_of(report.models.begin(), report.models.end(),
                     [](const ModelReport& model) { return model.duplicate_bytes.has_value(); });
}

TextTable ReportTable(bool duplicates) {
  std::vector<TextTable::Column> columns = {{"model"},
                                            {"kind"},
                                            {"status"},
                                            {"rows", Align::kRight},
                                            {"output", Align::kRight},
                                            {"new", Align::kRight},
                                            {"reshared", Align::kRight},
                                            {"copied", Align::kRight}};
  if (duplicates) columns.push_back({"duplicate", Align::kRight});
  columns.push_back({"wall", Align::kRight});
  columns.push_back({"CPU", Align::kRight});
  columns.push_back({"peak memory", Align::kRight});
  return TextTable(std::move(columns));
}

std::vector<Cell> ReportRow(const ModelReport& model, bool duplicates, const Style& style) {
  const bool table = model.status == ModelStatus::kSuccess && model.rows.has_value();
  const auto bytes = [&](int64_t count) { return Cell{table ? FormatBytes(count) : "", ""}; };
  std::vector<Cell> row = {{OneLine(model.name, kMaxNameWidth), style.bold()},
                           {std::string(ToString(model.kind)), style.dim()},
                           {StatusWord(model), StatusStyle(model, style)},
                           {table ? FormatCount(*model.rows) : "", ""},
                           bytes(model.bytes),
                           bytes(model.new_bytes),
                           bytes(model.reshared_bytes),
                           bytes(model.copied_bytes)};
  if (duplicates) {
    row.push_back(model.duplicate_bytes ? bytes(*model.duplicate_bytes) : Cell{"", ""});
  }
  const bool ran = Ran(model);
  row.push_back({ran ? FormatSeconds(model.wall_s) : "", ""});
  row.push_back({ran ? FormatSeconds(model.cpu_s) : "", ""});
  row.push_back({ran ? FormatBytes(model.peak_memory_bytes) : "", ""});
  return row;
}

std::vector<Cell> SumRow(const RunReport& report, bool duplicates) {
  ModelReport sum;
  sum.name = "total";
  for (const ModelReport& model : report.models) {
    if (model.status != ModelStatus::kSuccess) continue;
    sum.bytes += model.bytes;
    sum.new_bytes += model.new_bytes;
    sum.reshared_bytes += model.reshared_bytes;
    sum.copied_bytes += model.copied_bytes;
    sum.duplicate_bytes = sum.duplicate_bytes.value_or(0) + model.duplicate_bytes.value_or(0);
  }
  for (const ModelReport& model : report.models) sum.cpu_s += model.cpu_s;
  std::vector<Cell> row = {{sum.name, ""},
                           {"", ""},
                           {"", ""},
                           {"", ""},
                           {FormatBytes(sum.bytes), ""},
                           {FormatBytes(sum.new_bytes), ""},
                           {FormatBytes(sum.reshared_bytes), ""},
                           {FormatBytes(sum.copied_bytes), ""}};
  if (duplicates) row.push_back({FormatBytes(sum.duplicate_bytes.value_or(0)), ""});
  row.push_back({FormatSeconds(report.wall_s), ""});
  row.push_back({FormatSeconds(sum.cpu_s), ""});
  row.push_back({FormatBytes(report.peak_memory_bytes), ""});
  return row;
}

// "3 failed, 1 skipped": what isn't plain success, most serious first.
std::string Exceptions(const RunReport& report) {
  std::vector<std::pair<std::string, int>> counts = {{"failed", 0},  {"killed", 0},
                                                     {"timeout", 0}, {"not met", 0},
                                                     {"skipped", 0}, {"cancelled", 0}};
  for (const ModelReport& model : report.models) {
    for (auto& [word, count] : counts) count += StatusWord(model) == word ? 1 : 0;
  }
  std::string text;
  for (const auto& [word, count] : counts) {
    if (count > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, word);
  }
  return text;
}

std::string Verdict(const RunReport& report, const Style& style) {
  const bool success = report.status == RunStatus::kSuccess;
  std::string text = style.Wrap(success ? style.green() : style.red(), ToString(report.status));
  const std::string exceptions = Exceptions(report);
  if (!exceptions.empty()) text += " (" + exceptions + ")";
  return text + fmt::format(" in {}, peak memory {}, backend {}\n", FormatSeconds(report.wall_s),
                            FormatBytes(report.peak_memory_bytes), ToString(report.backend));
}

// What to do about an error of a model, if its message can't know.
std::string Advice(const ModelReport& model, const std::string& project_dir) {
  const std::string project =
      project_dir == "." ? "" : fmt::format(" -p {}", OneLine(project_dir, 200));
  switch (model.status) {
    case ModelStatus::kFailed:
      if (model.kind != ModelKind::kPython || model.error->traceback.empty()) return "";
      return fmt::format("to debug it: zerrow run{} --inline {}", project, model.name);
    case ModelStatus::kTimeout:
      return "raise timeout= of its @zerrow.resources, or give it less to do";
    default:
      return "";
  }
}

std::string Indented(const std::string& text, std::string_view indent) {
  std::string lines;
  size_t start = 0;
  while (start < text.size()) {
    const size_t end = std::min(text.find('\n', start), text.size());
    lines += std::string(indent) + text.substr(start, end - start) + "\n";
    start = end + 1;
  }
  return lines;
}

}  // namespace

std::string StatusWord(const ModelReport& model) {
  if (model.status == ModelStatus::kSuccess) {
    if (model.kind != ModelKind::kExpectation) return "ok";
    return model.expectation.value_or(true) ? "met" : "not met";
  }
  if (model.expectation == false) return "not met";
  return std::string(ToString(model.status));
}

std::string RenderReport(const RunReport& report, const Style& style) {
  std::string text;
  if (!report.models.empty()) {
    const bool duplicates = AnyDuplicates(report);
    TextTable table = ReportTable(duplicates);
    for (const ModelReport& model : report.models)
      table.AddRow(ReportRow(model, duplicates, style));
    table.AddRow(SumRow(report, duplicates));
    text = table.ToString(style.dim());
  }
  text += Verdict(report, style);
  for (const std::string& path : report.outputs) text += "wrote " + path + "\n";
  return text;
}

std::string RenderPreview(const Preview& preview, const Style& style) {
  const auto shown = static_cast<int64_t>(preview.rows.size());
  std::string text =
      style.Wrap(style.bold(), preview.model) +
      fmt::format(": {}, {}\n", FormatPlural(preview.total_rows, "row"),
                  FormatPlural(static_cast<int64_t>(preview.columns.size()), "column"));
  if (preview.columns.empty()) return text;
  std::vector<TextTable::Column> columns;
  std::vector<Cell> types;
  for (const auto& [name, type] : preview.columns) {
    const bool number = type.starts_with("int") || type.starts_with("uint") ||
                        type.starts_with("float") || type.starts_with("double") ||
                        type.starts_with("halffloat") || type.starts_with("decimal");
    columns.push_back({OneLine(name, kMaxCellWidth), number ? Align::kRight : Align::kLeft});
    types.push_back({OneLine(type, kMaxTypeWidth), style.dim()});
  }
  TextTable table(std::move(columns));
  table.AddRow(std::move(types));
  for (const auto& row : preview.rows) {
    std::vector<Cell> cells;
    for (const std::string& cell : row) cells.push_back({OneLine(cell, kMaxCellWidth), ""});
    cells.resize(preview.columns.size());
    table.AddRow(std::move(cells));
  }
  text += table.ToString(style.bold());
  if (shown < preview.total_rows) {
    text += fmt::format("… {} more {}\n", FormatCount(preview.total_rows - shown),
                        preview.total_rows - shown == 1 ? "row" : "rows");
  }
  return text;
}

std::string RenderError(const RunError& error, const std::string& project_dir, const Style& style) {
  RunError shown = error;
  // So that an editor or terminal finds the file from where the user is.
  const bool relative = !shown.file.empty() && shown.file.front() != '/';
  if (relative && project_dir != ".") {
    shown.file = project_dir + (project_dir.ends_with('/') ? "" : "/") + shown.file;
  }
  // A traceback without frames of the user's is the message once more.
  if (shown.traceback.find('\n') == std::string::npos) shown.traceback.clear();
  return style.Wrap(style.red(), "error:") + " " + shown.ToString() + "\n" +
         Indented(shown.traceback, "    ");
}

std::string RenderErrors(const RunReport& report, const std::string& project_dir,
                         const Style& style) {
  std::string text;
  for (const RunError& error : report.errors) text += RenderError(error, project_dir, style);
  for (const ModelReport& model : report.models) {
    if (!model.error || model.status == ModelStatus::kSkipped) continue;
    text += RenderError(*model.error, project_dir, style);
    const std::string advice = Advice(model, project_dir);
    if (!advice.empty()) text += "    " + style.Wrap(style.cyan(), advice) + "\n";
  }
  return text;
}

std::string RenderModelLine(const ModelReport& model, const Style& style) {
  std::string text =
      style.Wrap(StatusStyle(model, style), fmt::format("{:<8}", StatusWord(model))) + " " +
      style.Wrap(style.bold(), OneLine(model.name, kMaxNameWidth));
  if (!Ran(model)) return text + "\n";
  if (model.status == ModelStatus::kSuccess && model.rows) {
    text += fmt::format("  {}, {}", FormatPlural(*model.rows, "row"), FormatBytes(model.bytes));
  }
  return text + "  " + FormatSeconds(model.wall_s) + "\n";
}

}  // namespace zerrow::cli
