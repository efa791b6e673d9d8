// The worker pool against a zygote that is a few lines of shell or misbehaves.
#include "engine/worker_pool.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

namespace zerrow::engine {
namespace {

using std::chrono::milliseconds;

class WorkerPoolTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("zerrow-pool-" + std::to_string(::getpid()) + "-" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
    loop_ = EventLoop::Make().ValueOrDie();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  /// An "interpreter" that is a shell script.
  void StartZygote(const std::string& script, ZygoteOptions options = {}) {
    const auto path = folder_ / "python";
    std::ofstream(path) << "#!/bin/sh\n" << script;
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    options.python = path;
    pool_ = WorkerPool::Make(*loop_, options).ValueOrDie();
  }

  WorkerId StartWorker() {
    WorkerHandlers handlers;
    handlers.on_forked = [](pid_t) {};
    handlers.on_line = [](int, std::string_view) {};
    handlers.on_ended = [this](WorkerEnd end) { ends_.push_back(std::move(end)); };
    return pool_->Start({{"op", "task"}}, {}, std::move(handlers)).ValueOrDie();
  }

  void RunUntil(const std::function<bool()>& done) {
    for (int i = 0; i < 500 && !done(); ++i) {
      ASSERT_TRUE(loop_->RunOnce(milliseconds(20)).ok());
    }
    EXPECT_TRUE(done());
  }

  std::filesystem::path folder_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<WorkerPool> pool_;
  std::vector<WorkerEnd> ends_;
};

TEST_F(WorkerPoolTest, ZygoteThatExits) {
  StartZygote("echo no such module >&2; exit 3\n");
  StartWorker();
  RunUntil([&] { return pool_->lost(); });
  const std::string& why = pool_->why_lost();
  EXPECT_NE(why.find("exited with code 3"), std::string::npos) << why;
  EXPECT_TRUE(why.ends_with("\nIt printed:\nno such module\n")) << why;
  ASSERT_EQ(ends_.size(), 1u);
  EXPECT_EQ(ends_[0].error, why);
  EXPECT_TRUE(ends_[0].lost);
  EXPECT_FALSE(ends_[0].was_ready);
  EXPECT_FALSE(pool_->ready());
}

TEST_F(WorkerPoolTest, ZygoteThatSendsNonsense) {
  StartZygote("printf nonsense >&3; sleep 100\n");
  StartWorker();
  StartWorker();
  RunUntil([&] { return pool_->lost(); });
  EXPECT_EQ(ends_.size(), 2u);
  EXPECT_FALSE(pool_->Start({}, {}, {}).ok());
}

TEST_F(WorkerPoolTest, ZygoteThatHangsIsAbandoned) {
  StartZygote("exec sleep 100\n");
  StartWorker();
  ASSERT_TRUE(loop_->RunOnce(milliseconds(1)).ok());
  pool_->Abandon("it hangs");
  ASSERT_EQ(ends_.size(), 1u);
  EXPECT_NE(pool_->why_lost().find("it hangs"), std::string::npos);
}

TEST_F(WorkerPoolTest, DestructionEndsAZygoteThatDoesntListen) {
  StartZygote("trap '' TERM; sleep 100\n");
  const pid_t pid = pool_->zygote_pid();
  pool_.reset();
  EXPECT_NE(::kill(pid, 0), 0);
}

TEST_F(WorkerPoolTest, AllocatorsAreAskedForWholePages) {
  const char* const names[] = {"ARROW_DEFAULT_MEMORY_POOL", "_RJEM_MALLOC_CONF"};
  const auto told = [&](bool whole_pages) {
    ZygoteOptions options;
    options.whole_pages = whole_pages;
    StartZygote("echo \"$ARROW_DEFAULT_MEMORY_POOL $_RJEM_MALLOC_CONF\"; exit 3\n", options);
    RunUntil([&] { return pool_->lost(); });
    const std::string& why = pool_->why_lost();
    return why.substr(why.find("It printed:\n") + sizeof("It printed:\n") - 1);
  };
  for (const char* name : names) ::unsetenv(name);
  EXPECT_EQ(told(false), " \n");
  EXPECT_EQ(told(true), "mimalloc cache_oblivious:false,thp:always\n");
  // jemalloc goes by what comes last.
  ::setenv(names[0], "jemalloc", 1);
  ::setenv(names[1], "thp:never", 1);
  EXPECT_EQ(told(false), "jemalloc thp:never\n");
  EXPECT_EQ(told(true), "jemalloc cache_oblivious:false,thp:always,thp:never\n");
  for (const char* name : names) ::unsetenv(name);
}

TEST(GuessLibraries, LooksAtImports) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("zerrow-guess-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder / "models");
  std::filesystem::create_directories(folder / ".venv");
  std::ofstream(folder / "models" / "a.py") << "import polars as pl\n  from pandas.api import "
                                               "x\nimport numpyro, pyarrow\n# import duckdb\n";
  std::ofstream(folder / ".venv" / "b.py") << "import duckdb\n";
  std::ofstream(folder / "models" / "c.sql") << "SELECT 1\n";
  EXPECT_EQ(GuessLibraries(folder),
            (std::set<std::string>{"datafusion", "pandas", "polars", "pyarrow", "sqlglot"}));
  EXPECT_TRUE(GuessLibraries(folder / "nowhere").empty());
  std::filesystem::remove_all(folder);
}

TEST(GuessLibraries, KnowsWhatZerrowNeedsForConditionsAndSources) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("zerrow-guess-own-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  const auto guess = [&](const std::string& file, const std::string& text) {
    std::ofstream(folder / file) << text;
    auto found = GuessLibraries(folder);
    std::filesystem::remove(folder / file);
    return found;
  };
  using Names = std::set<std::string>;
  const Names conditions = {"datafusion", "sqlglot"};
  EXPECT_EQ(guess("a.py", "def f(t=zerrow.Model('x', filter=\"n > 1\")): ...\n"), conditions);
  EXPECT_EQ(guess("a.py", "settings = {'filter': 'n > 1'}\n"), conditions);
  EXPECT_EQ(guess("a.py", "def f(x): return x.filter(x.n > 1)\n"), Names{});
  EXPECT_EQ(guess("zerrow_project.yml", "models:\n  - sort: {by: [n]}\n"), Names{});
  EXPECT_EQ(guess("zerrow_project.yml", "    filter: {condition: n > 1}\n"), conditions);
  EXPECT_EQ(guess("zerrow_project.yml", "sources:\n  x: x.parquet\n"), Names{"pyarrow.parquet"});
  EXPECT_EQ(guess("a.py", "import pyarrow.parquet\n"), (Names{"pyarrow", "pyarrow.parquet"}));
  std::filesystem::remove_all(folder);
}

TEST(EventLoop, WatchesAndPosts) {
  auto loop = EventLoop::Make().ValueOrDie();
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  base::UniqueFd read(pipe_fds[0]);
  base::UniqueFd write(pipe_fds[1]);
  int called = 0;
  EventLoop::WatchId id = 0;
  id = loop->Watch(read.get(),
                   [&] {
                     ++called;
                     loop->Unwatch(id);
                   })
           .ValueOrDie();
  ASSERT_EQ(::write(write.get(), "x", 1), 1);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(loop->RunOnce(milliseconds(1)).ok());
  EXPECT_EQ(called, 1);
  bool worked = false;
  bool done = false;
  loop->Post(
      EventLoop::Lane::kText, [&] { worked = true; }, [&] { done = worked; });
  for (int i = 0; i < 500 && !done; ++i) ASSERT_TRUE(loop->RunOnce(milliseconds(20)).ok());
  EXPECT_TRUE(done);
}

TEST(EventLoop, EndsWithWhatWasThrown) {
  const auto outcome = [](EventLoop& loop) {
    arrow::Status status;
    for (int i = 0; i < 500 && status.ok(); ++i) status = loop.RunOnce(milliseconds(20));
    return status;
  };
  const EventLoop::Callback hungry = [] { throw std::bad_alloc(); };
  const EventLoop::Callback greedy = [] { std::vector<char>().reserve(SIZE_MAX); };
  const EventLoop::Callback nothing = [] {};
  auto loop = EventLoop::Make().ValueOrDie();
  bool done = false;
  loop->Post(EventLoop::Lane::kText, hungry, [&] { done = true; });
  EXPECT_TRUE(outcome(*loop).IsOutOfMemory());
  EXPECT_FALSE(done);
  loop = EventLoop::Make().ValueOrDie();
  loop->Post(EventLoop::Lane::kText, greedy, nothing);
  EXPECT_TRUE(outcome(*loop).IsUnknownError());
  loop = EventLoop::Make().ValueOrDie();
  loop->Post(EventLoop::Lane::kText, nothing, hungry);
  EXPECT_TRUE(outcome(*loop).IsOutOfMemory());
}

}  // namespace
}  // namespace zerrow::engine
