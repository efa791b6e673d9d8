#include "engine/run.h"

#include <gtest/gtest.h>

namespace zerrow::engine {
namespace {

using nlohmann::json;
using enum ModelStatus;

// The tasks of the project below: its reading, then its nodes.
enum Task : size_t { kDiscover, kSource, kModel, kCheck, kPreview, kExport };

ModelDescription Model(std::string name, ModelKind kind, std::string input, int line) {
  ModelDescription model;
  model.name = std::move(name);
  model.kind = kind;
  model.file = "models.py";
  model.line = line;
  model.inputs = {{"input", std::move(input), {}, {}, {}, line}};
  return model;
}

/// flights -> delays -> delays_check, with a preview and a file of delays.
class RunTest : public ::testing::Test {
 protected:
  RunTest() {
    project_.sources = {{"flights", {{"/f.parquet", {}}}, {{"a", "int64"}}, "project.yml", 2}};
    project_.models = {Model("delays", ModelKind::kPython, "flights", 5),
                       Model("delays_check", ModelKind::kExpectation, "delays", 9)};
    project_.models[0].timeout_s = 7;
    request_.options.preview_rows = 3;
    request_.options.output_dir = "/out";
    request_.options.keep = {"*"};
    request_.import_timeout_s = 30;
  }

  void Discover() {
    run_.emplace("name", request_, 0);
    specs_ = run_->FirstTasks();
    run_->OnStarted(kDiscover, 0);
  }
  void Plan() {
    Discover();
    for (auto& spec : run_->OnPlanned(MakePlan(project_, request_.options))) {
      specs_.push_back(std::move(spec));
    }
    Outcome planned;
    planned.what = PlanResult{};
    EXPECT_EQ(End(kDiscover, std::move(planned)), kSuccess);
  }
  /// The attempt ends so, and the Core agrees.
  ModelStatus End(size_t task, Outcome outcome) {
    const ModelStatus status = run_->OnEnded(task, std::move(outcome), 3);
    run_->OnFinished(task, status);
    return status;
  }
  ModelStatus Answer(size_t task, json value) {
    Outcome outcome;
    outcome.what = std::move(value);
    return End(task, std::move(outcome));
  }
  static Outcome Failed(std::string message, std::string file = "", int line = 0) {
    Outcome outcome;
    RunError& error = outcome.what.emplace<Failure>().error;
    error.message = std::move(message);
    error.file = std::move(file);
    error.line = line;
    return outcome;
  }
  static Outcome Table(SegmentId message = 7) {
    PublishedTable table;
    table.message = {message, 100};
    table.rows = 42;
    Outcome outcome;
    outcome.what = std::make_shared<const PublishedTable>(table);
    return outcome;
  }
  ModelStatus AnswerTable(size_t task) { return End(task, Table()); }
  const ModelReport& report(size_t task) const { return run_->models()[task - kSource]; }
  std::vector<std::string> Errors() {
    std::vector<std::string> texts;
    for (const RunError& error : run_->report().errors) texts.push_back(error.ToString());
    return texts;
  }
  using Texts = std::vector<std::string>;

  Description project_;
  RunRequest request_;
  std::optional<engine::Run> run_;
  std::vector<resource::TaskSpec> specs_;
};

TEST_F(RunTest, ItsTasksAreItsReadingItsNodesAndWhatIsDoneWithTheirTables) {
  Plan();
  ASSERT_EQ(specs_.size(), 6);
  EXPECT_EQ(specs_[kDiscover].timeout_s, 30.0);
  EXPECT_FALSE(specs_[kDiscover].has_table);
  EXPECT_TRUE(specs_[kSource].has_table);
  EXPECT_FALSE(specs_[kSource].kept);  // "*" is of models
  EXPECT_EQ(specs_[kModel].inputs, std::vector<size_t>{kSource});
  EXPECT_EQ(specs_[kModel].timeout_s, 7.0);
  EXPECT_TRUE(specs_[kModel].kept);
  EXPECT_FALSE(specs_[kCheck].has_table);
  EXPECT_FALSE(specs_[kCheck].kept);
  EXPECT_EQ(run_->task(kPreview).kind, RunTask::Kind::kPreview);
  EXPECT_EQ(specs_[kPreview].inputs, std::vector<size_t>{kModel});
  EXPECT_TRUE(specs_[kPreview].after.empty());
  EXPECT_EQ(run_->task(kExport).path, "/out/delays.parquet");
  EXPECT_EQ(run_->NameOf(kExport), "delays");
  EXPECT_EQ(run_->NameOf(kDiscover), "");
}

TEST_F(RunTest, WhatAModelDeclaresIsExpectedOfItsTask) {
  project_.models[0].memory_bytes = 5000;
  project_.models[0].deterministic = false;
  Plan();
  EXPECT_EQ(specs_[kModel].expected.peak_bytes(), 5000);
  EXPECT_FALSE(specs_[kModel].deterministic);
  EXPECT_EQ(specs_[kSource].expected.peak_bytes(), 0);
  EXPECT_TRUE(specs_[kSource].deterministic);
  EXPECT_TRUE(specs_[kCheck].deterministic);
}

TEST_F(RunTest, WithoutStrictNothingWaitsForChecks) {
  Plan();
  EXPECT_TRUE(specs_[kExport].after.empty());
}

TEST_F(RunTest, WithStrictFilesWaitAtOneGateForAllChecks) {
  request_.options.strict = true;
  Plan();
  ASSERT_EQ(specs_.size(), 7);
  const size_t gate = kCheck + 1;
  EXPECT_EQ(run_->task(gate).kind, RunTask::Kind::kChecks);
  EXPECT_TRUE(specs_[gate].gate);
  EXPECT_EQ(specs_[gate].after, std::vector<size_t>{kCheck});
  EXPECT_TRUE(specs_[gate].inputs.empty());
  EXPECT_TRUE(specs_[kPreview + 1].after.empty());
  EXPECT_EQ(specs_[kExport + 1].after, std::vector<size_t>{gate});
  EXPECT_EQ(run_->task(kExport + 1).path, "/out/delays.parquet");
}

TEST_F(RunTest, SucceedsOnlyIfEverythingDid) {
  Plan();
  AnswerTable(kSource);
  AnswerTable(kModel);
  Answer(kCheck, {{"met", true}});
  Answer(kPreview, {{"columns", json::array()}, {"rows", json::array()}, {"total_rows", 42}});
  Answer(kExport, json::object());
  EXPECT_TRUE(run_->Finish(9, {.peak_memory_bytes = 1000}).ok());
  const RunReport& report = run_->report();
  EXPECT_EQ(report.status, RunStatus::kSuccess);
  EXPECT_EQ(report.wall_s, 9);
  EXPECT_EQ(report.peak_memory_bytes, 1000);
  EXPECT_EQ(report.outputs, Texts{"/out/delays.parquet"});
  EXPECT_EQ(report.previews.at(0).total_rows, 42);
  EXPECT_EQ(run_->kept(), (std::map<std::string, size_t>{{"delays", kModel}}));
  EXPECT_EQ(run_->kept_table(kModel)->rows, 42);
}

TEST_F(RunTest, AFailedCheckIsAWarningButUnderStrictAFailure) {
  const json unmet = {{"met", false}, {"message", "3 < 4"}, {"file", "checks.py"}, {"line", 8}};
  for (const bool strict : {false, true}) {
    request_.options.strict = strict;
    Plan();
    EXPECT_EQ(Answer(kCheck, unmet), strict ? kFailed : kSuccess);
    EXPECT_EQ(report(kCheck).expectation, false);
    const auto& said = strict ? report(kCheck).error : report(kCheck).warning;
    EXPECT_EQ(said->ToString(), "checks.py:8: delays_check: 3 < 4");
    EXPECT_NE(report(kCheck).error.has_value(), report(kCheck).warning.has_value());
  }
}

TEST_F(RunTest, AFailedCheckWithoutWordsHasItsModelsPlace) {
  Plan();
  EXPECT_EQ(Answer(kCheck, {{"met", false}}), kSuccess);
  EXPECT_EQ(report(kCheck).warning->ToString(),
            "models.py:9: delays_check: the expectation isn't met");
}

TEST_F(RunTest, WhatIsNoAnswerOfACheckFailsIt) {
  for (const json& value : {json(), json(true), json("met"), json{{"met", 1}},
                            json{{"met", nullptr}}, json{{"message", "x"}}, json::array({true})}) {
    Plan();
    EXPECT_EQ(Answer(kCheck, value), kFailed) << value;
    EXPECT_EQ(report(kCheck).expectation, std::nullopt);
    EXPECT_TRUE(report(kCheck).error->message.starts_with("its worker answered")) << value;
  }
}

TEST_F(RunTest, TakesAPreview) {
  Plan();
  const json value = json::parse(R"({"columns": [["a", "int64"], ["b", "string"]],
                                     "rows": [[1, "x"], [2, null]], "total_rows": 5})");
  EXPECT_EQ(Answer(kPreview, value), kSuccess);
  const Preview& preview = run_->report().previews.at(0);
  EXPECT_EQ(preview.model, "delays");
  EXPECT_EQ(preview.columns.at(1), std::pair(std::string("b"), std::string("string")));
  EXPECT_EQ(preview.rows.at(1), (std::vector<json>{2, nullptr}));
}

TEST_F(RunTest, RefusesAMalformedPreview) {
  const json good =
      json::parse(R"({"columns": [["a", "int64"]], "rows": [["1"]], "total_rows": 1})");
  std::vector<json> bad = {json(), json(3), json::array(), json::object()};
  const std::pair<const char*, const char*> changes[] = {{"columns", "null"},
                                                         {"columns", "{}"},
                                                         {"columns", R"(["a"])"},
                                                         {"columns", R"([["a"]])"},
                                                         {"columns", R"([["a", 1]])"},
                                                         {"columns", R"([["a", "b", "c"]])"},
                                                         {"columns", R"([{"a": "b"}])"},
                                                         {"rows", "3"},
                                                         {"rows", R"([["1", "2"]])"},
                                                         {"rows", "[[]]"},
                                                         {"rows", R"(["1"])"},
                                                         {"rows", "[null]"},
                                                         {"total_rows", R"("1")"},
                                                         {"total_rows", "1.5"},
                                                         {"total_rows", "null"},
                                                         {"total_rows", "-1"},
                                                         {"total_rows", "18446744073709551615"}};
  for (const auto& [key, value] : changes) {
    bad.push_back(good);
    bad.back()[key] = json::parse(value);
    bad.push_back(good);
    bad.back().erase(key);
  }
  for (const json& value : bad) {
    Plan();
    EXPECT_EQ(Answer(kPreview, value), kFailed) << value;
    EXPECT_EQ(Errors(), Texts{"models.py:5: delays: its preview failed: its preview is malformed"});
    EXPECT_TRUE(run_->report().previews.empty());
  }
  Plan();
  EXPECT_EQ(Answer(kPreview, good), kSuccess);
}

TEST_F(RunTest, AnErrorSaysWhereItIsOrWhereItsModelIs) {
  Plan();
  EXPECT_EQ(End(kModel, Failed("boom", "helpers.py", 3)), kFailed);
  EXPECT_EQ(report(kModel).error->ToString(), "helpers.py:3: delays: boom");
  Plan();
  End(kModel, Failed("boom"));
  EXPECT_EQ(report(kModel).error->ToString(), "models.py:5: delays: boom");
  Plan();
  End(kSource, Failed("no such file"));
  EXPECT_EQ(report(kSource).error->ToString(), "project.yml:2: flights: no such file");
  Plan();
  End(kExport, Failed("disk full"));
  EXPECT_EQ(Errors(), Texts{"models.py:5: delays: writing it to a file failed: disk full"});
  Outcome engines;
  engines.what = arrow::Status::IOError("no descriptors");
  EXPECT_EQ(End(kModel, std::move(engines)), kFailed);
  EXPECT_EQ(report(kModel).error->message, "no descriptors");
  EXPECT_TRUE(run_->Finish(9, {}).ok());  // the run's failure, not the engine's
  EXPECT_EQ(run_->report().status, RunStatus::kFailed);
}

TEST_F(RunTest, WhatFailsWhileTheProjectIsReadIsOfTheFileThatWasImported) {
  Discover();
  run_->OnImporting("models.py");
  EXPECT_EQ(End(kDiscover, Failed("its process died")), kFailed);
  EXPECT_EQ(Errors(), Texts{"models.py: while the project was read, its process died"});
  Discover();
  run_->OnImporting("models.py");
  End(kDiscover, Failed("syntax error", "other.py", 4));
  EXPECT_EQ(Errors(), Texts{"other.py:4: syntax error"});
  EXPECT_TRUE(run_->Finish(9, {}).ok());
  EXPECT_EQ(run_->report().status, RunStatus::kFailed);
}

TEST_F(RunTest, TheEnginesFailureToReadTheProjectIsItsOwn) {
  Discover();
  Outcome broken;
  broken.what = arrow::Status::IOError("no zygote");
  EXPECT_EQ(End(kDiscover, std::move(broken)), kFailed);
  EXPECT_TRUE(run_->Finish(9, {}).IsIOError());
  run_->OnCancelled();
  EXPECT_TRUE(run_->Finish(9, {}).ok());
  EXPECT_EQ(run_->report().status, RunStatus::kCancelled);
}

TEST_F(RunTest, ATimeoutNamesWhatHung) {
  Discover();
  run_->OnImporting("models.py");
  run_->OnEnded(kDiscover, Failed("killed"), 3);
  run_->OnFinished(kDiscover, kTimeout);
  EXPECT_EQ(Errors(), Texts{"models.py: importing this file hangs: reading the project took longer "
                            "than 30 s"});
  Plan();
  run_->OnEnded(kModel, Failed("killed"), 3);
  EXPECT_EQ(run_->OnFinished(kModel, kTimeout)->error->ToString(),
            "models.py:5: delays: it took longer than its timeout of 7 s");
}

TEST_F(RunTest, WhatCameTooLateLeavesNoTrace) {
  for (const ModelStatus status : {kTimeout, kCancelled}) {
    Plan();
    EXPECT_EQ(run_->OnEnded(kModel, Table(), 3), kSuccess);
    const ModelReport* model = run_->OnFinished(kModel, status);
    EXPECT_EQ(model->status, status);
    EXPECT_EQ(model->rows, std::nullopt);
    EXPECT_EQ(run_->table(kModel - kSource), nullptr);
    EXPECT_TRUE(run_->kept().empty());
    EXPECT_EQ(model->error.has_value(), status == kTimeout);
  }
}

TEST_F(RunTest, WhatWasCancelledHasNoError) {
  Plan();
  run_->OnCancelled();
  for (const size_t task : {kModel, kPreview, kExport}) {
    run_->OnEnded(task, Failed("killed"), 3);
    run_->OnFinished(task, kCancelled);
  }
  EXPECT_FALSE(report(kModel).error);
  EXPECT_EQ(Errors(), Texts{});
}

TEST_F(RunTest, ALostAttemptsErrorsAreForgottenOnceAnotherIsMade) {
  // In each, the first attempt is lost and isn't finished; the second one answers.
  Discover();
  Outcome broken;
  broken.what = arrow::Status::IOError("the zygote is lost");
  run_->OnImporting("models.py");
  run_->OnEnded(kDiscover, std::move(broken), 1);
  run_->OnStarted(kDiscover, 2);
  End(kDiscover, Failed("boom"));
  EXPECT_EQ(Errors(), Texts{"while the project was read, boom"});
  EXPECT_TRUE(run_->Finish(3, {}).ok());

  Plan();
  for (const size_t task : {kSource, kModel, kCheck, kPreview, kExport}) {
    run_->OnEnded(task, Failed("its process was lost"), 1);
    run_->OnStarted(task, 2);
  }
  AnswerTable(kSource);
  AnswerTable(kModel);
  Answer(kCheck, {{"met", true}});
  Answer(kPreview, {{"columns", json::array()}, {"rows", json::array()}, {"total_rows", 0}});
  Answer(kExport, json::object());
  EXPECT_TRUE(run_->Finish(9, {}).ok());
  EXPECT_EQ(run_->report().status, RunStatus::kSuccess);
  EXPECT_EQ(Errors(), Texts{});
}

TEST_F(RunTest, AnAnswerOfAnotherKindFails) {
  Plan();
  EXPECT_EQ(Answer(kModel, 7), kFailed);
  EXPECT_EQ(AnswerTable(kCheck), kFailed);
  EXPECT_EQ(AnswerTable(kPreview), kFailed);
  EXPECT_EQ(AnswerTable(kExport), kFailed);
  for (const size_t node : {0, 1, 2}) EXPECT_EQ(run_->table(node), nullptr);
}

TEST_F(RunTest, ATableIsThereFromItsEndToItsRelease) {
  Plan();
  AnswerTable(kModel);
  EXPECT_EQ(run_->table(1)->rows, 42);
  EXPECT_EQ(report(kModel).rows, 42);
  run_->OnReleased(kModel);
  EXPECT_EQ(run_->table(1), nullptr);
  EXPECT_EQ(run_->kept_table(kModel)->rows, 42);
}

TEST_F(RunTest, WhatMayBeMadeAgainIsHashed) {
  Plan();
  EXPECT_FALSE(run_->IsHashed(run_->task(kModel)));
  request_.hash_outputs = true;
  Plan();
  EXPECT_FALSE(run_->IsHashed(run_->task(kDiscover)));
  EXPECT_TRUE(run_->IsHashed(run_->task(kSource)));
  EXPECT_TRUE(run_->IsHashed(run_->task(kModel)));
  EXPECT_FALSE(run_->IsHashed(run_->task(kCheck)));
  EXPECT_FALSE(run_->IsHashed(run_->task(kExport)));
  project_.models[0].deterministic = false;
  Plan();
  EXPECT_FALSE(run_->IsHashed(run_->task(kModel)));
}

TEST_F(RunTest, OfWhatRunsAgainOnlyTheLastCounts) {
  const json preview = json::parse(R"({"columns": [["a", "int64"]], "rows": [], "total_rows": 9})");
  Plan();
  AnswerTable(kSource);
  AnswerTable(kModel);
  Answer(kCheck, {{"met", false}});
  Answer(kPreview, preview);
  Answer(kExport, json::object());
  ASSERT_EQ(run_->kept_table(kModel)->message.id, 7);
  // The source is made again, and differs.
  End(kSource, Table(8));
  run_->OnVaried(kSource);
  EXPECT_TRUE(run_->OnRestarted(kModel, kSource));
  EXPECT_TRUE(run_->OnRestarted(kCheck, kSource));
  EXPECT_FALSE(run_->OnRestarted(kPreview, kSource));
  EXPECT_FALSE(run_->OnRestarted(kExport, kSource));
  EXPECT_EQ(report(kModel).rows, std::nullopt);
  EXPECT_EQ(report(kModel).name, "delays");
  EXPECT_EQ(report(kCheck).warning, std::nullopt);
  EXPECT_TRUE(run_->kept().empty());
  EXPECT_TRUE(run_->report().previews.empty());
  EXPECT_TRUE(run_->report().outputs.empty());
  // It is still as it was.
  EXPECT_FALSE(run_->OnRestarted(kModel, kSource));
  EXPECT_TRUE(run_->IsOutdated(kPreview)) << "an attempt from before may still answer";
  EXPECT_FALSE(run_->IsOutdated(kSource));

  run_->OnStarted(kPreview, 3);
  EXPECT_FALSE(run_->IsOutdated(kPreview));
  End(kModel, Table(9));
  EXPECT_EQ(run_->kept_table(kModel)->message.id, 9);
  Answer(kCheck, {{"met", true}});
  Answer(kPreview, preview);
  Answer(kExport, json::object());
  ASSERT_TRUE(run_->Finish(4, {}).ok());
  EXPECT_EQ(run_->report().status, RunStatus::kSuccess);
  EXPECT_EQ(run_->report().outputs, Texts{"/out/delays.parquet"});
  EXPECT_EQ(run_->report().previews.size(), 1);
  EXPECT_EQ(Errors(), Texts{});
  ASSERT_EQ(run_->report().varying.size(), 1);
  EXPECT_EQ(run_->report().varying[0].model, "flights");
  EXPECT_EQ(run_->report().varying[0].run_again, 2) << "files and previews are no models";
}

TEST_F(RunTest, AKeptTableIsTheOneThatCameOutLast) {
  Plan();
  AnswerTable(kSource);
  AnswerTable(kModel);
  End(kModel, Table(8));
  EXPECT_EQ(run_->kept_table(kModel)->message.id, 7) << "made again, it is the same";
  run_->OnVaried(kModel);
  EXPECT_EQ(run_->kept_table(kModel)->message.id, 8);
}

TEST_F(RunTest, AFileThatIsntWrittenAgainIsNamed) {
  Plan();
  AnswerTable(kSource);
  AnswerTable(kModel);
  Answer(kCheck, {{"met", true}});
  Answer(kExport, json::object());
  run_->OnVaried(kSource);
  run_->OnRestarted(kModel, kSource);
  run_->OnRestarted(kExport, kSource);
  End(kModel, Failed("once was enough"));
  run_->OnFinished(kExport, kSkipped);
  ASSERT_TRUE(run_->Finish(4, {}).ok());
  EXPECT_EQ(run_->report().status, RunStatus::kFailed);
  EXPECT_TRUE(run_->report().outputs.empty());
  EXPECT_EQ(Errors(), Texts{"models.py:5: delays: /out/delays.parquet holds what was made of an "
                            "earlier version of a table that came out differently later in this "
                            "run"});
}

TEST_F(RunTest, OfAPlanOnlyNothingIsRun) {
  request_.plan_only = true;
  Discover();
  EXPECT_TRUE(run_->OnPlanned(MakePlan(project_, request_.options)).empty());
  EXPECT_TRUE(run_->Finish(1, {}).ok());
  EXPECT_EQ(run_->report().status, RunStatus::kSuccess);
  EXPECT_EQ(run_->plan().nodes.size(), 3);
}

TEST_F(RunTest, AProjectWithErrorsIsntRun) {
  project_.models[0].inputs[0].model = "fligths";
  Discover();
  EXPECT_TRUE(run_->OnPlanned(MakePlan(project_, request_.options)).empty());
  EXPECT_TRUE(run_->Finish(1, {}).ok());
  EXPECT_EQ(run_->report().status, RunStatus::kFailed);
  EXPECT_EQ(Errors().size(), 1);
}

}  // namespace
}  // namespace zerrow::engine
