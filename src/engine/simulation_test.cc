// Whole stories of an engine under a seeded clock: the production Dispatcher, Core and Runs over a
// simulated Performer. A failure prints its seed; ZERROW_TEST_SEEDS=FROM:COUNT runs others.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/dispatcher.h"
#include "engine/testing/agenda.h"
#include "engine/testing/checking_sink.h"
#include "engine/testing/random_project.h"
#include "engine/testing/simulated_performer.h"

namespace zerrow::engine {
namespace {

using resource::Holder;
using resource::RunId;
using resource::TaskId;
using testing::Agenda;
using testing::CheckingSink;
using testing::Random;
using testing::SimulatedPerformer;
using testing::Story;
using testing::Verdict;

/// How often each kind of thing happened.
using Counts = std::map<std::string, size_t>;

class Simulation {
 public:
  Simulation(uint64_t seed, Counts& counts)
      : random_(seed),
        counts_(counts),
        slots_(1 + static_cast<int>(random_.Below(6))),
        performer_(agenda_, random_, verdict_, RandomRates(), slots_),
        dispatcher_({slots_, [this] { return agenda_.now(); },
                     [this](TaskId task) { OnResultDropped(task); }},
                    performer_) {
    performer_.Attach(dispatcher_);
    const bool large = random_.Chance(0.005);
    const size_t runs = 1 + random_.Below(random_.Chance(0.1) ? 10 : 4);
    for (RunId run = 1; run <= runs; ++run) AddRun(run, 1 + random_.Below(large ? 1000 : 20));
  }

  /// The first promise that was broken, or "".
  std::string Run() {
    while (verdict_.broken().empty() && Step()) CheckBooks();
    CheckEnd();
    return verdict_.broken();
  }

 private:
  SimulatedPerformer::Rates RandomRates() {
    const double trouble = random_.Chance(0.4) ? 0 : 0.15 * random_.Unit();
    const auto some = [&] { return random_.Chance(0.5) ? 0 : trouble; };
    return {some(),     some(),         some(),
            2 * some(), 0.3 * some(),   some(),
            some(),     random_.Unit(), random_.Chance(0.5) ? 0 : 0.3 * random_.Unit()};
  }

  void AddRun(RunId run, size_t models) {
    auto story = std::make_shared<Story>();
    auto project = testing::RandomProject(random_, models);
    story->request = testing::RandomRequest(random_, project);
    story->slowness = random_.Chance(0.5) ? 0 : 0.5 * random_.Unit();
    stories_.push_back(story);
    const double arrival = random_.Chance(0.3) ? 0 : 3 * random_.Unit();
    agenda_.In(arrival, [this, run, story, project = std::move(project)]() mutable {
      performer_.Expect(run, std::move(project), story->request.options.jobs);
      dispatcher_.Add(
          run, story->request,
          std::make_unique<CheckingSink>(agenda_, random_, verdict_, story, CallsOf(run)));
    });
    if (!random_.Chance(0.25)) return;
    const double patience = random_.Chance(0.4) ? 0.3 : 4;
    for (size_t times = 1 + random_.Below(2); times > 0; --times) {
      agenda_.In(arrival + patience * random_.Unit(), [this, run, story] {
        if (story->done == 0 && dispatcher_.Find(run) != nullptr) story->cancelled = true;
        dispatcher_.Cancel(run);
      });
    }
  }

  CheckingSink::Calls CallsOf(RunId run) {
    return {[this, run] { dispatcher_.Resume(run); },
            [this, run] { return performer_.BrokeDown(run); },
            [this, run](const RunResult& result) { OnDone(run, result); }};
  }

  void OnDone(RunId run, const RunResult& result) {
    Count(result);
    for (size_t i = 0; i < result.report.models.size(); ++i) {
      const ModelReport& model = result.report.models[i];
      verdict_.Expect(
          model.status != ModelStatus::kSuccess || performer_.AnsweredWell({run, i + 1}),
          "success of what didn't answer", model.name);
    }
    // Some let go of their results at once, some later, some never.
    const auto story = stories_[run - 1];
    if (random_.Chance(0.4)) {
      agenda_.In(2 * random_.Unit(), [story] { story->tables.clear(); });
    }
  }

  void Count(const RunResult& result) {
    ++counts_["run " + std::string(ToString(result.report.status))];
    for (const ModelReport& model : result.report.models) {
      ++counts_["model " + std::string(ToString(model.status))];
      if (model.expectation == false) ++counts_["expectation not met"];
    }
    counts_["file written"] += result.report.outputs.size();
    counts_["preview"] += result.report.previews.size();
    counts_["result"] += result.tables.size();
    for (const RunError& error : result.report.errors) {
      ++counts_[error.message.substr(0, error.message.find(' '))];
    }
  }

  void OnResultDropped(TaskId task) {
    const size_t times = random_.Chance(0.1) ? 2 : 1;
    for (size_t i = 0; i < times; ++i) {
      agenda_.In(0.1 * random_.Unit(), [this, task] { dispatcher_.DropResult(task); });
    }
  }

  /// Whatever comes first, news or a deadline; false: nothing does.
  bool Step() {
    const auto deadline = dispatcher_.core().next_deadline();
    const auto next = agenda_.next();
    if (!deadline && !next) return false;
    if (deadline && (!next || *deadline <= *next)) {
      agenda_.MoveTo(*deadline);
      dispatcher_.OnTime();
    } else {
      if (random_.Chance(0.01)) dispatcher_.OnTime();
      agenda_.RunNext();
    }
    return true;
  }

  void CheckBooks() {
    const resource::Core& core = dispatcher_.core();
    verdict_.Expect(core.ledger().bytes() == performer_.stored_bytes(),
                    "the ledger knows other bytes than are stored");
    verdict_.Expect(static_cast<size_t>(core.running()) == performer_.running(),
                    "the core counts other attempts than run");
  }

  void CheckEnd() {
    const resource::Core& core = dispatcher_.core();
    verdict_.Expect(dispatcher_.idle() && core.run_count() == 0, "a run never ends");
    verdict_.Expect(performer_.running() == 0, "an attempt never ends");
    for (const auto& story : stories_) verdict_.Expect(story->done == 1, "a sink isn't told");
    for (const auto& story : stories_) story->tables.clear();
    while (verdict_.broken().empty() && Step()) CheckBooks();
    verdict_.Expect(core.ledger().empty(), "a segment is held when all is over");
    verdict_.Expect(performer_.stored_bytes() == 0, "a segment is stored when all is over");
    for (const auto& [what, count] : performer_.counts()) counts_[what] += count;
  }

  Random random_;
  Counts& counts_;
  Agenda agenda_;
  Verdict verdict_;
  std::vector<std::shared_ptr<Story>> stories_;  // by run
  const int slots_;
  SimulatedPerformer performer_;
  Dispatcher dispatcher_;
};

// Sanitizers slow it down tenfold.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kSeeds = 1000;
#else
constexpr uint64_t kSeeds = 10000;
#endif

std::pair<uint64_t, uint64_t> Seeds() {
  const char* wish = std::getenv("ZERROW_TEST_SEEDS");
  if (wish == nullptr) return {1, kSeeds};
  char* colon = nullptr;
  const uint64_t from = std::strtoull(wish, &colon, 10);
  return {from, *colon == ':' ? std::strtoull(colon + 1, nullptr, 10) : 1};
}

TEST(Simulation, EveryPromiseIsKeptWhateverHappens) {
  Counts counts;
  const auto [from, count] = Seeds();
  for (uint64_t seed = from; seed < from + count; ++seed) {
    ASSERT_EQ(Simulation(seed, counts).Run(), "") << "ZERROW_TEST_SEEDS=" << seed << ":1";
  }
}

// Or the above would be worth little.
TEST(Simulation, EverythingHappens) {
  Counts counts;
  for (uint64_t seed = 1; seed <= 500; ++seed) Simulation(seed, counts).Run();
  for (const char* what : {"run success",
                           "run failed",
                           "run cancelled",
                           "model success",
                           "model failed",
                           "model skipped",
                           "model timeout",
                           "model killed",
                           "model cancelled",
                           "expectation not met",
                           "file written",
                           "preview",
                           "result",
                           "attempt 2",
                           "stop",
                           "pause",
                           "blocked",
                           "news again",
                           "segment freed",
                           "freed again",
                           "reshared",
                           "shrunk",
                           "hit",
                           "line",
                           "plan after stop",
                           "published early",
                           "published in vain",
                           "while",
                           "its",
                           "importing",
                           "unknown"}) {
    EXPECT_GE(counts[what], 5) << what;
  }
}

}  // namespace
}  // namespace zerrow::engine
