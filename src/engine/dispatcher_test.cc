#include "engine/dispatcher.h"

#include <gtest/gtest.h>

namespace zerrow::engine {
namespace {

using nlohmann::json;
using resource::RunId;
using resource::TaskId;
using Texts = std::vector<std::string>;
using Counters = std::map<std::string, int64_t>;

// Of the project below.
enum Task : size_t { kDiscover, kModel, kReader };

/// Notes what it is told.
class NotingPerformer final : public Performer {
 public:
  void Start(TaskId task, int attempt, const Run&) override {
    Note("start " + std::to_string(task.index) + "#" + std::to_string(attempt));
  }
  void Stop(TaskId task, int) override { Note("stop " + std::to_string(task.index)); }
  void Free(SegmentId segment) override { Note("free " + std::to_string(segment)); }
  void Shrink(SegmentId segment, std::vector<ByteRange>) override {
    Note("shrink " + std::to_string(segment));
  }
  std::shared_ptr<const ResultTable> Hand(const TablePtr& table,
                                          std::function<void()> on_drop) override {
    Note("hand " + std::to_string(table->message.id));
    return std::make_shared<const ResultTable>(table, ResultTable::Segments{}, std::move(on_drop));
  }
  void Pause(RunId, bool paused) override { Note(paused ? "pause" : "resume"); }
  RunUse EndRun(RunId) override {
    Note("end");
    return {.peak_memory_bytes = 77, .kernelzero = Counters{{"moved", 5}}};
  }
  Texts Take() { return std::exchange(noted_, {}); }

 private:
  void Note(std::string what) { noted_.push_back(std::move(what)); }
  Texts noted_;
};

struct Heard {
  Texts events;
  bool enough = false;
  std::optional<arrow::Result<RunResult>> result;
};

class NotingSink final : public RunSink {
 public:
  explicit NotingSink(Heard& heard) : heard_(heard) {}
  bool Offer(RunEvent event) override {
    if (const auto* started = std::get_if<ModelStarted>(&event)) {
      heard_.events.push_back("started " + started->model);
    } else if (const auto* finished = std::get_if<ModelFinished>(&event)) {
      heard_.events.push_back(finished->report.name + " " +
                              std::string(ToString(finished->report.status)));
    } else if (const auto* line = std::get_if<OutputLine>(&event)) {
      heard_.events.push_back("line of " + line->model + ": " + line->line);
    } else {
      heard_.events.push_back("planned");
    }
    return !heard_.enough;
  }
  void Done(arrow::Result<RunResult> result) override {
    EXPECT_FALSE(heard_.result);
    heard_.result.emplace(std::move(result));
  }

 private:
  Heard& heard_;
};

/// A run of the model "m" and of "r", which reads it; the latter's table is kept.
class DispatcherTest : public ::testing::Test {
 protected:
  DispatcherTest() {
    for (const char* name : {"m", "r"}) {
      ModelDescription model;
      model.name = name;
      model.file = "models.py";
      model.line = 1;
      project_.models.push_back(model);
    }
    project_.models[1].inputs = {{"m", "m", {}, {}, {}, 1}};
    RunRequest request;
    request.options.jobs = 2;
    request.options.keep = {"r"};
    request.import_timeout_s = 10;
    options_ = request.options;
    dispatcher_.Add(1, request, std::make_unique<NotingSink>(heard_));
  }
  void End(size_t task, decltype(Outcome::what) what, int attempt = 1, bool lost = false) {
    Outcome outcome;
    outcome.what = std::move(what);
    outcome.lost = lost;
    dispatcher_.OnEnded({1, task}, attempt, std::move(outcome));
  }
  void Plan(int attempt = 1) { End(kDiscover, MakePlan(project_, options_), attempt); }
  static TablePtr Table(SegmentId message, std::vector<resource::SegmentBytes> segments = {}) {
    PublishedTable table;
    table.message = {message, 10};
    table.segments = std::move(segments);
    return std::make_shared<const PublishedTable>(std::move(table));
  }
  const RunReport& report() { return (*heard_.result)->report; }

  Description project_;
  RunOptions options_;
  NotingPerformer performer_;
  std::vector<TaskId> dropped_;
  Heard heard_;  // before these, as its results tell of their end
  resource::Time now_ = 0;
  Dispatcher dispatcher_{
      {1, [this] { return now_; }, [this](TaskId task) { dropped_.push_back(task); }}, performer_};
};

TEST_F(DispatcherTest, TellsTheStoryOfARun) {
  Plan();
  End(kModel, Table(7));
  End(kReader, Table(8, {{7, 10}}));
  EXPECT_EQ(performer_.Take(), (Texts{"start 0#1", "start 1#1", "start 2#1", "end", "hand 8"}));
  EXPECT_EQ(heard_.events, (Texts{"planned", "started m", "m success", "started r", "r success"}));
  EXPECT_EQ(report().status, RunStatus::kSuccess);
  EXPECT_EQ(report().peak_memory_bytes, 77);
  EXPECT_EQ(report().kernelzero, (Counters{{"moved", 5}}));
  EXPECT_EQ((*heard_.result)->explanation.plan.nodes.size(), 2);
  EXPECT_TRUE(dispatcher_.idle());
}

/// The same, and what is told of what its tasks took.
class TakingDispatcherTest : public DispatcherTest {
 protected:
  TakingDispatcherTest() {
    Dispatcher::Options options;
    options.slots = 1;
    options.now = [this] { return now_; };
    options.on_result_dropped = [](TaskId) {};
    options.on_taken = [this](const engine::Run& run, size_t task, std::optional<int64_t> peak) {
      taken_.push_back(run.NameOf(task) + " " + std::to_string(peak.value_or(-1)));
    };
    taking_ = std::make_unique<Dispatcher>(std::move(options), performer_);
    RunRequest request;
    request.options = options_;
    taking_->Add(1, request, std::make_unique<NotingSink>(taking_heard_));
    EndHere(kDiscover, MakePlan(project_, options_));
    taken_.clear();
  }
  void EndHere(size_t task, decltype(Outcome::what) what, int attempt = 1, bool lost = false) {
    Outcome outcome;
    outcome.what = std::move(what);
    outcome.charged_peak_bytes = 5;
    outcome.lost = lost;
    taking_->OnEnded({1, task}, attempt, std::move(outcome));
  }

  Texts taken_;
  Heard taking_heard_;
  std::unique_ptr<Dispatcher> taking_;
};

TEST_F(TakingDispatcherTest, WhatSucceededTellsWhatItTook) {
  taking_->OnPublished({1, kModel}, 1, Table(7));
  EXPECT_EQ(taken_, Texts{}) << "not before all of it has ended";
  EndHere(kModel, Table(7));
  EXPECT_EQ(taken_, Texts{"m 5"});
  EndHere(kReader, Table(8));
  EXPECT_EQ(taken_, (Texts{"m 5", "r 5"}));
}

TEST_F(TakingDispatcherTest, WhatFailedWasLostOrWasStoppedTellsNothing) {
  EndHere(kModel, arrow::Status::IOError("lost"), 1, /*lost=*/true);
  EndHere(kModel, Table(7), 2);
  EXPECT_EQ(taken_, Texts{"m 5"});
  taking_->Cancel(1);
  EndHere(kReader, Table(8));
  EXPECT_EQ(taken_, Texts{"m 5"});
}

TEST_F(DispatcherTest, AResultIsHeldUntilItIsDropped) {
  Plan();
  End(kModel, Table(7));
  End(kReader, Table(8, {{7, 10}}));
  performer_.Take();
  EXPECT_EQ(dispatcher_.core().ledger().bytes(), 20);
  heard_.result.reset();
  EXPECT_EQ(dropped_, (std::vector<TaskId>{{1, kReader}}));
  EXPECT_EQ(performer_.Take(), Texts{});  // not before it is told on its own thread
  dispatcher_.DropResult(dropped_[0]);
  EXPECT_EQ(performer_.Take(), (Texts{"free 7", "free 8"}));
}

TEST_F(DispatcherTest, NewsOfAnAttemptThatIsOverChangesNothing) {
  Plan();
  End(kModel, Table(7));
  performer_.Take();
  heard_.events.clear();
  const auto same = dispatcher_.Find(1)->table(0);
  End(kModel, Table(9));
  EXPECT_EQ(performer_.Take(), Texts{"free 9"});
  End(kModel, Failure{});
  End(kReader, Table(10), 2);  // an attempt that never was
  EXPECT_EQ(performer_.Take(), Texts{"free 10"});
  Plan();
  EXPECT_EQ(dispatcher_.Find(1)->table(0), same);
  EXPECT_EQ(heard_.events, Texts{});
  End(kReader, Table(8));
  EXPECT_EQ(report().status, RunStatus::kSuccess);
  EXPECT_EQ(report().models[0].rows, 0);
  EXPECT_EQ(performer_.Take(), (Texts{"free 7", "end", "hand 8"}));
  End(kReader, Table(11));  // of a run that is over
  EXPECT_EQ(performer_.Take(), Texts{"free 11"});
  dispatcher_.OnLine({1, kReader}, 1, "late");
  dispatcher_.OnRunning({1, kReader}, 1);
  dispatcher_.OnImporting(1, "models.py");
  dispatcher_.Cancel(1);
  dispatcher_.Resume(1);
  EXPECT_EQ(performer_.Take(), Texts{});
}

TEST_F(DispatcherTest, APlanThatComesAfterItsTimeIsntRun) {
  dispatcher_.OnRunning({1, kDiscover}, 1);
  now_ = 10;
  dispatcher_.OnTime();
  Plan();
  EXPECT_EQ(performer_.Take(), (Texts{"start 0#1", "stop 0", "end"}));
  EXPECT_EQ(heard_.events, Texts{});
  EXPECT_EQ(report().status, RunStatus::kFailed);
  EXPECT_EQ(report().errors.at(0).message, "reading the project took longer than 10 s");
  EXPECT_TRUE(report().models.empty());
}

TEST_F(DispatcherTest, APlanThatComesAfterTheCancelIsntRun) {
  dispatcher_.Cancel(1);
  dispatcher_.Cancel(1);
  Plan();
  EXPECT_EQ(performer_.Take(), (Texts{"start 0#1", "stop 0", "end"}));
  EXPECT_EQ(report().status, RunStatus::kCancelled);
  EXPECT_TRUE(report().errors.empty());
}

TEST_F(DispatcherTest, ALostAttemptIsNoNewsForTheSink) {
  End(kDiscover, arrow::Status::IOError("the zygote is lost"), 1, true);
  Plan(2);
  End(kModel, Failure{}, 1, true);
  End(kModel, Table(7), 2);
  End(kReader, Table(8));
  EXPECT_EQ(heard_.events, (Texts{"planned", "started m", "m success", "started r", "r success"}));
  ASSERT_TRUE(heard_.result->ok());
  EXPECT_EQ(report().status, RunStatus::kSuccess);
}

TEST_F(DispatcherTest, TheEnginesOwnFailureIsNoReport) {
  End(kDiscover, arrow::Status::IOError("the zygote is lost"), 1, true);
  End(kDiscover, arrow::Status::IOError("the zygote is lost again"), 2, true);
  EXPECT_EQ(heard_.result->status().message(), "the zygote is lost again");
}

TEST_F(DispatcherTest, PausesForASinkThatHasEnough) {
  Plan();
  performer_.Take();
  heard_.events.clear();
  dispatcher_.OnLine({1, kModel}, 1, "one");
  EXPECT_EQ(performer_.Take(), Texts{});
  heard_.enough = true;
  dispatcher_.OnLine({1, kModel}, 2, "two");
  EXPECT_EQ(performer_.Take(), Texts{"pause"});
  dispatcher_.Resume(1);
  EXPECT_EQ(performer_.Take(), Texts{"resume"});
  EXPECT_EQ(heard_.events, (Texts{"line of m: one", "line of m: two"}));
  // What isn't a line comes nevertheless.
  End(kModel, Table(7));
  EXPECT_EQ(performer_.Take(), (Texts{"pause", "pause", "start 2#1"}));
}

}  // namespace
}  // namespace zerrow::engine
