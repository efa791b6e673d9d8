// Workers that are forked ahead of need, and what they say when they leave.
//
// The zygote is this test's own program, started again: it forks a process for each order, which
// waits for its task as a worker does and then plays its role.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <list>

#include "base/child_process.h"
#include "engine/worker_pool.h"
#include "shm/test_worker.h"

namespace zerrow::engine {
namespace {

using base::Channel;
using base::UniqueFd;
using nlohmann::json;
using std::chrono::milliseconds;

constexpr char kRole[] = "ZERROW_TEST_ROLE";
constexpr char kPlayed[] = "ZERROW_TEST_PLAYED";  // a file that is there once worker 1 has

// Worker 1 plays the role, all others are honest.
void PlayWorker(const std::string& role, int64_t number, Channel channel) {
  if (number == 1 && (role == "dies" || role == "deaf" || role == "speaks")) {
    if (role == "speaks") (void)channel.Send({{"op", "result"}, {"value", "unasked"}});
    const std::optional<Channel> kept =
        role == "speaks" ? std::optional(std::move(channel)) : std::nullopt;
    { const Channel gone = std::move(channel); }
    std::ofstream(std::getenv(kPlayed)) << "played";
    if (role != "dies") ::pause();
    return;
  }
  const auto task = channel.Receive(milliseconds(20'000)).ValueOr(std::nullopt);
  if (!task) return;
  const std::string op = role == "large" ? std::string(100'000, 'x') : "result";
  const int times = role == "leaves twice" ? 2 : role == "stays" ? 0 : 1;
  if (role == "leaves first") (void)channel.Send({{"op", "left"}});
  (void)channel.Send({{"op", op}, {"worker", number}, {"task", task->body}});
  for (int i = 0; i < times; ++i) (void)channel.Send({{"op", "left"}});
}

struct Child {
  int64_t number;
  pid_t pid;
  UniqueFd pidfd;
};

Child ForkWorker(const std::string& role, base::Message order) {
  const auto number = order.body["worker"].get<int64_t>();
  shm::TestSignal closed;
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    closed.Wait();
    PlayWorker(role, number, Channel(std::move(order.fds[0])));
    ::_exit(0);
  }
  order.fds.clear();  // or nobody would see that the worker has closed its own
  closed.Signal();
  return {number, pid, base::OpenPidfd(pid).ValueOrDie()};
}

TEST(DISABLED_ForkingZygote, Play) {
  const std::string role = std::getenv(kRole);
  Channel engine(UniqueFd(std::atoi(std::getenv("ZERROW_ZYGOTE_FD"))));
  (void)engine.Send({{"op", "ready"}});
  std::list<Child> children;
  while (true) {
    std::vector<pollfd> pollers = {{engine.fd(), POLLIN, 0}};
    for (const Child& child : children) pollers.push_back({child.pidfd.get(), POLLIN, 0});
    ASSERT_GT(::poll(pollers.data(), pollers.size(), 30'000), 0);
    children.remove_if([&, i = size_t{0}](const Child& child) mutable {
      if (pollers[++i].revents == 0) return false;
      int status = 0;
      ::waitpid(child.pid, &status, 0);
      (void)engine.Send({{"op", "exited"}, {"worker", child.number}, {"wait_status", status}});
      return true;
    });
    if (pollers[0].revents == 0) continue;
    auto order = engine.Receive(milliseconds(0)).ValueOr(std::nullopt);
    if (!order) ::_exit(0);  // what waits dies with this process
    if (order->body["op"] != "fork") continue;
    children.push_back(ForkWorker(role, std::move(*order)));
    const int sent[] = {children.back().pidfd.get()};
    (void)engine.Send({{"op", "forked"}, {"worker", children.back().number}}, sent);
  }
}

struct Ended {
  bool done = false;
  bool forked = false;
  std::optional<json> left;  // what on_left got
  WorkerEnd end;
};

class WaitingWorkerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("zerrow-waiting-" + std::to_string(::getpid()) + "-" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
    loop_ = EventLoop::Make().ValueOrDie();
  }
  void TearDown() override {
    pool_.reset();
    std::filesystem::remove_all(folder_);
  }

  void StartZygote(const std::string& role) {
    const auto path = folder_ / "python";
    std::filesystem::remove(folder_ / "played");
    std::ofstream(path) << "#!/bin/sh\nexport " << kRole << "='" << role << "' " << kPlayed << "='"
                        << (folder_ / "played").string() << "'\nexec "
                        << std::filesystem::read_symlink("/proc/self/exe").string()
                        << " --gtest_also_run_disabled_tests"
                        << " --gtest_filter='DISABLED_ForkingZygote.*'\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    ZygoteOptions options;
    options.python = path;
    pool_ = WorkerPool::Make(*loop_, options).ValueOrDie();
    RunUntil([&] { return pool_->ready().has_value(); });
  }

  WorkerId Start(Ended& ended, std::optional<RunImport> import = std::nullopt) {
    WorkerHandlers handlers;
    handlers.on_forked = [&](pid_t) { ended.forked = true; };
    handlers.on_line = [](int, std::string_view) {};
    handlers.on_left = [&](const base::Message& answer) { ended.left = answer.body; };
    handlers.on_ended = [&](WorkerEnd end) {
      ended.end = std::move(end);
      ended.done = true;
    };
    return pool_->Start({{"op", "task"}, {"n", 7}}, {}, std::move(handlers), import).ValueOrDie();
  }

  void RunUntil(const std::function<bool()>& done) {
    for (int i = 0; i < 1000 && !done(); ++i) {
      ASSERT_TRUE(loop_->RunOnce(milliseconds(20)).ok());
    }
    ASSERT_TRUE(done());
  }
  /// Worker 1 has done what makes it odd; with `more` turns of the loop it may be known, too.
  void RunUntilPlayed(int more) {
    RunUntil([&] { return std::filesystem::exists(folder_ / "played"); });
    for (int i = 0; i < more; ++i) ASSERT_TRUE(loop_->RunOnce(milliseconds(20)).ok());
  }

  std::filesystem::path folder_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<WorkerPool> pool_;
};

TEST_F(WaitingWorkerTest, GetsTheNextTask) {
  StartZygote("honest");
  pool_->ForkAhead(2, std::nullopt);
  pool_->ForkAhead(2, std::nullopt);
  EXPECT_FALSE(pool_->is_needed());
  Ended first;
  Ended second;
  Ended third;
  EXPECT_EQ(Start(first), 1);
  EXPECT_FALSE(first.forked) << "told from inside of Start";
  EXPECT_EQ(Start(second), 2);
  EXPECT_EQ(Start(third), 3);
  EXPECT_TRUE(pool_->is_needed());
  RunUntil([&] { return first.done && second.done && third.done; });
  EXPECT_TRUE(first.forked);
  EXPECT_EQ(first.left->at("worker"), 1);
  EXPECT_EQ(first.left->at("task"), (json{{"op", "task"}, {"n", 7}}));
  EXPECT_FALSE(pool_->is_needed());
}

TEST_F(WaitingWorkerTest, MayBeGivenItsTaskBeforeItIsForked) {
  StartZygote("honest");
  pool_->ForkAhead(1, std::nullopt);
  Ended ended;
  EXPECT_EQ(Start(ended), 1);
  RunUntil([&] { return ended.done; });
  EXPECT_EQ(ended.left->at("worker"), 1);
}

TEST_F(WaitingWorkerTest, OfOneRunIsNotAnothers) {
  StartZygote("honest");
  pool_->ForkAhead(1, 5);
  pool_->ForkAhead(1, std::nullopt);
  Ended plain;
  Ended other;
  Ended own;
  EXPECT_EQ(Start(other, RunImport{6}), 3);
  EXPECT_EQ(Start(plain), 2);
  EXPECT_EQ(Start(own, RunImport{5}), 1);
  RunUntil([&] { return plain.done && other.done && own.done; });
}

TEST_F(WaitingWorkerTest, EndsWithItsRun) {
  StartZygote("honest");
  Ended reads;
  EXPECT_EQ(Start(reads, RunImport{5, /*first=*/true}), 1);
  RunUntil([&] { return reads.done; });
  pool_->ForkAhead(1, 5);
  pool_->ForkAhead(1, std::nullopt);
  EXPECT_TRUE(pool_->is_needed());
  pool_->EndRun(5);
  EXPECT_FALSE(pool_->is_needed());
  Ended late;
  EXPECT_EQ(Start(late, RunImport{5}), 4);
  pool_->EndWaiting();
  Ended plain;
  EXPECT_EQ(Start(plain), 5);
  RunUntil([&] { return late.done && plain.done; });
}

TEST_F(WaitingWorkerTest, ThatIsGoneIsReplaced) {
  for (const std::string role : {"dies", "deaf"}) {
    for (const int more : {0, 10}) {
      pool_.reset();
      StartZygote(role);
      pool_->ForkAhead(2, std::nullopt);
      RunUntilPlayed(more);
      Ended ended;
      EXPECT_EQ(Start(ended), 2) << role;
      RunUntil([&] { return ended.done; });
      EXPECT_EQ(ended.end.error, "") << role;
      EXPECT_TRUE(ended.left) << role;
    }
  }
}

TEST_F(WaitingWorkerTest, ThatSpeaksUnaskedIsKilled) {
  StartZygote("speaks");
  pool_->ForkAhead(1, std::nullopt);
  EXPECT_EQ(pool_->CountWaiting(std::nullopt), 1);
  RunUntil([&] { return pool_->CountWaiting(std::nullopt) == 0; });
  Ended ended;
  EXPECT_EQ(Start(ended), 2);
  RunUntil([&] { return ended.done; });
  EXPECT_EQ(ended.left->at("worker"), 2);
}

TEST_F(WaitingWorkerTest, TellsOnceThatItLeaves) {
  StartZygote("honest");
  Ended honest;
  Start(honest);
  RunUntil([&] { return honest.done; });
  EXPECT_TRUE(honest.left);
  EXPECT_TRUE(honest.end.left);
  EXPECT_FALSE(honest.end.message);
  EXPECT_EQ(honest.end.error, "");

  StartZygote("stays");
  Ended stays;
  Start(stays);
  RunUntil([&] { return stays.done; });
  EXPECT_FALSE(stays.left);
  EXPECT_FALSE(stays.end.left);
  EXPECT_TRUE(stays.end.message);

  for (const std::string role : {"leaves twice", "leaves first"}) {
    StartZygote(role);
    Ended ended;
    Start(ended);
    RunUntil([&] { return ended.done; });
    EXPECT_EQ(ended.end.error, "it sent more than one answer") << role;
  }

  // Its answer is parsed beside the loop, once it is gone.
  StartZygote("large");
  Ended large;
  Start(large);
  RunUntil([&] { return large.done; });
  EXPECT_FALSE(large.left);
  EXPECT_EQ(large.end.error, "");
  EXPECT_TRUE(large.end.message);
}

}  // namespace
}  // namespace zerrow::engine
