// The messages of tests/messages.json, of which tests/python/worker/test_messages.py holds Python's
// side to the same names.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string_view>

#include "engine/answer.h"
#include "engine/environment.h"
#include "engine/task_message.h"
#include "engine/testing/scan_fixture.h"
#include "engine/worker_pool.h"

namespace zerrow::engine {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::Encoded;
using testing::ScanTest;
using testing::Value;
using Texts = std::vector<std::string>;

const json& Golden() {
  static const json golden = json::parse(std::ifstream(ZERROW_MESSAGES));
  return golden;
}

WorkerEnd Answered(const char* name) {
  WorkerEnd end;
  end.message = base::Message{Golden().at(name), {}};
  end.message->fds.push_back(base::MakeSealedMemfd("test", "x").ValueOrDie());
  return end;
}

TEST(Messages, ReadsADescription) {
  const auto description = ParseDescription(Golden().at("description")).ValueOrDie();
  EXPECT_EQ(description.name, "p");
  EXPECT_EQ(description.memory_limit_bytes, 3'000'000'000);
  EXPECT_EQ(description.parameters.at(0).value, 3);
  EXPECT_EQ(description.sources.at(0).columns.at(0).bytes, 24);
  EXPECT_EQ(description.errors.at(0).file, "bad.sql");
  EXPECT_EQ(description.broken, (Texts{"*", "bad"}));
  const ModelDescription& apart = description.models.at(0);
  EXPECT_EQ(apart.kind, ModelKind::kPython);
  EXPECT_EQ(apart.inputs.at(0).filter_columns, Texts{"a"});
  EXPECT_EQ(apart.environment, (EnvironmentDescription{"3.11.2", {"x==1"}}));
  EXPECT_EQ(description.models.at(3).tags, Texts{"core"});
}

TEST(Messages, ReadsAnOutput) {
  const Answer answer = ReadAnswer(Answered("output"));
  ASSERT_TRUE(std::holds_alternative<OutputAnswer>(answer));
  const auto& output = std::get<OutputAnswer>(answer);
  EXPECT_EQ(output.format, PublishedTable::Format::kSipc);
  EXPECT_EQ(output.rows, 42);
  EXPECT_EQ(output.bytes.copied_bytes, 2);
  EXPECT_EQ(output.bytes.content_reshared_bytes, 4);
  EXPECT_EQ(output.bytes.duplicate_bytes, 1);
  EXPECT_EQ(output.content_hash, "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(output.timings.open_s, 0.25);
  EXPECT_EQ(output.timings.run_s, 0.5);
  EXPECT_EQ(output.timings.encode_s, 0.75);
  EXPECT_EQ(output.answered_cpu_s, 2.5);
}

TEST(Messages, ReadsAFailure) {
  const Answer answer = ReadAnswer(Answered("failed"));
  ASSERT_TRUE(std::holds_alternative<Failure>(answer));
  const RunError& error = std::get<Failure>(answer).error;
  EXPECT_EQ(error.ToString(), "models.py:7: no");
  EXPECT_EQ(error.traceback, "models.py ...");
}

TEST(Messages, ReadsAnEnvironment) {
  const json& told = Golden().at("prepared").at("value");
  const auto prepared = ReadPrepared(told).ValueOrDie();
  EXPECT_EQ(prepared.folder, "/cache/x");
  EXPECT_EQ(prepared.python, "/cache/x/bin/python");
  EXPECT_EQ(prepared.package_folder, "/cache/x/packages");
}

TEST_F(ScanTest, ReadsWhatASourceSends) {
  files_.pop_back();
  source_.files.pop_back();
  const auto scan = Begin({{Texts{"a"}}});
  base::Message decoded{Golden().at("decoded"), {}};
  decoded.fds.push_back(Encoded("a", 0, 10));
  decoded.fds.push_back(Encoded("b", 0, 10));
  ASSERT_TRUE(scan->TakeDecoded(std::move(decoded), *store_.ids(), store_.reaper()).ok());
  json answer = Golden().at("scanned");
  answer["schemas"] = Scanned({}).at("schemas");
  const auto taken = scan->TakeAnswer(answer);
  ASSERT_TRUE(taken.ok()) << taken.ToString();
  EXPECT_EQ(scan->Learn(cache_).footers.at(0).second.encoded.at("b"), 80);
}

/// The project of the golden description, without what is wrong with it.
class TaskMessageTest : public ::testing::Test {
 protected:
  TaskMessageTest() {
    RunOptions& options = request_.options;
    options.project_dir = "/project";
    options.parameters = {{"n", "3"}};
    options.account = true;
    options.preview_rows = 3;
    options.output_dir = "/out";
    request_.backend = BackendKind::kMemfd;
    request_.surroundings.environment = Environment{{"XDG_CACHE_HOME", "/cache"}};
    request_.surroundings.late_environment = {{"TERM", "dumb"}};
    const auto file = base::MakeSealedMemfd("test", "message").ValueOrDie();
    const int64_t size = base::SealedSize(file.get()).ValueOrDie();
    store_.Add(shm::Segment::FromMemfd(7, base::UniqueFd(::dup(file.get())), size, store_.reaper())
                   .ValueOrDie());
  }

  json Message(const engine::Run& run, size_t task) {
    Segments inputs;
    TaskMessage message = MessageFor(run, task, store_, inputs).ValueOrDie();
    const RunTask& what = run.task(task);
    const PlanNode* node =
        what.kind == RunTask::Kind::kNode ? &run.plan().nodes[what.node] : nullptr;
    if (node != nullptr && node->kind == ModelKind::kSource) {
      Scan scan(node->source, {node->reads.at(0)}, false);
      IdentifiedFile file;
      file.identity = {"/t.parquet", 1, 2, 3, 4, 5};
      file.partition = {{"year", 2013}, {"city", nullptr}};
      scan.SetFiles({file});
      EXPECT_TRUE(scan.Describe(message).ok());
    }
    return message.body;
  }

  /// The golden one of the kind.
  static json Expected(const std::string& kind) {
    const json& rest = Golden().at("kinds").at(kind);
    json message = Golden().at("task");
    message.update(rest);
    message["kind"] = kind;
    message["inputs"] = json::array();
    for (const json& own : rest.value("inputs", json::array())) {
      json input = Golden().at("input");
      input.update(own);
      message["inputs"].push_back(std::move(input));
    }
    return message;
  }

  static ModelStatus End(engine::Run& run, size_t task, const char* answer) {
    Outcome outcome;
    outcome.what = Golden().at(answer).at("value");
    const ModelStatus status = run.OnEnded(task, std::move(outcome), 0);
    run.OnFinished(task, status);
    return status;
  }

  RunRequest request_;
  shm::SegmentStore store_;
};

TEST_F(TaskMessageTest, ReadsTheProject) {
  request_.options.query = {.sql = "SELECT 1", .file = "q.sql"};
  engine::Run run("name", request_, 0);
  run.FirstTasks();
  EXPECT_EQ(Message(run, 0), Expected("discover"));
}

TEST_F(TaskMessageTest, WritesEachKindOfTask) {
  Description description = ParseDescription(Golden().at("description")).ValueOrDie();
  description.errors.clear();
  description.broken.clear();
  engine::Run run("name", request_, 0);
  run.FirstTasks();
  run.OnPlanned(MakePlan(description, request_.options));
  auto table = std::make_shared<PublishedTable>();
  table->message = {7, 7};
  table->rows = 42;
  std::set<std::string> seen;
  for (size_t task = 1; task < run.task_count(); ++task) {
    const json message = Message(run, task);
    const std::string kind = message.at("kind");
    const json expected = Expected(kind);
    if (message.value("model", "") == expected.value("model", "")) {
      EXPECT_EQ(message, expected);
      seen.insert(kind);
    }
    if (run.task(task).kind != RunTask::Kind::kNode) continue;
    if (kind != "expectation") {
      run.OnPublished(task, table);
      continue;
    }
    EXPECT_EQ(End(run, task, "expected"), ModelStatus::kSuccess);
    const ModelReport& check = run.models().at(task - run.TaskOf(0));
    EXPECT_EQ(check.expectation, false);
    EXPECT_EQ(check.warning.value().ToString(), "models.py:7: check: no");
    EXPECT_EQ(check.warning->traceback, "models.py ...");
    EXPECT_EQ(check.offending.value().total_rows, 5);
  }
  EXPECT_EQ(seen.size() + 1, Golden().at("kinds").size()) << "all but discover";
}

/// A zygote of a few lines of shell, which sends what is in files.
class ZygoteMessageTest : public ::testing::Test {
 protected:
  struct Header {
    char magic[4] = {'Z', 'C', 'H', 'N'};
    uint32_t fd_count = 0;
    uint64_t body_bytes = 0;
    uint64_t spilled_and_reserved = 0;
  };

  void SetUp() override {
    folder_ =
        std::filesystem::temp_directory_path() / ("zerrow-messages-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
    loop_ = EventLoop::Make().ValueOrDie();
  }
  void TearDown() override {
    pool_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Write(const char* name) {
    const std::string text = Golden().at(name).dump();
    Header header;
    header.body_bytes = text.size();
    std::ofstream file(folder_ / name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&header), sizeof(header));
    file << text;
  }

  json Request(const std::string& name) const {
    std::ifstream file(folder_ / name, std::ios::binary);
    file.seekg(sizeof(Header));
    return json::parse(file, nullptr, /*allow_exceptions=*/false);
  }

  void RunUntil(const std::function<bool()>& done) {
    for (int i = 0; i < 500 && !done(); ++i) {
      ASSERT_TRUE(loop_->RunOnce(milliseconds(20)).ok());
    }
    ASSERT_TRUE(done());
  }

  void Start(std::optional<RunImport> import = std::nullopt) {
    WorkerHandlers handlers;
    handlers.on_forked = [](pid_t) {};
    handlers.on_line = [](int, std::string_view) {};
    handlers.on_ended = [this](WorkerEnd end) { ends_.push_back(std::move(end)); };
    ASSERT_TRUE(pool_->Start({{"op", "task"}}, {}, std::move(handlers), import).ok());
  }

  std::filesystem::path folder_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<WorkerPool> pool_;
  std::vector<WorkerEnd> ends_;
};

TEST_F(ZygoteMessageTest, AreReadAndWritten) {
  for (const char* name : {"ready", "exited", "unforked", "lost"}) Write(name);
  const auto python = folder_ / "python";
  std::ofstream(python) << "#!/bin/sh\ncd " << folder_ << R"(
    take() { dd bs=65536 count=1 <&3 >$1 2>/dev/null; }
    take fork; take fork_importing; take fork_lost
    for name in ready exited unforked lost; do cat $name >&3; done
    take end_run
    take nothing
  )";
  std::filesystem::permissions(python, std::filesystem::perms::owner_all);
  ZygoteOptions options;
  options.python = python;
  pool_ = WorkerPool::Make(*loop_, options).ValueOrDie();
  Start();
  Start(RunImport{.run = 3, .first = true});
  Start();
  RunUntil([this] { return ends_.size() == 3; });
  EXPECT_EQ(Request("fork"), Golden().at("fork"));
  EXPECT_EQ(Request("fork_importing"), Golden().at("fork_importing"));
  const ZygoteInfo& info = pool_->ready().value();
  EXPECT_TRUE(info.user_namespace && info.pid_namespace && info.mount_namespace && info.shim);
  EXPECT_EQ(info.python_version, "3.11.2");
  EXPECT_EQ(ends_[0].wait_status, 256);
  EXPECT_EQ(ends_[0].cpu_s, 0.5);
  EXPECT_EQ(ends_[0].max_rss_bytes, 4096);
  EXPECT_EQ(ends_[0].error, "");
  EXPECT_EQ(ends_[1].error, "no more processes");
  EXPECT_FALSE(ends_[1].lost);
  EXPECT_EQ(ends_[2].error, "its importer is gone");
  EXPECT_TRUE(ends_[2].lost);
  pool_->EndRun(3);
  RunUntil([this] { return Request("end_run").is_object(); });
  EXPECT_EQ(Request("end_run"), Golden().at("end_run"));
}

}  // namespace
}  // namespace zerrow::engine
