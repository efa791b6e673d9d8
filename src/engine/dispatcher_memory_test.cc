// What a run's report says of its memory, and what of the Core's decisions reaches the performer.
#include <gtest/gtest.h>

#include "engine/dispatcher.h"

namespace zerrow::engine {
namespace {

using resource::RunId;
using resource::TaskId;
using Texts = std::vector<std::string>;

// Of the project below.
enum Task : size_t { kDiscover, kModel, kGate, kReader };

/// Notes what it is told about memory, and what starts.
class NotingPerformer final : public Performer, public MemoryPerformer {
 public:
  void Start(TaskId task, int, const Run&) override { Note("start", task.index); }
  void Stop(TaskId task, int) override { Note("stop", task.index); }
  void Free(SegmentId segment) override { Note("free", segment); }
  void Shrink(SegmentId, std::vector<ByteRange>) override {}
  std::shared_ptr<const ResultTable> Hand(const TablePtr& table,
                                          std::function<void()> on_drop) override {
    return std::make_shared<const ResultTable>(table, ResultTable::Segments{}, std::move(on_drop));
  }
  void Pause(RunId, bool) override {}
  RunUse EndRun(RunId) override { return {}; }
  void Freeze(TaskId task, int, bool frozen) override {
    Note(frozen ? "freeze" : "thaw", task.index);
  }
  void SwapOut(SegmentId segment) override { Note("swap out", segment); }
  void Unload(SegmentId segment) override { Note("unload", segment); }
  void SwapIn(SegmentId segment) override { Note("swap in", segment); }
  void Uncache(SegmentId segment) override { Note("uncache", segment); }
  Texts Take() { return std::exchange(noted_, {}); }

 private:
  void Note(std::string what, uint64_t id) { noted_.push_back(what + " " + std::to_string(id)); }
  Texts noted_;
};

class KeepingSink final : public RunSink {
 public:
  explicit KeepingSink(std::optional<arrow::Result<RunResult>>& result) : result_(result) {}
  bool Offer(RunEvent) override { return true; }
  void Done(arrow::Result<RunResult> result) override { result_.emplace(std::move(result)); }

 private:
  std::optional<arrow::Result<RunResult>>& result_;
};

/// A run of "m", of "gate", which needs 700 bytes, and of "r", which reads both; within 1,000.
class DispatcherMemoryTest : public ::testing::Test {
 protected:
  void Begin(resource::EvictionPolicy policy) {
    for (const char* name : {"m", "gate", "r"}) {
      ModelDescription model;
      model.name = name;
      model.file = "models.py";
      model.line = 1;
      project_.models.push_back(model);
    }
    project_.models[1].inputs = {{"m", "m", {}, {}, {}, 1}};
    project_.models[2].inputs = {{"m", "m", {}, {}, {}, 1}, {"gate", "gate", {}, {}, {}, 1}};
    Dispatcher::Options options;
    options.now = [] { return 0.0; };
    options.on_result_dropped = [](TaskId) {};
    options.budget = {1000, 0};
    options.policy = policy;
    options.memory = &performer_;
    options.estimate = [](RunId, const engine::Run&, std::vector<resource::TaskSpec>& specs) {
      if (specs.size() == 1) return;  // reading the project
      resource::TaskSpec& gate = specs[kGate - 1];
      gate.inputs.clear();  // it has to come after "m", but maps nothing of it
      gate.after = {kModel};
      gate.expected.private_bytes = 700;
    };
    options.slots = 2;
    dispatcher_.emplace(options, performer_);
    dispatcher_->Add(1, RunRequest{}, std::make_unique<KeepingSink>(result_));
    End(kDiscover, MakePlan(project_, {}));
    performer_.Take();
  }
  void End(size_t task, decltype(Outcome::what) what, int attempt = 1) {
    Outcome outcome;
    outcome.what = std::move(what);
    dispatcher_->OnEnded({1, task}, attempt, std::move(outcome));
  }
  static TablePtr Table(SegmentId message, int64_t bytes) {
    PublishedTable table;
    table.message = {message, bytes};
    return std::make_shared<const PublishedTable>(std::move(table));
  }
  const ModelReport& model(size_t index) { return (*result_)->report.models[index]; }

  Description project_;
  NotingPerformer performer_;
  std::optional<arrow::Result<RunResult>> result_;
  std::optional<arrow::Result<RunResult>> other_;
  std::optional<Dispatcher> dispatcher_;
};

TEST_F(DispatcherMemoryTest, ATableGoesToDiskAndComesBack) {
  Begin(resource::EvictionPolicy::kSwap);
  End(kModel, Table(7, 400));
  EXPECT_EQ(performer_.Take(), Texts{"swap out 7"});
  dispatcher_->OnSwappedOut({7, resource::SegmentSwappedOut::Result::kDone, 0.1});
  EXPECT_EQ(performer_.Take(), (Texts{"unload 7", "start 2"}));
  End(kGate, Table(8, 10));
  EXPECT_EQ(performer_.Take(), Texts{"swap in 7"});
  dispatcher_->OnSwappedIn({7, true, 0.1});
  EXPECT_EQ(performer_.Take(), Texts{"start 3"});
  End(kReader, Table(9, 10));
  EXPECT_EQ((*result_)->report.status, RunStatus::kSuccess);
}

TEST_F(DispatcherMemoryTest, WhatIsTooLargeFailsWithItsNumbers) {
  Begin(resource::EvictionPolicy::kSwap);
  dispatcher_->OnMeasured({1, kModel}, 1, 1500);
  EXPECT_EQ(performer_.Take(), (Texts{"freeze 1", "stop 1"}));
  End(kModel, Failure{});
  EXPECT_EQ(model(0).status, ModelStatus::kFailed);
  EXPECT_EQ(model(0).error->message,
            "it needs at least 1.5 kB with its inputs, which the engine's memory limit of 1 kB "
            "doesn't allow; raise --memory-limit, or give it less to do");
  EXPECT_EQ(model(0).error->model, "m");
  EXPECT_EQ(model(0).error->file, "models.py");
  EXPECT_EQ(model(2).status, ModelStatus::kSkipped);
}

TEST_F(DispatcherMemoryTest, WhatAnAttemptAnswersThatRunsAgainIsntTaken) {
  Begin(resource::EvictionPolicy::kSwap);
  dispatcher_->Add(2, RunRequest{}, std::make_unique<KeepingSink>(other_));
  EXPECT_EQ(performer_.Take(), Texts{"start 0"});
  // Beside the other run's task it has outgrown what was expected of it: it runs again, alone.
  dispatcher_->OnMeasured({1, kModel}, 1, 1500);
  EXPECT_EQ(performer_.Take(), (Texts{"freeze 1", "freeze 0", "stop 1"}));
  End(kModel, Table(7, 400));
  EXPECT_EQ(performer_.Take().front(), "free 7");
  EXPECT_EQ(dispatcher_->Find(1)->table(0), nullptr);
  EXPECT_EQ(dispatcher_->Find(1)->models()[0].rows, std::nullopt);
}

TEST_F(DispatcherMemoryTest, IfATableCantBeMadeAgainItsReaderSaysWhy) {
  Begin(resource::EvictionPolicy::kRollback);
  End(kModel, Table(7, 400));
  EXPECT_EQ(performer_.Take(), (Texts{"free 7", "start 2"}));
  End(kGate, Table(8, 10));
  EXPECT_EQ(performer_.Take(), Texts{"start 1"});
  Failure failure;
  failure.error.message = "no such file";
  End(kModel, failure, 2);
  EXPECT_EQ(model(0).status, ModelStatus::kSuccess);
  EXPECT_EQ(model(2).status, ModelStatus::kFailed);
  EXPECT_EQ(model(2).error->message,
            "a table that it reads was dropped and couldn't be made again ('m': no such file)");
}

}  // namespace
}  // namespace zerrow::engine
