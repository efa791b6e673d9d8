// The worker pool against workers that send anything, and a zygote that tells it nonsense.
//
// The zygote is this test's own program, started again: it takes the order to fork, plays the
// worker on its task channel as it was told, and says that the worker has exited.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/testing/raw_packet.h"
#include "engine/answer.h"
#include "engine/worker_pool.h"

namespace zerrow::engine {
namespace {

using base::Channel;
using base::testing::SendRaw;
using base::testing::SendText;
using nlohmann::json;
using std::chrono::milliseconds;

constexpr char kRole[] = "ZERROW_TEST_ROLE";

std::string Repeat(const std::string& text, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += text;
  return all;
}

// Until the engine has had enough: it kills a real worker, this one notices that nobody reads.
void Flood(Channel& channel, const json& message) {
  for (int i = 0; i < 1'000'000; ++i) {
    if (!channel.Send(message, {}, std::chrono::seconds(2)).ok()) return;
  }
}

std::string Answer(size_t bytes) {
  return R"({"op":"result","value":")" + std::string(bytes, 'x') + R"("})";
}

// What a worker does, by its role's name.
const std::map<std::string, std::function<void(Channel&)>>& Roles() {
  static const std::map<std::string, std::function<void(Channel&)>> roles = {
      {"silent", [](Channel&) {}},
      {"late", [](Channel&) {}},
      {"honest", [](Channel& channel) { SendText(channel, Answer(10)); }},
      {"large", [](Channel& channel) { SendText(channel, Answer(3 << 20)); }},
      {"too large", [](Channel& channel) { SendText(channel, Answer(4 << 20)); }},
      {"deep", [](Channel& channel) { SendText(channel, Repeat("[", 4 << 20)); }},
      {"deep and small", [](Channel& channel) { SendText(channel, Repeat("[", 1000)); }},
      {"many values",
       [](Channel& channel) { SendText(channel, "[" + Repeat("[],", 1 << 20) + "0]"); }},
      {"not JSON", [](Channel& channel) { SendText(channel, Repeat("\xff", 100'000)); }},
      {"twice",
       [](Channel& channel) { SendText(channel, Answer(1)), SendText(channel, Answer(1)); }},
      {"twice, large",
       [](Channel& channel) {
         SendText(channel, Answer(1 << 20));
         SendText(channel, Answer(1 << 20));
       }},
      {"flood",
       [](Channel& channel) {
         Flood(channel, {{"op", "result"}, {"value", 1}});
       }},
      {"importing",
       [](Channel& channel) {
         Flood(channel, {{"op", "importing"}, {"file", "a"}});
       }},
      {"sparse",
       [](Channel& channel) {
         const auto file = base::MakeMemfd("test", 4 << 20).ValueOrDie();
         if (!base::SealMemfd(file.get()).ok()) return;
         SendRaw(channel, {.body_bytes = 4 << 20, .spilled = 1}, "", {file.get()});
       }},
      {"descriptors",
       [](Channel& channel) {
         const std::vector<int> fds(16'384, channel.fd());
         (void)channel.Send({{"op", "result"}, {"value", 1}}, fds, milliseconds(200));
       }},
      {"half a message",
       [](Channel& channel) { SendRaw(channel, {.fd_count = 3, .body_bytes = 2}, "{}", {0}); }},
      {"no header", [](Channel& channel) { (void)::send(channel.fd(), "ZCHN", 4, 0); }},
  };
  return roles;
}

// What the zygote says of worker 1 besides, by its role's name.
const std::map<std::string, std::vector<json>>& Sayings() {
  static const json far = json::parse("1e300");
  static const std::map<std::string, std::vector<json>> sayings = {
      {"no such worker", {{{"op", "exited"}, {"worker", 77}}, {{"op", "forked"}, {"worker", 77}}}},
      {"no numbers",
       {{{"op", "exited"}, {"worker", "1"}, {"wait_status", json::array()}},
        {{"op", "exited"}, {"worker", far}},
        {{"op", "exited"}},
        {{"op", "forked"}, {"worker", 1}}}},
      {"a strange end",
       {{{"op", "exited"},
         {"worker", 1},
         {"wait_status", far},
         {"cpu_s", "x"},
         {"max_rss_bytes", UINT64_MAX},
         {"error", 3}},
        {{"op", "exited"}, {"worker", 1}},
        {{"op", "forked"}, {"worker", 1}}}},
      {"lost", {{{"op", "exited"}, {"worker", 1}, {"lost", "with what forked it"}}}},
      {"lost, but wrong", {{{"op", "exited"}, {"worker", 1}, {"lost", {1}}}}},
      {"no object", {json::array({1})}},
      {"no op", {{{"worker", 1}}}},
      {"too much", {{{"op", "ready"}, {"python", std::string(100'000, 'x')}}}},
      {"ready, but wrong", {{{"op", "ready"}, {"python", 3}, {"shim", 1}, {"isolation", {1}}}}},
  };
  return sayings;
}

// Not a test: what the program does as a zygote.
TEST(DISABLED_Zygote, Play) {
  const std::string role = std::getenv(kRole);
  Channel engine(base::UniqueFd(std::atoi(std::getenv("ZERROW_ZYGOTE_FD"))));
  auto order = engine.Receive(milliseconds(10'000)).ValueOrDie();
  ASSERT_TRUE(order && order->body["op"] == "fork");
  const json id = order->body["worker"];
  Channel worker(std::move(order->fds[0]));
  if (const auto saying = Sayings().find(role); saying != Sayings().end()) {
    for (const json& message : saying->second) (void)engine.Send(message);
  } else {
    Roles().at(role)(worker);
  }
  (void)engine.Send({{"op", "exited"}, {"worker", id}, {"wait_status", 0}});
  if (role == "late") SendText(worker, Answer(3));
  (void)engine.Send({{"op", "exited"}, {"worker", id}, {"wait_status", 9}});
  while (engine.Receive(milliseconds(10'000)).ValueOr(std::nullopt)) {
  }
}

class HostileWorkerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("zerrow-hostile-" + std::to_string(::getpid()) + "-" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override {
    pool_.reset();
    std::filesystem::remove_all(folder_);
  }

  /// How the worker of `role` ends. `may_import`: as discovery's may.
  WorkerEnd EndOf(const std::string& role, bool may_import = false) {
    pool_.reset();
    loop_ = EventLoop::Make().ValueOrDie();
    imported_ = 0;
    const auto path = folder_ / "python";
    std::ofstream(path) << "#!/bin/sh\nexport " << kRole << "='" << role << "'\nexec "
                        << std::filesystem::read_symlink("/proc/self/exe").string()
                        << " --gtest_also_run_disabled_tests --gtest_filter='DISABLED_Zygote.*'\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    ZygoteOptions options;
    options.python = path;
    pool_ = WorkerPool::Make(*loop_, options).ValueOrDie();
    std::optional<WorkerEnd> ended;
    WorkerHandlers handlers;
    handlers.on_forked = [](pid_t) {};
    handlers.on_line = [](int, std::string_view) {};
    handlers.on_ended = [&](WorkerEnd end) { ended = std::move(end); };
    if (may_import) {
      handlers.on_importing = [this](const std::string&) { ++imported_; };
      handlers.answer_limits = {};
    }
    EXPECT_TRUE(pool_->Start({{"op", "task"}}, {}, std::move(handlers)).ok());
    for (int i = 0; i < 30'000 && !ended; ++i) EXPECT_TRUE(loop_->RunOnce(milliseconds(20)).ok());
    EXPECT_TRUE(ended) << role;
    return ended ? std::move(*ended) : WorkerEnd{};
  }

  void ExpectRefused(const std::string& role, const std::string& because) {
    WorkerEnd end = EndOf(role);
    EXPECT_NE(end.error.find(because), std::string::npos) << role << ": " << end.error;
    EXPECT_EQ(pool_->why_lost(), "") << role;
    const auto answer = ReadAnswer(std::move(end));
    EXPECT_TRUE(std::holds_alternative<Failure>(answer)) << role;
  }

  std::filesystem::path folder_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<WorkerPool> pool_;
  int imported_ = 0;
};

TEST_F(HostileWorkerTest, AnswersOfAnySizeWithinTheLimitArrive) {
  for (const auto& [role, size] : {std::pair("honest", size_t{10}), {"large", size_t{3} << 20}}) {
    auto answer = ReadAnswer(EndOf(role));
    ASSERT_TRUE(std::holds_alternative<ValueAnswer>(answer)) << role;
    EXPECT_EQ(std::get<ValueAnswer>(answer).value.get<std::string>().size(), size);
    EXPECT_EQ(pool_->why_lost(), "");
  }
  EXPECT_FALSE(EndOf("silent").message);
  EXPECT_EQ(EndOf("late").error, "");  // taken or not, as it comes
}

TEST_F(HostileWorkerTest, WhatIsntInTheProtocolIsRefused) {
  ExpectRefused("too large", "4194304 may be");
  ExpectRefused("deep", "deeper than 64");
  ExpectRefused("deep and small", "deeper than 64");
  ExpectRefused("not JSON", "isn't JSON");
  ExpectRefused("twice", "more than one answer");
  ExpectRefused("twice, large", "more than one answer");
  ExpectRefused("sparse", "sparse");
  ExpectRefused("descriptors", "malformed");
  ExpectRefused("half a message", "1 descriptors, not 3");
  ExpectRefused("no header", "without a header");
}

TEST_F(HostileWorkerTest, FloodsEndAtTheirLimit) {
  ExpectRefused("flood", "more than one answer");
  const WorkerEnd end = EndOf("importing", /*may_import=*/true);
  EXPECT_EQ(imported_, 10'000);
  EXPECT_NE(end.error.find("10000"), std::string::npos) << end.error;
  // Only discovery imports; of others it is an answer, and a wrong one.
  ExpectRefused("importing", "more than one answer");
  EXPECT_EQ(imported_, 0);
}

TEST_F(HostileWorkerTest, DocumentsOfMillionsOfValuesDontStallTheLoop) {
  ExpectRefused("many values", "more than 1000 values");
  // Discovery's may be as long.
  WorkerEnd end = EndOf("many values", /*may_import=*/true);
  EXPECT_EQ(end.error, "");
  EXPECT_TRUE(std::holds_alternative<Failure>(ReadAnswer(std::move(end))));
}

TEST_F(HostileWorkerTest, AWorkerIsLostWithoutItsZygote) {
  const WorkerEnd end = EndOf("lost");
  EXPECT_TRUE(end.lost);
  EXPECT_EQ(end.error, "with what forked it");
  EXPECT_FALSE(pool_->lost());
  EXPECT_FALSE(EndOf("lost, but wrong").lost);
}

TEST_F(HostileWorkerTest, ZygotesNonsenseIsIgnoredOrItsEnd) {
  for (const std::string role :
       {"no such worker", "no numbers", "a strange end", "ready, but wrong"}) {
    EXPECT_EQ(EndOf(role).error, "") << role;
    EXPECT_EQ(pool_->why_lost(), "") << role;
  }
  for (const std::string role : {"no object", "no op", "too much"}) {
    EXPECT_NE(EndOf(role).error.find("the zygote"), std::string::npos) << role;
    EXPECT_TRUE(pool_->lost()) << role;
  }
}

}  // namespace
}  // namespace zerrow::engine
