#include "engine/answer.h"

#include <gtest/gtest.h>

#include "engine/line_splitter.h"
#include "engine/near_names.h"
#include "engine/oom_kills.h"

namespace zerrow::engine {
namespace {

using nlohmann::json;

constexpr int kKilledBySegv = 11;
constexpr int kKilledByKill = 9;
constexpr int kExitedWith3 = 3 << 8;

WorkerEnd End(json body, int wait_status = 0, bool with_fd = false) {
  base::Message message{std::move(body), {}};
  if (with_fd) message.fds.push_back(base::MakeSealedMemfd("test", "x").ValueOrDie());
  WorkerEnd end;
  end.message = std::move(message);
  end.wait_status = wait_status;
  return end;
}

Failure Failed(WorkerEnd end) {
  Answer answer = ReadAnswer(std::move(end));
  EXPECT_TRUE(std::holds_alternative<Failure>(answer));
  return std::holds_alternative<Failure>(answer) ? std::get<Failure>(std::move(answer)) : Failure{};
}

TEST(Answer, ReadsTablesValuesAndFailures) {
  auto output =
      ReadAnswer(End({{"op", "output"}, {"format", "sipc"}, {"rows", 3}, {"bytes", 24}}, 0, true));
  ASSERT_TRUE(std::holds_alternative<OutputAnswer>(output));
  EXPECT_EQ(std::get<OutputAnswer>(output).rows, 3);
  const auto value = ReadAnswer(End({{"op", "result"}, {"value", true}}));
  EXPECT_EQ(std::get<ValueAnswer>(value).value, true);
  const auto failure =
      Failed(End({{"op", "failed"},
                  {"error", {{"message", "m"}, {"file", "f"}, {"line", 7}, {"traceback", "t"}}}}));
  EXPECT_EQ(failure.error.ToString(), "f:7: m");
  EXPECT_EQ(failure.status, ModelStatus::kFailed);
}

TEST(Answer, TakesAHashThatIsOne) {
  const auto hash_of = [](json hash) {
    json body = {{"op", "output"}, {"format", "sipc"}, {"rows", 3}, {"hash", std::move(hash)}};
    const auto answer = ReadAnswer(End(std::move(body), 0, true));
    EXPECT_TRUE(std::holds_alternative<OutputAnswer>(answer));
    return std::get<OutputAnswer>(answer).content_hash;
  };
  const std::string hash(32, 'a');
  EXPECT_EQ(hash_of(hash), hash);
  EXPECT_EQ(hash_of(nullptr), "");
  EXPECT_EQ(hash_of(7), "");
  EXPECT_EQ(hash_of(hash + "a"), "");
  EXPECT_EQ(hash_of(std::string(32, 'g')), "");
  EXPECT_EQ(hash_of(std::string(5'000'000, 'a')), "");
}

TEST(Answer, SaysHowAWorkerDied) {
  WorkerEnd silent;
  silent.wait_status = kKilledBySegv;
  auto failure = Failed(std::move(silent));
  EXPECT_EQ(failure.status, ModelStatus::kKilled);
  EXPECT_EQ(failure.error.message, "its process was killed by SIGSEGV (Segmentation fault)");
  silent = {};
  silent.wait_status = kExitedWith3;
  EXPECT_EQ(Failed(std::move(silent)).error.message,
            "its process exited with code 3 without returning");
  // Whatever it said before: it didn't end as workers do.
  EXPECT_EQ(Failed(End({{"op", "result"}, {"value", 1}}, kKilledBySegv)).status,
            ModelStatus::kKilled);
  EXPECT_EQ(Failed(End({{"op", "result"}, {"value", 1}}, kExitedWith3)).status,
            ModelStatus::kFailed);
}

TEST(Answer, SaysHowAWorkerEndedAfterItsAnswer) {
  const json result = {{"op", "result"}, {"value", 1}};
  const json failed = {{"op", "failed"}, {"error", {{"message", "m"}}}};
  const auto hung = [](const json& body) {
    WorkerEnd end = End(body, kKilledByKill);
    end.hung = true;
    end.exit_s = 2;
    return end;
  };
  EXPECT_EQ(Failed(hung(result)).status, ModelStatus::kTimeout);
  EXPECT_NE(Failed(hung(result)).error.message.find("hung at its end"), std::string::npos);
  EXPECT_NE(Failed(hung(result)).error.message.find("2.0 s"), std::string::npos);
  EXPECT_EQ(Failed(hung(failed)).status, ModelStatus::kFailed);
  EXPECT_EQ(Failed(hung(failed)).error.message.find("m; then its process hung"), 0u);
  // What the function did comes before how its process ended.
  EXPECT_EQ(Failed(End(failed, kKilledBySegv)).error.message, "m");
  EXPECT_EQ(Failed(End(result, kKilledBySegv)).status, ModelStatus::kKilled);
  EXPECT_NE(Failed(End(result, kExitedWith3)).error.message.find("code 3 at its end"),
            std::string::npos);
  WorkerEnd unheard;
  unheard.wait_status = 121 << 8;
  EXPECT_NE(Failed(std::move(unheard)).error.message.find("closed file descriptors"),
            std::string::npos);
}

TEST(Answer, RefusesWhatIsntInTheProtocol) {
  const json bodies[] = {
      nullptr,
      json::array(),
      3,
      {{"op", 3}},
      {{"op", "launch"}},
      {{"op", "result"}},
      {{"op", "output"}},
      {{"op", "output"}, {"format", "csv"}, {"rows", 1}, {"bytes", 1}},
      {{"op", "output"}, {"format", "sipc"}, {"rows", -1}, {"bytes", 1}},
      {{"op", "output"}, {"format", "sipc"}, {"rows", "1"}, {"bytes", 1}},
      {{"op", "output"}, {"format", "sipc"}, {"rows", UINT64_MAX}},
      {{"op", "failed"}},
      {{"op", "failed"}, {"error", {{"message", 1}, {"line", -5}}}},
  };
  for (const json& body : bodies) EXPECT_FALSE(Failed(End(body, 0, true)).error.message.empty());
  // An output needs its descriptor.
  Failed(End({{"op", "output"}, {"format", "sipc"}, {"rows", 1}, {"bytes", 1}}));
}

TEST(Answer, CutsTextBetweenCharacters) {
  const std::string fits(64 * 1024 - 1, 'x');
  const std::string text = fits + "\u00e4";
  const auto message = [](const std::string& sent) {
    return Failed(End({{"op", "failed"}, {"error", {{"message", sent}}}})).error.message;
  };
  EXPECT_EQ(message(text.substr(1)), text.substr(1));
  EXPECT_EQ(message(text), fits + "... (2 more bytes)");
}

TEST(LineSplitter, CutsAtNewlinesAndAtItsLimit) {
  std::vector<std::string> lines;
  LineSplitter splitter([&](std::string_view line) { lines.emplace_back(line); });
  splitter.Add("a");
  splitter.Add("b\n\nc\r\nlast");
  EXPECT_EQ(lines, (std::vector<std::string>{"ab", "", "c"}));
  splitter.Finish();
  splitter.Finish();
  EXPECT_EQ(lines.back(), "last");
  lines.clear();
  const std::string longest(LineSplitter::kMaxLineBytes, 'x');
  splitter.Add(longest + longest + "yz\n");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[1].size(), LineSplitter::kMaxLineBytes);
  EXPECT_EQ(lines[2], "yz");
}

TEST(NearNames, SuggestsOrLists) {
  EXPECT_EQ(DidYouMean("flihgts", {"flights", "planes"}), "; did you mean \"flights\"?");
  EXPECT_EQ(DidYouMean("xyz", {"flights", "planes"}), "; there is flights and planes");
  EXPECT_EQ(DidYouMean("xyz", {}), "");
}

TEST(OomKills, TheSystemsRefusalOfMemoryIsKnownByItsWords) {
  RunError error;
  for (const char* message :
       {"OSError: [Errno 12] Cannot allocate memory",
        "MemoryError: ", "ArrowMemoryError: malloc of size 64 failed", "std::bad_alloc",
        "OSError: [Errno 14] Bad address", "RuntimeError: can't start new thread"}) {
    error.message = message;
    EXPECT_TRUE(IsForWantOfMemory(error)) << message;
  }
  error.message = "ValueError: memory";
  EXPECT_FALSE(IsForWantOfMemory(error));
}

}  // namespace
}  // namespace zerrow::engine
