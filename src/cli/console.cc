#include "cli/console.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "cli/format.h"
#include "cli/render.h"

namespace zerrow::cli {

namespace {

constexpr auto kRedrawEvery = std::chrono::milliseconds(100);
constexpr auto kLookEvery = std::chrono::milliseconds(500);
constexpr size_t kMaxNameWidth = 24;
constexpr size_t kUsualWidth = 80;
// Models that run for less are named in the first line only, as lines that come and go are no help.
constexpr double kLongSeconds = 2;
constexpr size_t kMostLongShown = 8;

double SecondsSince(std::chrono::steady_clock::time_point began) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

std::string WholeSeconds(double seconds) {
  return seconds < 100 ? fmt::format("{:.0f} s", seconds) : FormatSeconds(seconds);
}

}  // namespace

std::string RenderRunning(const RunningModel& model) {
  std::string text = "running for " + WholeSeconds(model.elapsed_s);
  if (model.expected_s) text += " of about " + WholeSeconds(*model.expected_s);
  if (model.memory_bytes > 0) text += ", " + FormatBytes(model.memory_bytes);
  return text;
}

std::string RenderProgress(const Progress& progress, size_t width, const Style& style) {
  const std::string head =
      fmt::format("[{}/{}] {:.1f} s", progress.finished, progress.total, progress.elapsed_s);
  std::string rest;
  std::string lines;
  size_t name_width = 0;
  size_t shown = 0;
  for (const RunningModel& model : progress.running) {
    if (model.elapsed_s >= kLongSeconds && shown++ < kMostLongShown) {
      name_width = std::max(name_width, DisplayWidth(OneLine(model.name, kMaxNameWidth)));
    } else {
      rest += (rest.empty() ? "" : ", ") + model.name;
    }
  }
  shown = 0;
  for (const RunningModel& model : progress.running) {
    if (model.elapsed_s < kLongSeconds || shown++ >= kMostLongShown) continue;
    const std::string name = OneLine(model.name, kMaxNameWidth);
    const std::string padding(name_width - DisplayWidth(name), ' ');
    lines += "\n" + OneLine("  " + name + padding + "  " + RenderRunning(model), width);
  }
  if (progress.total == 0 && rest.empty()) rest = "reading the project";
  const size_t used = DisplayWidth(head) + 2;
  if (width <= used) return head.substr(0, width) + lines;
  return style.Wrap(style.cyan(), head) + (rest.empty() ? "" : "  " + OneLine(rest, width - used)) +
         lines;
}

Console::Console(Options options) : options_(std::move(options)) {
  const bool moves = options_.progress != nullptr || options_.beat.count() > 0;
  if (moves) drawer_ = std::thread([this] { Redraw(); });
}

Console::~Console() { Finish(); }

void Console::Finish() {
  {
    const std::lock_guard lock(mutex_);
    if (!finished_) Erase();
    finished_ = true;
  }
  wake_.notify_all();
  if (drawer_.joinable()) drawer_.join();
}

void Console::OnPlanned(const std::vector<ModelReport>& models) {
  const std::lock_guard lock(mutex_);
  total_ = models.size();
  for (const ModelReport& model : models) {
    name_width_ = std::max(name_width_, DisplayWidth(model.name));
  }
  name_width_ = std::min(name_width_, kMaxNameWidth);
  const auto count = [&](ModelKind kind) {
    return std::ranges::count(models, kind, &ModelReport::kind);
  };
  const auto sources = count(ModelKind::kSource);
  const auto rest = static_cast<int64_t>(models.size()) - sources - count(ModelKind::kFilter);
  Print(fmt::format("running {} on {}\n", FormatPlural(rest, "model"),
                    FormatPlural(sources, "source")));
}

void Console::OnModelStarted(const std::string& model, std::optional<double> expected_s) {
  const std::lock_guard lock(mutex_);
  running_.push_back({{.name = model, .expected_s = expected_s}, Clock::now()});
  finished_models_.erase(model);
}

void Console::OnMemoryMeasured(const std::vector<ModelMemory>& models) {
  const std::lock_guard lock(mutex_);
  for (const auto& [model, bytes] : models) {
    for (Running& running : running_) {
      if (running.model.name == model) running.model.memory_bytes = bytes;
    }
  }
}

void Console::OnModelFinished(const ModelReport& report) {
  const std::lock_guard lock(mutex_);
  std::erase_if(running_, [&](const Running& one) { return one.model.name == report.name; });
  finished_models_.insert(report.name);
  // On a terminal the progress line and the table at the end say that all is well.
  const bool well = report.status == ModelStatus::kSuccess && report.expectation != false;
  if (options_.progress == nullptr || !well) Print(RenderModelLine(report, options_.style));
}

void Console::OnOutputLine(const std::string& model, int stream, std::string_view line) {
  const std::lock_guard lock(mutex_);
  const size_t own = DisplayWidth(model);
  const std::string padding(name_width_ > own ? name_width_ - own : 0, ' ');
  const std::string& start = stream == 2 ? options_.style.yellow() : options_.style.cyan();
  Print(options_.style.Wrap(start, model + padding + " |") + " " + std::string(line) + "\n");
}

void Console::Print(const std::string& text) {
  if (finished_) return;
  Erase();
  std::fwrite(text.data(), 1, text.size(), options_.lines);
  std::fflush(options_.lines);
  Draw();
}

// From the first of the lines that were drawn to the end of the screen.
std::string Console::Erasure() {
  // What was said about the interruption stands below them by now.
  if (options_.cancelled()) drawn_lines_ = 0;
  if (drawn_lines_ == 0) return "";
  const size_t up = std::exchange(drawn_lines_, 0) - 1;
  return (up > 0 ? fmt::format("\r\033[{}A", up) : "\r") + "\033[J";
}

void Console::Erase() {
  const std::string erasure = Erasure();
  if (erasure.empty()) return;
  std::fputs(erasure.c_str(), options_.progress);
  std::fflush(options_.progress);
}

Progress Console::ProgressNow() {
  Progress progress{.finished = finished_models_.size(),
                    .total = total_,
                    .running = {},
                    .elapsed_s = SecondsSince(start_)};
  for (Running& running : running_) {
    running.model.elapsed_s = SecondsSince(running.began);
    progress.running.push_back(running.model);
  }
  return progress;
}

void Console::Draw() {
  if (options_.progress == nullptr || finished_ || options_.cancelled()) return;
  // Asked each time, as windows change. The last column stays free: some terminals wrap early.
  const size_t known = StyleOf(::fileno(options_.progress)).width;
  const size_t width = (known > 0 ? known : kUsualWidth) - 1;
  const std::string lines = RenderProgress(ProgressNow(), width, options_.progress_style);
  const std::string text = Erasure() + lines;
  std::fwrite(text.data(), 1, text.size(), options_.progress);
  std::fflush(options_.progress);
  drawn_lines_ = static_cast<size_t>(std::ranges::count(lines, '\n')) + 1;
}

void Console::Beat() {
  if (options_.cancelled()) return;
  for (Running& running : running_) {
    const int64_t beats = (Clock::now() - running.began) / options_.beat;
    if (beats <= std::exchange(running.beats, beats)) continue;
    running.model.elapsed_s = SecondsSince(running.began);
    Print(OneLine(running.model.name, kMaxNameWidth) + ": " + RenderRunning(running.model) + "\n");
  }
}

void Console::Redraw() {
  std::unique_lock lock(mutex_);
  while (!finished_) {
    if (options_.progress != nullptr) {
      Draw();
      wake_.wait_for(lock, kRedrawEvery);
    } else {
      Beat();
      wake_.wait_for(lock, std::min(options_.beat, std::chrono::milliseconds(kLookEvery)));
    }
  }
}

}  // namespace zerrow::cli
