#include "cli/console.h"

#include <fmt/core.h>

#include <algorithm>

#include "cli/format.h"
#include "cli/render.h"

namespace zerrow::cli {

namespace {

constexpr auto kRedrawEvery = std::chrono::milliseconds(100);
constexpr size_t kMaxNameWidth = 24;
constexpr size_t kUsualWidth = 80;

}  // namespace

std::string RenderProgress(const Progress& progress, size_t width, const Style& style) {
  const std::string head =
      fmt::format("[{}/{}] {:.1f} s", progress.finished, progress.total, progress.elapsed_s);
  std::string rest = progress.cancelling ? "cancelling" : "";
  for (const std::string& model : progress.running) rest += (rest.empty() ? "" : ", ") + model;
  if (progress.total == 0 && rest.empty()) rest = "reading the project";
  const size_t used = DisplayWidth(head) + 2;
  if (width <= used) return head.substr(0, width);
  return style.Wrap(style.cyan(), head) + "  " + OneLine(rest, width - used);
}

Console::Console(Options options) : options_(options) {
  if (options_.progress != nullptr) drawer_ = std::thread([this] { Redraw(); });
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

void Console::ShowCancelling() {
  const std::lock_guard lock(mutex_);
  progress_.cancelling = true;
}

void Console::OnPlanned(const std::vector<ModelReport>& models) {
  const std::lock_guard lock(mutex_);
  progress_.total = models.size();
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

void Console::OnModelStarted(const std::string& model) {
  const std::lock_guard lock(mutex_);
  progress_.running.push_back(model);
  finished_models_.erase(model);
  progress_.finished = finished_models_.size();
}

void Console::OnModelFinished(const ModelReport& report) {
  const std::lock_guard lock(mutex_);
  std::erase(progress_.running, report.name);
  finished_models_.insert(report.name);
  progress_.finished = finished_models_.size();
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

void Console::Erase() {
  if (!drawn_) return;
  std::fputs("\r\033[K", options_.progress);
  std::fflush(options_.progress);
  drawn_ = false;
}

void Console::Draw() {
  if (options_.progress == nullptr || finished_) return;
  progress_.elapsed_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  // Asked each time, as windows change. The last column stays free: some terminals wrap early.
  const size_t known = StyleOf(::fileno(options_.progress)).width;
  const size_t width = (known > 0 ? known : kUsualWidth) - 1;
  const std::string text = "\r\033[K" + RenderProgress(progress_, width, options_.progress_style);
  std::fwrite(text.data(), 1, text.size(), options_.progress);
  std::fflush(options_.progress);
  drawn_ = true;
}

void Console::Redraw() {
  std::unique_lock lock(mutex_);
  while (!finished_) {
    Draw();
    wake_.wait_for(lock, kRedrawEvery);
  }
}

}  // namespace zerrow::cli
