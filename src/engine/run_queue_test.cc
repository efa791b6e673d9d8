#include "engine/run_queue.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <thread>

namespace zerrow::engine {
namespace {

using namespace std::chrono_literals;

constexpr auto kLong = 60s;

class RunQueueTest : public ::testing::Test {
 protected:
  bool Print(std::string line) { return sink_->Offer(OutputLine{"m", 1, std::move(line)}); }
  bool Start(std::string model) { return sink_->Offer(ModelStarted{std::move(model)}); }
  bool Readable() const {
    pollfd polled{queue_->fd(), POLLIN, 0};
    return ::poll(&polled, 1, 0) == 1;
  }
  std::string TakeLine() {
    const auto item = queue_->Take(kLong);
    return std::get<OutputLine>(std::get<RunEvent>(*item)).line;
  }

  std::shared_ptr<RunQueue> queue_ = RunQueue::Make().ValueOrDie();
  std::unique_ptr<RunSink> sink_ = RunQueue::Sink(queue_);
};

TEST_F(RunQueueTest, GivesNewsInTheirOrderAndDoneLast) {
  Start("m");
  Print("one");
  Print("two");
  RunResult result;
  result.report.run_id = "name";
  sink_->Done(std::move(result));
  sink_.reset();
  EXPECT_EQ(std::get<ModelStarted>(std::get<RunEvent>(*queue_->Take(kLong))).model, "m");
  EXPECT_EQ(TakeLine(), "one");
  EXPECT_EQ(TakeLine(), "two");
  const auto done = queue_->Take(kLong);
  EXPECT_EQ(std::get<RunQueue::Done>(*done)->report.run_id, "name");
  EXPECT_FALSE(queue_->Take(0ms).has_value());
}

TEST_F(RunQueueTest, TellsOfTheEnginesFailure) {
  sink_->Done(arrow::Status::IOError("no memory"));
  const auto done = queue_->Take(kLong);
  EXPECT_TRUE(std::get<RunQueue::Done>(*done).status().IsIOError());
}

TEST_F(RunQueueTest, NothingComesOfWaitingWhereNothingIs) {
  EXPECT_FALSE(queue_->Take(1ms).has_value());
}

TEST_F(RunQueueTest, ItsDescriptorIsReadableWhileThereIsSomethingToTake) {
  EXPECT_FALSE(Readable());
  Print("one");
  Print("two");
  EXPECT_TRUE(Readable());
  TakeLine();
  EXPECT_TRUE(Readable());
  TakeLine();
  EXPECT_FALSE(Readable());
  sink_->Done(RunResult{});
  EXPECT_TRUE(Readable());
}

TEST_F(RunQueueTest, SaysEnoughWhenItIsFullAndResumesOnceThereIsRoom) {
  int resumed = 0;
  queue_->OnRoom([&] { ++resumed; });
  const std::string line(100'000, 'x');
  int lines = 1;
  while (Print(line)) ++lines;
  EXPECT_GE(lines * line.size(), 3 << 20);
  EXPECT_LE(lines * line.size(), 5 << 20);
  // What comes nevertheless is kept, and still too much.
  EXPECT_FALSE(Start("m"));
  EXPECT_FALSE(Print("last"));
  for (int i = 0; i < lines / 4; ++i) TakeLine();
  EXPECT_EQ(resumed, 0);
  EXPECT_FALSE(Print(""));
  for (int i = lines / 4; i < lines; ++i) TakeLine();
  EXPECT_EQ(resumed, 1);
  EXPECT_TRUE(Print(""));
  queue_->Take(kLong);  // m
  EXPECT_EQ(TakeLine(), "last");
  EXPECT_EQ(resumed, 1);
}

TEST_F(RunQueueTest, ManyEmptyLinesFillItToo) {
  int lines = 1;
  while (lines < 1'000'000 && Print("")) ++lines;
  EXPECT_LT(lines, 100'000);
}

TEST_F(RunQueueTest, MayResumeFromInsideTheResumption) {
  // Whoever resumes may put more at once, as an engine on another thread would.
  const std::string line(5 << 20, 'x');
  int resumed = 0;
  queue_->OnRoom([&] { resumed += Print("more") ? 1 : 0; });
  EXPECT_FALSE(Print(line));
  EXPECT_EQ(TakeLine(), line);
  EXPECT_EQ(resumed, 1);
  EXPECT_EQ(TakeLine(), "more");
}

TEST_F(RunQueueTest, ASlowReaderGetsEveryLineOfAnotherThread) {
  constexpr int kLines = 3000;
  std::atomic<bool> paused = false;
  queue_->OnRoom([&] {
    paused = false;
    paused.notify_one();
  });
  std::thread writer([&] {
    const std::string text(10'000, 'x');
    for (int i = 0; i < kLines; ++i) {
      paused = true;  // before the reader can say otherwise
      if (Print(std::to_string(i) + text)) continue;
      paused.wait(true);
    }
    sink_->Done(RunResult{});
    sink_.reset();
  });
  int in_order = 0;
  for (int i = 0; i < kLines; ++i) in_order += TakeLine().starts_with(std::to_string(i) + "x");
  EXPECT_EQ(in_order, kLines);
  EXPECT_TRUE(std::holds_alternative<RunQueue::Done>(*queue_->Take(kLong)));
  EXPECT_FALSE(Readable());
  writer.join();
}

}  // namespace
}  // namespace zerrow::engine
