#include "cli/console.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>

namespace zerrow::cli {
namespace {

// A FILE that collects what is written to it.
class Collector {
 public:
  FILE* stream() { return stream_; }
  std::string text() {
    std::fflush(stream_);
    return {data_, size_};
  }
  ~Collector() {
    std::fclose(stream_);
    std::free(data_);
  }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
  FILE* stream_ = ::open_memstream(&data_, &size_);
};

ModelReport Model(const std::string& name, ModelKind kind = ModelKind::kPython) {
  ModelReport model;
  model.name = name;
  model.kind = kind;
  model.status = ModelStatus::kSuccess;
  model.rows = 1200;
  model.bytes.new_bytes = 2048;
  model.wall_s = 0.5;
  return model;
}

TEST(ProgressTest, FitsTheTerminal) {
  const Progress progress{.finished = 3,
                          .total = 9,
                          .running = {{.name = "late_flights"}, {.name = "by_carrier"}},
                          .elapsed_s = 1.23};
  EXPECT_EQ(RenderProgress(progress, 80, {}), "[3/9] 1.2 s  late_flights, by_carrier");
  EXPECT_EQ(RenderProgress(progress, 20, {}), "[3/9] 1.2 s  late_f…");
  EXPECT_EQ(RenderProgress(progress, 5, {}), "[3/9]");
}

TEST(ProgressTest, ModelsThatTakeLongHaveALineEach) {
  Progress progress{.finished = 3, .total = 9, .elapsed_s = 30};
  progress.running = {
      {.name = "short"}, {"long", 12, 30, int64_t{3} << 29}, {.name = "longer", .elapsed_s = 300}};
  EXPECT_EQ(RenderProgress(progress, 80, {}),
            "[3/9] 30.0 s  short\n"
            "  long    running for 12 s of about 30 s, 1.5 GiB\n"
            "  longer  running for 5 min 0 s");
  EXPECT_EQ(RenderProgress(progress, 20, {}),
            "[3/9] 30.0 s  short\n  long    running f…\n  longer  running f…");
  progress.running.resize(40, {.name = "one", .elapsed_s = 5});
  const std::string many = RenderProgress(progress, 40, {});
  EXPECT_EQ(std::ranges::count(many, '\n'), 8) << "a screen isn't endless";
}

TEST(ConsoleTest, PlainLinesSayThatALongModelLives) {
  Collector lines;
  bool cancelled = false;
  std::mutex mutex;
  const auto is_cancelled = [&] {
    const std::lock_guard lock(mutex);
    return cancelled;
  };
  {
    Console console(
        {.lines = lines.stream(), .beat = std::chrono::milliseconds(1), .cancelled = is_cancelled});
    console.OnModelStarted("late", 7);
    console.OnMemoryMeasured({{"late", 2048}, {"other", 1}});
    while (lines.text().find("2.0 KiB") == std::string::npos) std::this_thread::yield();
    const std::unique_lock lock(mutex);
    cancelled = true;
  }
  const std::string text = lines.text();
  EXPECT_NE(text.find("late: running for 0 s of about 7 s, 2.0 KiB\n"), std::string::npos) << text;
}

TEST(ConsoleTest, NothingIsDrawnOnceTheRunIsCancelled) {
  Collector lines;
  Collector progress;
  {
    Console console(
        {.lines = lines.stream(), .progress = progress.stream(), .cancelled = [] { return true; }});
    console.OnPlanned({Model("late")});
    console.OnModelStarted("late", {});
  }
  EXPECT_EQ(progress.text(), "");
}

TEST(ConsoleTest, PlainLinesAreMarkedWithTheirModel) {
  Collector lines;
  {
    Console console({.lines = lines.stream()});
    console.OnPlanned({Model("flights", ModelKind::kSource), Model("late")});
    console.OnModelStarted("late", {});
    console.OnOutputLine("late", 1, "hello");
    console.OnOutputLine("late", 2, "");
    console.OnModelFinished(Model("late"));
    ModelReport skipped = Model("later");
    skipped.status = ModelStatus::kSkipped;
    console.OnModelFinished(skipped);
  }
  EXPECT_EQ(lines.text(),
            "running 1 model on 1 source\n"
            "late    | hello\n"
            "late    | \n"
            "ok       late  1,200 rows, 2.0 KiB  0.50 s\n"
            "skipped  later\n");
}

TEST(ConsoleTest, ATerminalGetsAProgressLineThatIsErased) {
  Collector lines;
  Collector progress;
  {
    Console console({.lines = lines.stream(), .progress = progress.stream()});
    console.OnPlanned({Model("late")});
    console.OnModelStarted("late", {});
    console.OnOutputLine("late", 1, "hello");
    console.OnModelFinished(Model("late"));
    console.Finish();
    console.OnOutputLine("late", 1, "too late");
  }
  EXPECT_EQ(lines.text(), "running 1 model on 0 sources\nlate | hello\n");
  EXPECT_NE(progress.text().find("[0/1]"), std::string::npos);
  EXPECT_TRUE(progress.text().ends_with("\r\033[J")) << progress.text();
}

}  // namespace
}  // namespace zerrow::cli
