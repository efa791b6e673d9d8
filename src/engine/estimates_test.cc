#include "engine/estimates.h"

#include <gtest/gtest.h>

#include <set>

namespace zerrow::engine {
namespace {

using resource::TaskSpec;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kMB = 1'000'000;

ModelDescription Model(std::string name, ModelKind kind, std::vector<std::string> inputs) {
  ModelDescription model;
  model.name = std::move(name);
  model.kind = kind;
  model.file = "models.py";
  model.code = "f00d";
  for (std::string& input : inputs) model.inputs.push_back({"input", input, {}, {}, {}, 1});
  return model;
}

/// The source t, of which a takes 100 MB and b 300 MB, and models.
class EstimatesTest : public ::testing::Test {
 protected:
  EstimatesTest() {
    project_.sources = {{"t",
                         {{"/t.parquet", {}}},
                         {{"a", "int64", 100 * kMB}, {"b", "string", 300 * kMB}},
                         "project.yml",
                         2}};
    request_.options.project_dir = "/project";
    request_.backend = BackendKind::kMemfd;
  }

  void Add(ModelDescription model) { project_.models.push_back(std::move(model)); }

  /// A run of the project as it is now, and what is expected of its tasks.
  const TaskSpec& Expect(const std::string& name) {
    Plan();
    return specs_[*run_->plan().Find(name)];
  }
  void Plan() {
    run_.emplace("name", request_, 0);
    run_->FirstTasks();
    auto planned = MakePlan(project_, request_.options);
    ASSERT_TRUE(planned.errors.empty()) << planned.errors.front().ToString();
    specs_ = run_->OnPlanned(std::move(planned));
    Estimates(history_).Fill(*run_, specs_);
  }
  /// The task of the node has succeeded.
  void Took(const std::string& name, int64_t new_bytes, int64_t reshared_bytes, int64_t peak,
            double run_s = 1) {
    const size_t task = 1 + *run_->plan().Find(name);
    run_->OnStarted(task, 0);
    PublishedTable table;
    table.bytes.new_bytes = new_bytes;
    table.bytes.reshared_bytes = reshared_bytes;
    Outcome outcome;
    outcome.what = std::make_shared<const PublishedTable>(table);
    run_->OnEnded(task, std::move(outcome), run_s);
    Estimates(history_).Note(*run_, task, peak);
  }
  CodeKey KeyNow(const std::string& name) {
    Plan();
    return KeyOf(*run_, *run_->plan().Find(name));
  }

  Description project_;
  RunRequest request_;
  History memory_{""};
  History* history_ = &memory_;
  std::optional<engine::Run> run_;
  std::vector<TaskSpec> specs_;
};

TEST_F(EstimatesTest, OfUnknownCodeNothingIsExpectedButOfReadingFiles) {
  Add(Model("python", ModelKind::kPython, {"t"}));
  Add(Model("sql", ModelKind::kSql, {"python", "t"}));
  Add(Model("native", ModelKind::kNative, {"python"}));
  Add(Model("check", ModelKind::kExpectation, {"python"}));
  for (History* history : {&memory_, static_cast<History*>(nullptr)}) {
    history_ = history;
    EXPECT_EQ(Expect("t").expected.output_bytes, 400 * kMB);
    EXPECT_LT(Expect("t").expected.private_bytes, 64 * kMiB);
    for (const char* name : {"python", "sql", "native", "check"}) {
      EXPECT_EQ(Expect(name).expected.peak_bytes(), 0) << name;
    }
  }
}

TEST_F(EstimatesTest, OfASourceWhatIsReadCounts) {
  Add(Model("narrow", ModelKind::kPython, {"t"}));
  project_.models[0].inputs[0].columns = {"a"};
  EXPECT_EQ(Expect("t").expected.output_bytes, 100 * kMB);
  Add(Model("other", ModelKind::kPython, {"t"}));
  project_.models[1].inputs[0].columns = {"b", "a"};
  EXPECT_EQ(Expect("t").expected.output_bytes, 400 * kMB) << "a is read once for both";
  Took("t", 400 * kMB, 0, 410 * kMB);
  Took("narrow", 100 * kMB, 0, 100 * kMB);
  Took("other", 400 * kMB, 0, 400 * kMB);
  project_.sources[0].columns = {{"a", "int64", 50 * kMB}, {"b", "string", 150 * kMB}};
  EXPECT_EQ(Expect("t").expected.output_bytes, 200 * kMB);
  EXPECT_EQ(Expect("narrow").expected.output_bytes, 50 * kMB) << "the same part of less";
  EXPECT_EQ(Expect("other").expected.output_bytes, 200 * kMB);
}

TEST_F(EstimatesTest, AFilterIsATaskOfItsOwn) {
  Add(Model("m", ModelKind::kPython, {"t"}));
  project_.models[0].inputs[0].filter = "a > 1";
  project_.models[0].inputs[0].filter_columns = {"a"};
  Plan();
  Took("t", 400 * kMB, 0, 0);
  Took("t#2", 4 * kMB, 0, 10 * kMB);
  Took("m", 4 * kMB, 0, 4 * kMB);
  EXPECT_EQ(Expect("t#2").expected.output_bytes, 4 * kMB);
  EXPECT_EQ(Expect("t#2").expected.private_bytes, 6 * kMB);
  EXPECT_EQ(Expect("m").expected.output_bytes, 4 * kMB);
}

TEST_F(EstimatesTest, WhatWasTakenIsExpectedAgainAndWhatFollowsFromIt) {
  Add(Model("first", ModelKind::kPython, {"t"}));
  Add(Model("second", ModelKind::kPython, {"first"}));
  Plan();
  Took("t", 400 * kMB, 0, 420 * kMB);
  // Its table refers to 60 MB of its input.
  Took("first", 20 * kMB, 60 * kMB, 500 * kMB, 3);
  Took("second", 80 * kMB, 0, 80 * kMB);
  EXPECT_EQ(Expect("first").expected.output_bytes, 20 * kMB);
  EXPECT_EQ(Expect("first").expected.private_bytes, 480 * kMB);
  EXPECT_EQ(Expect("first").expected.run_s, 3);
  EXPECT_EQ(Expect("second").expected.output_bytes, 80 * kMB);
  project_.sources[0].columns[1].bytes = 700 * kMB;
  EXPECT_EQ(Expect("t").expected.output_bytes, 800 * kMB);
  EXPECT_EQ(Expect("first").expected.output_bytes, 40 * kMB);
  EXPECT_EQ(Expect("second").expected.output_bytes, 160 * kMB);
}

TEST_F(EstimatesTest, WithoutAChargedPeakTheProcesssOwnCountsButForItsInputs) {
  Add(Model("m", ModelKind::kPython, {"t"}));
  Plan();
  Took("t", 40 * kMB, 0, 0);
  const size_t task = 1 + *run_->plan().Find("m");
  run_->OnStarted(task, 0);
  Outcome outcome;
  outcome.what = std::make_shared<const PublishedTable>();
  outcome.peak_memory_bytes = 45 * kMB;
  run_->OnEnded(task, std::move(outcome), 1);
  Estimates(history_).Note(*run_, task, std::nullopt);
  EXPECT_EQ(Expect("m").expected.peak_bytes(), 5 * kMB);
}

TEST_F(EstimatesTest, ADeclaredMemoryIsThePeak) {
  Add(Model("m", ModelKind::kPython, {"t"}));
  project_.models[0].memory_bytes = 600 * kMB;
  EXPECT_EQ(Expect("m").expected.peak_bytes(), 600 * kMB);
  project_.models[0].memory_bytes = 1 * kMB;
  EXPECT_EQ(Expect("m").expected.peak_bytes(), 1 * kMB);
  Took("t", 400 * kMB, 0, 0);
  Took("m", 50 * kMB, 0, 700 * kMB);
  EXPECT_EQ(Expect("m").expected.peak_bytes(), 1 * kMB);
  project_.models[0].memory_bytes.reset();
  EXPECT_EQ(Expect("m").expected.peak_bytes(), 700 * kMB);
}

TEST_F(EstimatesTest, OfReadingTheProjectNothingIsExpected) {
  engine::Run run("name", request_, 0);
  std::vector<TaskSpec> first = run.FirstTasks();
  Estimates(nullptr).Fill(run, first);
  EXPECT_EQ(first.at(0).expected.peak_bytes(), 0);
}

TEST_F(EstimatesTest, WhatIsDoneWithATableNeedsLittle) {
  Add(Model("m", ModelKind::kPython, {"t"}));
  request_.options.preview_rows = 3;
  request_.options.output_dir = "/out";
  Plan();
  ASSERT_EQ(specs_.size(), 4);
  for (const size_t task : {2, 3}) {
    EXPECT_EQ(specs_[task].expected.output_bytes, 0);
    EXPECT_GT(specs_[task].expected.private_bytes, 0);
    EXPECT_LE(specs_[task].expected.private_bytes, 64 * kMiB);
  }
}

TEST_F(EstimatesTest, SumsOfWhatCannotBeDoNotOverflow) {
  project_.sources[0].columns = {{"a", "int64", Observation::kMostBytes},
                                 {"b", "int64", Observation::kMostBytes}};
  std::string input = "t";
  for (int i = 0; i < 40; ++i) {
    const std::string name = "m" + std::to_string(i);
    Add(Model(name, ModelKind::kPython, {input, input}));
    input = name;
  }
  Plan();
  for (const TaskSpec& spec : specs_) {
    EXPECT_GE(spec.expected.output_bytes, 0);
    EXPECT_LE(spec.expected.peak_bytes(), 2 * Observation::kMostBytes);
  }
}

TEST_F(EstimatesTest, OtherCodeHasAnotherKey) {
  ModelDescription m = Model("m", ModelKind::kPython, {"t"});
  m.parameters = {{"n", "limit"}};
  Add(m);
  project_.parameters = {{"limit", "int", 3, "p.yml", 1}};
  std::set<CodeKey> keys = {KeyNow("m")};
  const auto expect_new = [&](const char* what) {
    EXPECT_TRUE(keys.insert(KeyNow("m")).second) << what;
  };
  ModelDescription& model = project_.models[0];
  model.code = "beef";
  expect_new("code");
  model.function = "g";
  expect_new("function");
  project_.parameters[0].value = 4;
  expect_new("a parameter's value");
  model.inputs[0].columns = {"a"};
  expect_new("columns");
  model.inputs[0].filter = "a > 1";
  expect_new("filter");
  model.inputs[0].dictionary = Dictionaries::kAlways;
  expect_new("dictionary");
  model.columns = {{{"x", "", std::nullopt}}};
  expect_new("declared columns");
  request_.backend = BackendKind::kCopy;
  expect_new("backend");
  model.kind = ModelKind::kSql;
  expect_new("kind");
  model.sql = "SELECT 1";
  expect_new("query");
  model.engine = "duckdb";
  expect_new("engine");
  model.operator_ = {{"kind", "sort"}};
  expect_new("operator");
}

TEST_F(EstimatesTest, TheSameCodeHasTheSameKeyWhateverElseIsThere) {
  Add(Model("m", ModelKind::kPython, {"t"}));
  const CodeKey key = KeyNow("m");
  const CodeKey source = KeyNow("t");
  project_.sources[0].columns[0].bytes = 5;
  project_.sources[0].files.push_back({"/more.parquet", {}});
  project_.models[0].line = 20;
  Add(Model("other", ModelKind::kPython, {"m"}));
  EXPECT_EQ(KeyNow("m"), key);
  EXPECT_EQ(KeyNow("t"), source);
  project_.models[0].inputs[0].columns = {"a"};
  EXPECT_NE(KeyNow("t"), source);
}

}  // namespace
}  // namespace zerrow::engine
