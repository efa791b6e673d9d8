// What the user sees while a run goes: a progress line on a terminal, plain lines elsewhere.
//
// A RunObserver that the engine's thread calls; its own thread redraws the progress line, so a
// long function doesn't look like a hang. Owns that thread, borrows the streams. A crash leaves at
// most half a line.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cli/style.h"
#include "zerrow/run.h"

namespace zerrow::cli {

/// What a progress line needs to know.
struct Progress {
  size_t finished = 0;
  size_t total = 0;
  std::vector<std::string> running;
  double elapsed_s = 0;
  bool cancelling = false;
};

/// "[3/9] 1.2 s  late_flights, by_carrier", at most `width` wide, without a newline.
std::string RenderProgress(const Progress& progress, size_t width, const Style& style);

class Console final : public RunObserver {
 public:
  struct Options {
    FILE* lines = stdout;      // what functions print, and plain lines
    Style style;               // of `lines`
    FILE* progress = nullptr;  // a terminal; null: no progress line, a plain line per model
    Style progress_style;
  };

  explicit Console(Options options);
  ~Console() override;

  /// Erases the progress line for good. What is printed afterwards is the caller's.
  void Finish();
  /// The run has been asked to stop.
  void ShowCancelling();

  void OnPlanned(const std::vector<ModelReport>& models) override;
  void OnModelStarted(const std::string& model) override;
  void OnModelFinished(const ModelReport& report) override;
  void OnOutputLine(const std::string& model, int stream, std::string_view line) override;

 private:
  void Print(const std::string& text);  // needs mutex_
  void Erase();                         // needs mutex_
  void Draw();                          // needs mutex_
  void Redraw();

  const Options options_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::mutex mutex_;
  std::condition_variable wake_;
  Progress progress_;
  std::set<std::string> finished_models_;
  size_t name_width_ = 0;  // of the widest model, so that output lines up
  bool drawn_ = false;
  bool finished_ = false;
  std::thread drawer_;
};

}  // namespace zerrow::cli
