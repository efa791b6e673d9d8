#include "cli/render.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "cli/format.h"

namespace zerrow::cli {

namespace {

using Align = TextTable::Align;
using Cell = TextTable::Cell;

constexpr size_t kMaxReasonWidth = 300;
constexpr size_t kMaxCellWidth = 40;
constexpr size_t kMaxNameWidth = 40;
constexpr size_t kMinNameWidth = 12;
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
  return std::any_of(report.models.begin(), report.models.end(), [](const ModelReport& model) {
    return model.bytes.duplicate_bytes.has_value();
  });
}

// What a report shows: what was asked for, as far as there is room.
struct Layout {
  size_t name_width = kMaxNameWidth;
  bool verbose = false;
  bool kind = true;
  bool details = true;  // rows, what came from the cache, CPU and peak memory
  bool sources = false;
  bool duplicates = false;

  bool cached() const { return details && sources; }
};

using Row = std::vector<Cell>;

std::vector<TextTable::Column> ReportColumns(const Layout& layout) {
  std::vector<TextTable::Column> columns = {{"model"}};
  const auto add = [&](const char* heading) { columns.push_back({heading, Align::kRight}); };
  if (layout.kind) columns.push_back({"kind"});
  columns.push_back({"status"});
  if (layout.details) add("rows");
  if (!layout.verbose) {
    add("size");
    add("time");
    return columns;
  }
  for (const char* heading : {"output", "new", "reshared", "copied"}) add(heading);
  if (layout.cached()) add("cached");
  if (layout.duplicates) add("duplicate");
  add("wall");
  if (layout.details) add("CPU");
  if (layout.details) add("peak");
  return columns;
}

Row ReportRow(const ModelReport& model, const Layout& layout, const Style& style) {
  const bool table = model.status == ModelStatus::kSuccess && model.rows.has_value();
  const bool ran = Ran(model);
  Row row = {{OneLine(model.name, layout.name_width), style.bold()}};
  const auto add = [&](bool there, const std::string& text) {
    row.push_back({there ? text : "", ""});
  };
  if (layout.kind) row.push_back({std::string(ToString(model.kind)), style.dim()});
  row.push_back({StatusWord(model), StatusStyle(model, style)});
  if (layout.details) add(table, FormatCount(model.rows.value_or(0)));
  if (!layout.verbose) {
    add(table, FormatBytes(model.bytes.total()));
    add(ran, FormatSeconds(model.wall_s));
    return row;
  }
  for (const int64_t bytes : {model.bytes.total(), model.bytes.new_bytes,
                              model.bytes.reshared_bytes, model.bytes.copied_bytes}) {
    add(table, FormatBytes(bytes));
  }
  if (layout.cached()) {
    add(model.cache.has_value(), FormatBytes(model.cache.value_or(CacheUse()).hit_bytes));
  }
  if (layout.duplicates) {
    add(model.bytes.duplicate_bytes.has_value(),
        FormatBytes(model.bytes.duplicate_bytes.value_or(0)));
  }
  add(ran, FormatSeconds(model.wall_s));
  if (layout.details) add(ran, FormatSeconds(model.cpu_s));
  if (layout.details) add(ran, FormatBytes(model.peak_memory_bytes));
  return row;
}

// As a row of its own: bytes and CPU added up, the run's own wall time and peak.
Row SumRow(const RunReport& report, const Layout& layout) {
  ModelReport sum;
  sum.name = "total";
  sum.status = ModelStatus::kSuccess;
  sum.rows = 0;
  sum.wall_s = report.wall_s;
  sum.peak_memory_bytes = report.peak_memory_bytes;
  for (const ModelReport& model : report.models) {
    sum.cpu_s += model.cpu_s;
    if (model.status != ModelStatus::kSuccess) continue;
    sum.bytes += model.bytes;
    if (!model.cache) continue;
    if (!sum.cache) sum.cache.emplace();
    sum.cache->hit_bytes += model.cache->hit_bytes;
  }
  Row row = ReportRow(sum, layout, Style{});
  // Kind, status and the number of rows have no sum.
  const size_t bytes_at = size_t{2} + (layout.kind ? 1 : 0) + (layout.details ? 1 : 0);
  for (size_t i = 1; i < bytes_at; ++i) row[i].text.clear();
  return row;
}

TextTable ReportTable(const RunReport& report, const Layout& layout, const Style& style) {
  TextTable table(ReportColumns(layout));
  for (const ModelReport& model : report.models) table.AddRow(ReportRow(model, layout, style));
  table.AddRow(SumRow(report, layout));
  return table;
}

// Where lines don't fit, names are cut and columns left out rather than lines broken.
TextTable FittingTable(const RunReport& report, Detail detail, const Style& style) {
  size_t longest_name = kMinNameWidth;
  for (const ModelReport& model : report.models) {
    longest_name = std::max(longest_name, std::min(DisplayWidth(model.name), kMaxNameWidth));
  }
  const bool sources = std::ranges::any_of(
      report.models, [](const ModelReport& model) { return model.cache.has_value(); });
  const bool duplicates = AnyDuplicates(report);
  const bool verbose = detail == Detail::kAll || duplicates;  // who had them counted wants to see
  Layout layout{.name_width = longest_name,
                .verbose = verbose,
                .kind = verbose,
                .sources = sources,
                .duplicates = duplicates};
  TextTable table = ReportTable(report, layout, style);
  for (bool* column : {&layout.kind, &layout.details}) {
    if (style.width == 0 || table.width() <= style.width) return table;
    *column = false;
    layout.name_width = longest_name;
    table = ReportTable(report, layout, style);
    if (table.width() <= style.width) return table;
    const size_t excess = table.width() - style.width;
    layout.name_width -= std::min(excess, longest_name - kMinNameWidth);
    table = ReportTable(report, layout, style);
  }
  return table;
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
  const std::string limit =
      report.memory_limit_bytes > 0 ? " of " + FormatBytes(report.memory_limit_bytes) : "";
  return text + fmt::format(" in {}, peak memory {}{}, backend {}\n", FormatSeconds(report.wall_s),
                            FormatBytes(report.peak_memory_bytes), limit, ToString(report.backend));
}

// "354.8 MiB of 576.1 MiB are references to what other tables hold".
std::string Shared(const RunReport& report) {
  ByteCounts sum;
  for (const ModelReport& model : report.models) {
    if (model.status == ModelStatus::kSuccess) sum += model.bytes;
  }
  if (sum.reshared_bytes == 0) return "";
  return fmt::format("shared: {} of {} are references to what other tables hold\n",
                     FormatBytes(sum.reshared_bytes), FormatBytes(sum.total()));
}

// "evicted: 1.2 GiB (3 by swap, 1 by rollback)".
std::string Evicted(const RunReport& report) {
  if (report.evictions.empty()) return "";
  std::string ways;
  for (const std::string_view how : {"swap", "rollback", "cache"}) {
    const auto count = std::ranges::count(report.evictions, how, &EvictionReport::how);
    if (count == 0) continue;
    ways += fmt::format("{}{} by {}", ways.empty() ? "" : ", ", FormatCount(count), how);
  }
  return fmt::format("evicted: {} ({})\n", FormatBytes(report.evicted_bytes), ways);
}

std::string Varied(const RunReport& report) {
  std::string text;
  for (const VaryingModel& varying : report.varying) {
    const std::string name = OneLine(varying.model, kMaxNameWidth);
    const auto model = std::ranges::find(report.models, varying.model, &ModelReport::name);
    if (model != report.models.end() && model->kind == ModelKind::kSource) {
      text += fmt::format("files of {} changed during the run; {} that had read them ran again\n",
                          name, FormatPlural(varying.run_again, "model"));
      continue;
    }
    text += fmt::format(
        "{0} gave another table when it was run again for want of memory; {1} that had read the "
        "first ran again, too: declare it with deterministic=False\n",
        name, FormatPlural(varying.run_again, "model"));
  }
  return text;
}

std::string Waited(const RunReport& report) {
  std::string text;
  for (const ModelReport& model : report.models) {
    if (!model.memory_wait) continue;
    text += fmt::format("{} waited {} for memory: {}\n", OneLine(model.name, kMaxNameWidth),
                        FormatSeconds(model.memory_wait->wait_s), model.memory_wait->reason);
  }
  return text;
}

std::string MemoryTimeline(const RunReport& report) {
  if (!report.memory_events) return "";
  if (report.memory_events->empty()) return "memory: nothing had to be decided\n";
  std::string text = "memory:\n";
  for (const MemoryEvent& event : *report.memory_events) {
    text += fmt::format("  {:>9}  {}\n", FormatSeconds(event.at_s), event.what);
  }
  return text;
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

bool IsNumber(std::string_view type) {
  constexpr std::array<std::string_view, 6> kNumbers = {"int",    "uint",      "float",
                                                        "double", "halffloat", "decimal"};
  return std::any_of(kNumbers.begin(), kNumbers.end(),
                     [type](std::string_view number) { return type.starts_with(number); });
}

std::string CellText(const nlohmann::json& value) {
  using nlohmann::json;
  if (value.is_string()) return value.get<std::string>();
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// The first `shown` columns.
TextTable PreviewTable(const Preview& preview, size_t shown, const Style& style) {
  std::vector<TextTable::Column> columns;
  Row types;
  for (size_t i = 0; i < shown; ++i) {
    const auto& [name, type] = preview.columns[i];
    columns.push_back(
        {OneLine(name, kMaxCellWidth), IsNumber(type) ? Align::kRight : Align::kLeft});
    types.push_back({OneLine(type, kMaxTypeWidth), style.dim()});
  }
  TextTable table(std::move(columns));
  table.AddRow(std::move(types));
  for (const auto& row : preview.rows) {
    Row cells(shown);
    for (size_t i = 0; i < std::min(shown, row.size()); ++i) {
      cells[i].text = OneLine(CellText(row[i]), kMaxCellWidth);
    }
    table.AddRow(std::move(cells));
  }
  return table;
}

// How many columns the terminal has room for, one at least. Tables may have many thousands.
size_t FittingColumns(const Preview& preview, const Style& style) {
  size_t most = preview.columns.size();
  if (style.width == 0) return most;
  most = std::min(most, style.width);
  size_t fitting = 1;
  while (fitting < most) {
    const size_t tried = fitting + (most - fitting + 1) / 2;
    if (PreviewTable(preview, tried, style).width() <= style.width) {
      fitting = tried;
    } else {
      most = tried - 1;
    }
  }
  return fitting;
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

std::string RenderReport(const RunReport& report, Detail detail, const Style& style) {
  std::string text;
  if (!report.models.empty()) text = FittingTable(report, detail, style).ToString(style.dim());
  text += Verdict(report, style) + Shared(report) + Evicted(report) + Varied(report);
  // The timeline has it, too.
  text += report.memory_events ? MemoryTimeline(report) : Waited(report);
  if (report.import_again && report.import_again->empty()) {
    text += "the project was imported once\n";
  } else if (report.import_again) {
    text += "each model in Python imported the project: " +
            OneLine(*report.import_again, kMaxReasonWidth) + "\n";
  }
  if (report.kernelzero) text += "KernelZero meanwhile:\n" + RenderKernelZero(*report.kernelzero);
  for (const std::string& path : report.outputs) text += "wrote " + path + "\n";
  return text;
}

std::string RenderPreview(const Preview& preview, const Style& style) {
  std::string text =
      style.Wrap(style.bold(), preview.model) +
      fmt::format(": {}, {}\n", FormatPlural(preview.total_rows, "row"),
                  FormatPlural(static_cast<int64_t>(preview.columns.size()), "column"));
  if (preview.columns.empty()) return text;
  const size_t shown = FittingColumns(preview, style);
  text += PreviewTable(preview, shown, style).ToString(style.bold());
  const size_t more_columns = preview.columns.size() - shown;
  if (more_columns > 0)
    text += fmt::format("… more columns: {}\n", FormatCount(static_cast<int64_t>(more_columns)));
  const int64_t more_rows = preview.total_rows - static_cast<int64_t>(preview.rows.size());
  if (more_rows > 0) text += fmt::format("… more rows: {}\n", FormatCount(more_rows));
  return text;
}

namespace {

// A traceback whose files, where they are relative, are told from where the user is.
std::string FromHere(const std::string& traceback, const std::string& folder) {
  constexpr std::string_view kFile = "File \"";
  std::string text;
  for (size_t start = 0; start < traceback.size();) {
    const size_t end = std::min(traceback.find('\n', start), traceback.size() - 1) + 1;
    const std::string line = traceback.substr(start, end - start);
    const size_t indent = std::min(line.find_first_not_of(' '), line.size());
    const size_t name = indent + kFile.size();
    const bool relative = line.compare(indent, kFile.size(), kFile) == 0 && name < line.size() &&
                          line[name] != '/' && line[name] != '<';
    text += relative ? line.substr(0, name) + folder + line.substr(name) : line;
    start = end;
  }
  return text;
}

std::string RenderLabelled(const std::string& label, const RunError& error,
                           const std::string& project_dir) {
  RunError shown = error;
  // So that an editor or terminal finds the file from where the user is.
  const bool relative =
      !shown.file.empty() && shown.file.front() != '/' && shown.file != AdHocQuery::kName;
  if (relative && project_dir != ".") {
    const std::string folder = project_dir + (project_dir.ends_with('/') ? "" : "/");
    shown.file = folder + shown.file;
    shown.traceback = FromHere(shown.traceback, folder);
  }
  // A traceback without frames of the user's is the message once more.
  if (shown.traceback.find('\n') == std::string::npos) shown.traceback.clear();
  return label + " " + shown.ToString() + "\n" + Indented(shown.traceback, "    ");
}

std::string RenderWarning(const RunError& warning, const std::string& project_dir,
                          const Style& style) {
  return RenderLabelled(style.Wrap(style.yellow(), "warning:"), warning, project_dir);
}

}  // namespace

std::string RenderError(const RunError& error, const std::string& project_dir, const Style& style) {
  return RenderLabelled(style.Wrap(style.red(), "error:"), error, project_dir);
}

namespace {

std::string RenderOffending(const ModelReport& model, const Style& style) {
  if (!model.offending || model.offending->rows.empty()) return "";
  const Style indented{.color = style.color, .width = style.width > 4 ? style.width - 4 : 0};
  const size_t shown = FittingColumns(*model.offending, indented);
  return Indented(PreviewTable(*model.offending, shown, indented).ToString(style.bold()), "    ");
}

}  // namespace

std::string RenderErrors(const RunReport& report, const std::string& project_dir,
                         const Style& style) {
  std::string text;
  for (const RunError& error : report.errors) text += RenderError(error, project_dir, style);
  for (const ModelReport& model : report.models) {
    if (model.warning) text += RenderWarning(*model.warning, project_dir, style);
    if (model.warning) text += RenderOffending(model, style);
    if (!model.error || model.status == ModelStatus::kSkipped) continue;
    text += RenderError(*model.error, project_dir, style) + RenderOffending(model, style);
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
    text +=
        fmt::format("  {}, {}", FormatPlural(*model.rows, "row"), FormatBytes(model.bytes.total()));
  }
  return text + "  " + FormatSeconds(model.wall_s) + "\n";
}

}  // namespace zerrow::cli
