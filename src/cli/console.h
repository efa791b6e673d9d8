// What the user sees while a run goes: on a terminal a progress line, and a line for each model
// that takes long; plain lines elsewhere, and now and then one that a long model still runs.
//
// A RunObserver that the engine's thread calls; its own thread redraws these lines, so a long
// function doesn't look like a hang. Once the run is cancelled it is silent. Owns that thread,
// borrows the streams. A crash leaves at most some half lines.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cli/style.h"
#include "zerrow/run.h"

namespace zerrow::cli {

struct RunningModel {
  std::string name;
  double elapsed_s = 0;
  std::optional<double> expected_s;
  int64_t memory_bytes = 0;
};

/// What progress lines need to know.
struct Progress {
  size_t finished = 0;
  size_t total = 0;
  std::vector<RunningModel> running;  // in the order in which they began
  double elapsed_s = 0;
};

/// "[3/9] 1.2 s  late_flights, by_carrier", and below it a line for each model that takes long, but
/// for those beyond a few. Each is at most `width` wide, and the last one has no newline.
std::string RenderProgress(const Progress& progress, size_t width, const Style& style);

/// "running for 12 s of about 30 s, 1.2 GiB", as far as that is known.
std::string RenderRunning(const RunningModel& model);

class Console final : public RunObserver {
 public:
  struct Options {
    FILE* lines = stdout;      // what functions print, and plain lines
    Style style;               // of `lines`
    FILE* progress = nullptr;  // a terminal; null: no progress lines, a plain line per model
    Style progress_style;
    // How often a plain line says that a model still runs; zero: never.
    std::chrono::milliseconds beat = std::chrono::seconds(10);
    std::function<bool()> cancelled = [] { return false; };  // called from any thread
  };

  explicit Console(Options options);
  ~Console() override;

  /// Erases the progress lines for good. What is printed afterwards is the caller's.
  void Finish();

  void OnPlanned(const std::vector<ModelReport>& models) override;
  void OnModelStarted(const std::string& model, std::optional<double> expected_s) override;
  void OnMemoryMeasured(const std::vector<ModelMemory>& models) override;
  void OnModelFinished(const ModelReport& report) override;
  void OnOutputLine(const std::string& model, int stream, std::string_view line) override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Running {
    RunningModel model;
    Clock::time_point began;
    int64_t beats = 0;  // that were told
  };

  // These need mutex_.
  void Print(const std::string& text);
  std::string Erasure();
  void Erase();
  void Draw();
  void Beat();
  Progress ProgressNow();

  void Redraw();

  const Options options_;
  const Clock::time_point start_ = Clock::now();
  std::mutex mutex_;
  std::condition_variable wake_;
  size_t total_ = 0;
  std::vector<Running> running_;
  std::set<std::string> finished_models_;
  size_t name_width_ = 0;  // of the widest model, so that output lines up
  size_t drawn_lines_ = 0;
  bool finished_ = false;
  std::thread drawer_;
};

}  // namespace zerrow::cli
