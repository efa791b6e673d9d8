// Whole stories of an engine under a seeded clock: the production Dispatcher, Core and Runs over a
// simulated Performer. A failure prints its seed; ZERROW_TEST_SEEDS=FROM:COUNT runs others.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/dispatcher.h"
#include "engine/testing/agenda.h"
#include "engine/testing/checking_sink.h"
#include "engine/testing/random_project.h"
#include "engine/testing/simulated_memory.h"
#include "engine/testing/simulated_performer.h"

namespace zerrow::engine {
namespace {

using resource::Holder;
using resource::RunId;
using resource::TaskId;
using testing::Agenda;
using testing::CheckingSink;
using testing::Random;
using testing::SimulatedMemory;
using testing::SimulatedPerformer;
using testing::Story;
using testing::Verdict;

/// How often each kind of thing happened.
using Counts = std::map<std::string, size_t>;

constexpr int64_t kHugeDisk = int64_t{1} << 50;

class Simulation {
 public:
  /// How many runs, of how many models each; zeros: as the dice say.
  struct Size {
    size_t runs = 0;
    size_t models = 0;
  };
  Simulation(uint64_t seed, Counts& counts) : Simulation(seed, counts, {}) {}
  Simulation(uint64_t seed, Counts& counts, Size size)
      : random_(seed),
        counts_(counts),
        slots_(1 + static_cast<int>(random_.Below(6))),
        restless_(random_.Chance(0.2)),
        memory_(RandomMemory()),
        performer_(agenda_, random_, verdict_, store_, memory_.get(), RandomRates(), slots_),
        dispatcher_(OptionsOf(), performer_) {
    performer_.Attach(dispatcher_);
    if (memory_) {
      memory_->Attach(dispatcher_, [this](SegmentId segment) { performer_.Uncache(segment); });
      ShrinkLimits();
    }
    if (size.runs > 0) {
      for (RunId run = 1; run <= size.runs; ++run) AddRun(run, size.models);
      return;
    }
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
    const double trouble = restless_ ? 0.01 : random_.Chance(0.4) ? 0 : 0.15 * random_.Unit();
    const auto some = [&] { return random_.Chance(0.5) ? 0 : trouble; };
    return {some(),     some(),         some(),
            2 * some(), 0.3 * some(),   some(),
            some(),     random_.Unit(), random_.Chance(0.5) ? 0 : 0.3 * random_.Unit()};
  }

  /// Three of five have limits.
  std::unique_ptr<SimulatedMemory> RandomMemory() {
    if (!restless_ && random_.Chance(0.4)) return nullptr;
    SimulatedMemory::Rates rates;
    // Tables are up to some 10 MB: heaps are as large, far larger, or next to nothing.
    rates.unit_bytes = random_.Chance(0.7) ? 10'000 : random_.Chance(0.6) ? 100'000 : 100;
    rates.unknown = random_.Chance(0.5) ? 0 : random_.Unit();
    rates.wrong = random_.Chance(0.5) ? 0 : random_.Unit();
    rates.varies = random_.Chance(0.5) ? 0 : 0.3 * random_.Unit();
    rates.lies = restless_ ? 0.2 + 0.6 * random_.Unit() : random_.Chance(0.5) ? 0 : random_.Unit();
    rates.disk_bytes_per_s = random_.Chance(0.8) ? 100e6 : 1e6;
    rates.disk_bytes = random_.Chance(0.7) ? kHugeDisk : RandomBytes();
    rates.write_fails = random_.Chance(0.7) ? 0 : 0.5 * random_.Unit();
    rates.read_fails = random_.Chance(0.7) ? 0 : 0.2 * random_.Unit();
    if (restless_) rates.unit_bytes = 10'000;
    fair_ = rates.write_fails == 0 && rates.read_fails == 0 && rates.disk_bytes >= kHugeDisk;
    return std::make_unique<SimulatedMemory>(agenda_, random_, verdict_, store_, rates);
  }

  int64_t RandomBytes() {
    return static_cast<int64_t>((random_.Chance(0.5) ? 10e6 : 100e6) * random_.Unit());
  }

  resource::Budget RandomBudget() {
    resource::Budget budget;
    budget.limit_bytes = RandomBytes();
    if (restless_) budget.limit_bytes = 15'000'000 + budget.limit_bytes / 2;
    budget.reserve_bytes = random_.Chance(0.5) ? 0 : budget.limit_bytes / 8;
    return budget;
  }

  Dispatcher::Options OptionsOf() {
    using enum resource::EvictionPolicy;
    Dispatcher::Options options;
    options.slots = slots_;
    options.now = [this] { return agenda_.now(); };
    options.on_result_dropped = [this](TaskId task) { OnResultDropped(task); };
    if (!memory_) return options;
    constexpr resource::EvictionPolicy kPolicies[] = {kNone, kSwap, kRollback, kAdaptive,
                                                      kAdaptive};
    options.policy = restless_ ? kRollback : kPolicies[random_.Below(5)];
    options.memory = memory_.get();
    if (restless_ || random_.Chance(0.9)) NoteBudget({}, options.budget = RandomBudget());
    if (options.policy != kSwap && options.policy != kAdaptive) fair_ = false;
    options.estimate = [this](RunId run, const engine::Run& of, auto& specs) {
      memory_->Estimate(run, of, specs);
    };
    return options;
  }

  void NoteBudget(resource::Scope scope, const resource::Budget& budget) {
    const auto least = least_capacity_.emplace(scope, budget.capacity()).first;
    least->second = std::min(least->second, budget.capacity());
  }

  /// Or widens them, the engine's or a run's.
  void ShrinkLimits() {
    if (random_.Chance(0.6)) return;
    for (size_t times = 1 + random_.Below(3); times > 0; --times) {
      agenda_.In(4 * random_.Unit(), [this] {
        resource::Scope scope;
        if (random_.Chance(0.4)) scope = 1 + random_.Below(stories_.size());
        if (scope && dispatcher_.Find(*scope) == nullptr) return;
        const auto budget = random_.Chance(0.1) ? resource::Budget{} : RandomBudget();
        NoteBudget(scope, budget);
        dispatcher_.SetBudget(scope, budget);
      });
    }
  }

  void AddRun(RunId run, size_t models) {
    auto story = std::make_shared<Story>();
    auto project = testing::RandomProject(random_, models);
    story->request = testing::RandomRequest(random_, project);
    story->limited = story->request.hash_outputs = memory_ != nullptr;
    story->slowness = random_.Chance(0.5) ? 0 : 0.5 * random_.Unit();
    stories_.push_back(story);
    const double arrival = random_.Chance(0.3) ? 0 : 3 * random_.Unit();
    resource::Budget budget;
    if (memory_ && random_.Chance(0.3)) NoteBudget(run, budget = RandomBudget());
    // Results in somebody's hands can't go.
    if (!story->request.options.keep.empty()) fair_ = false;
    const int priority = random_.Chance(0.6) ? 0 : static_cast<int>(random_.Below(4)) - 1;
    agenda_.In(
        arrival, [this, run, story, budget, priority, project = std::move(project)]() mutable {
          performer_.Expect(run, std::move(project), story->request.options.jobs);
          dispatcher_.Add(
              run, story->request,
              std::make_unique<CheckingSink>(agenda_, random_, verdict_, story, CallsOf(run)),
              budget, priority);
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
            [this, run](const ModelReport& model) { OnFinished(run, model); },
            [this, run](const RunResult& result) { OnDone(run, result); }};
  }

  void OnDone(RunId run, const RunResult& result) {
    Count(result);
    performer_.CheckVersions(run, result);
    for (size_t i = 0; i < result.report.models.size(); ++i) {
      const ModelReport& model = result.report.models[i];
      verdict_.Expect(model.status != ModelStatus::kSuccess ||
                          performer_.AnsweredWell({run, first_nodes_[run] + i}),
                      "success of what didn't answer", model.name);
    }
    // Some let go of their results at once, some later, some never.
    const auto story = stories_[run - 1];
    if (random_.Chance(0.4)) {
      agenda_.In(2 * random_.Unit(), [story] { story->tables.clear(); });
    }
  }

  void OnFinished(RunId run, const ModelReport& model) {
    first_nodes_[run] = dispatcher_.Find(run)->TaskOf(0);
    if (!model.error || !model.error->message.starts_with("it needs at least")) return;
    ++counts_[fair_ ? "too large" : "too large beside others"];
    CheckTooLarge(run, model.name);
  }

  size_t NodeOf(RunId run, const Plan& plan, const std::string& model) {
    auto& nodes = nodes_[run];
    if (nodes.empty()) {
      for (size_t i = 0; i < plan.nodes.size(); ++i) nodes[plan.nodes[i].name] = i;
    }
    return nodes.at(model);
  }

  /// What fails as too large is: by itself where all else can be written out, and where it can't,
  /// beside what is there.
  void CheckTooLarge(RunId run, const std::string& model) {
    const engine::Run& of = *dispatcher_.Find(run);
    const size_t node = NodeOf(run, of.plan(), model);
    std::set<SegmentId> inputs;
    for (const PlanInput& input : of.plan().nodes[node].inputs) {
      // It may be gone, if what waits for it was too large before.
      if (of.table(input.node) == nullptr) continue;
      for (const auto& segment : of.table(input.node)->AllSegments()) {
        if (store_.segments.contains(segment.id)) inputs.insert(segment.id);
      }
    }
    int64_t input_bytes = 0;
    int64_t others_bytes = store_.memory_bytes + memory_->heap_bytes();
    for (const SegmentId id : inputs) {
      const testing::SimulatedSegment& segment = store_.segments.at(id);
      input_bytes += segment.bytes;
      if (segment.in_memory) others_bytes -= segment.bytes;
    }
    const TaskId task = {run, of.TaskOf(node)};
    const int64_t need =
        std::max(memory_->NeedOf(task), memory_->LargestHeapOf(task) + input_bytes);
    int64_t capacity = resource::Budget::kUnlimited;
    for (const resource::Scope scope : {resource::Scope(), resource::Scope(run)}) {
      const auto least = least_capacity_.find(scope);
      if (least != least_capacity_.end()) capacity = std::min(capacity, least->second);
    }
    verdict_.Expect(need + (fair_ ? 0 : others_bytes) > capacity, "too large, but it fits", model);
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
    for (const VaryingModel& varying : result.report.varying) {
      ++counts_["varied"];
      counts_["run again"] += static_cast<size_t>(varying.run_again);
    }
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
    verdict_.Expect(core.ledger().bytes() == store_.stored_bytes,
                    "the ledger knows other bytes than are stored");
    if (memory_) CheckMemory();
    verdict_.Expect(static_cast<size_t>(core.running()) == performer_.running(),
                    "the core counts other attempts than run");
  }

  /// What is charged is there, and it passes the limit by growth alone, which is frozen at once.
  void CheckMemory() {
    const resource::Core& core = dispatcher_.core();
    const int64_t charged = core.charged_bytes();
    verdict_.Expect(core.ledger().use().memory_bytes == store_.memory_bytes,
                    "the ledger knows other bytes than are in memory");
    verdict_.Expect(charged == store_.memory_bytes + memory_->heap_bytes(),
                    "other bytes are charged than are there");
    const int64_t capacity = core.budget().capacity();
    verdict_.Expect(charged - memory_->TakeGrowth() <= std::max(capacity, charged_bytes_),
                    "a decision leads beyond the limit");
    charged_bytes_ = charged;
    verdict_.Expect(charged <= capacity || !performer_.HasGrowing({}),
                    "attempts grow beyond the limit");
    if (charged > capacity) ++counts_["over the limit"];
    for (RunId run = 1; run <= stories_.size(); ++run) {
      if (dispatcher_.Find(run) == nullptr) continue;
      const bool over = core.charged_bytes(run) > core.budget(run).capacity();
      verdict_.Expect(!over || !performer_.HasGrowing(run), "attempts grow beyond a run's limit");
      if (over) ++counts_["over a run's limit"];
    }
    verdict_.Expect(!core.IsIdle() || core.ready_count() == 0, "something waits that could run");
  }

  void CheckEnd() {
    const resource::Core& core = dispatcher_.core();
    verdict_.Expect(dispatcher_.idle() && core.run_count() == 0, "a run never ends");
    verdict_.Expect(performer_.running() == 0, "an attempt never ends");
    for (const auto& story : stories_) verdict_.Expect(story->done == 1, "a sink isn't told");
    for (const auto& story : stories_) story->tables.clear();
    while (verdict_.broken().empty() && Step()) CheckBooks();
    verdict_.Expect(core.ledger().empty(), "a segment is held when all is over");
    verdict_.Expect(store_.stored_bytes == 0, "a segment is stored when all is over");
    verdict_.Expect(store_.disk_bytes == 0, "something is on disk when all is over");
    for (const auto& [what, count] : performer_.counts()) counts_[what] += count;
    if (!memory_) return;
    for (const auto& [what, count] : memory_->counts()) counts_[what] += count;
  }

  Random random_;
  Counts& counts_;
  Agenda agenda_;
  Verdict verdict_;
  std::vector<std::shared_ptr<Story>> stories_;  // by run
  const int slots_;
  const bool restless_;  // little goes wrong, but tables are made again, and differ
  bool fair_ = false;    // all but what attempts need can be written out
  std::map<resource::Scope, int64_t> least_capacity_;
  std::map<RunId, std::map<std::string, size_t>> nodes_;  // by name
  std::map<RunId, size_t> first_nodes_;                   // tasks
  testing::SimulatedStore store_;
  const std::unique_ptr<SimulatedMemory> memory_;  // null: nothing is limited
  int64_t charged_bytes_ = 0;
  SimulatedPerformer performer_;
  Dispatcher dispatcher_;
};

// Sanitizers slow it down tenfold.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kSeeds = 1000;
#else
constexpr uint64_t kSeeds = 10000;
#endif

// Of an environment variable "A:B".
std::pair<uint64_t, uint64_t> Wish(const char* variable, std::pair<uint64_t, uint64_t> otherwise) {
  const char* wish = std::getenv(variable);
  if (wish == nullptr) return otherwise;
  char* colon = nullptr;
  const uint64_t first = std::strtoull(wish, &colon, 10);
  return {first, *colon == ':' ? std::strtoull(colon + 1, nullptr, 10) : 1};
}

TEST(Simulation, EveryPromiseIsKeptWhateverHappens) {
  Counts counts;
  const auto [from, count] = Wish("ZERROW_TEST_SEEDS", {1, kSeeds});
  for (uint64_t seed = from; seed < from + count; ++seed) {
    ASSERT_EQ(Simulation(seed, counts).Run(), "") << "ZERROW_TEST_SEEDS=" << seed << ":1";
  }
}

// ZERROW_TEST_SIZE=RUNS:MODELS says how many runs at once, and of how many models each.
TEST(Simulation, LargeRunsToo) {
  const auto [runs, models] = Wish("ZERROW_TEST_SIZE", {1, 2000});
  const auto [from, count] = Wish("ZERROW_TEST_LARGE_SEEDS", {1, 10});
  Counts counts;
  for (uint64_t seed = from; seed < from + count; ++seed) {
    ASSERT_EQ(Simulation(seed, counts, {runs, models}).Run(), "") << "seed " << seed;
  }
  EXPECT_GT(counts["model success"], models);
}

// Or the above would be worth little.
TEST(Simulation, EverythingHappens) {
  Counts counts;
  for (uint64_t seed = 1; seed <= 1500; ++seed) Simulation(seed, counts).Run();
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
                           "heap grown",
                           "rolled back as often as may be",
                           "varied",
                           "run again",
                           "too large",
                           "too large beside others",
                           "over the limit",
                           "over a run's limit",
                           "frozen",
                           "thawed",
                           "swapped out",
                           "unloaded",
                           "swapped in",
                           "uncached",
                           "disk full",
                           "write failed",
                           "read failed",
                           "unknown"}) {
    EXPECT_GE(counts[what], 5) << what;
  }
}

}  // namespace
}  // namespace zerrow::engine
