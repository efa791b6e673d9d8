// Random DAGs with failing, dying and hanging nodes and with cancels, run by the scheduler under
// a seeded clock. A failure prints its seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <queue>
#include <random>

#include "engine/scheduler.h"

namespace zerrow::engine {
namespace {

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed) {
    const bool large = Chance(0.05);
    const size_t count = 1 + Below(large ? 3000 : 60);
    jobs_ = 1 + static_cast<int>(Below(8));
    failure_rate_ = Chance(0.5) ? 0 : 0.02 + 0.3 * Unit();
    cancel_at_ = Chance(0.2) ? Unit() * static_cast<double>(count) / 4 : -1;
    for (size_t i = 0; i < count; ++i) {
      SchedulerNode node;
      const size_t inputs = i == 0 ? 0 : Below(4);
      // Near ones make chains, far ones make wide graphs.
      const size_t reach = Chance(0.5) ? 5 : i;
      for (size_t k = 0; k < inputs; ++k) node.inputs.push_back(i - 1 - Below(std::min(reach, i)));
      if (Chance(0.1)) node.timeout_s = 0.1 + 3 * Unit();
      nodes_.push_back(std::move(node));
    }
    state_.resize(count);
  }

  void Run() {
    Scheduler scheduler(nodes_, jobs_);
    Apply(scheduler.Start(now_));
    while (!scheduler.done() && !::testing::Test::HasFailure()) Step(scheduler);
    EXPECT_EQ(running_, 0);
    for (size_t i = 0; i < nodes_.size(); ++i) {
      EXPECT_TRUE(state_[i].status.has_value()) << "node " << i << " never ended";
      EXPECT_EQ(state_[i].released, state_[i].published) << "the lease of node " << i;
      if (!cancelled_ && state_[i].status == ModelStatus::kSkipped) ExpectAFailedInput(i);
    }
  }

 private:
  struct NodeState {
    bool started = false;
    bool stopping = false;
    bool published = false;
    bool released = false;
    std::optional<ModelStatus> status;
  };

  double Unit() { return std::uniform_real_distribution<>(0, 1)(random_); }
  bool Chance(double p) { return Unit() < p; }
  size_t Below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }

  // Whatever comes first: a worker's end, a deadline, the cancel.
  void Step(Scheduler& scheduler) {
    const double end = ends_.empty() ? 1e18 : ends_.top().first;
    const double deadline = scheduler.next_deadline().value_or(1e18);
    const double cancel = cancel_at_ >= 0 && !cancelled_ ? cancel_at_ : 1e18;
    const double next = std::min({end, deadline, cancel});
    ASSERT_LT(next, 1e18) << "stuck with nothing to wait for";
    now_ = std::max(now_, next);
    if (next == cancel) {
      cancelled_ = true;
      Apply(scheduler.Cancel(now_));
    } else if (next == deadline) {
      Apply(scheduler.OnTime(now_));
    } else {
      EndOne(scheduler);
    }
    EXPECT_EQ(scheduler.running(), running_);
  }

  void EndOne(Scheduler& scheduler) {
    const size_t node = ends_.top().second;
    ends_.pop();
    if (state_[node].status || ended_[node]) return;  // it was stopped before
    ended_[node] = true;
    --running_;
    ModelStatus status = ModelStatus::kSuccess;
    if (Chance(failure_rate_)) status = Chance(0.5) ? ModelStatus::kFailed : ModelStatus::kKilled;
    if (state_[node].stopping && Chance(0.5)) status = ModelStatus::kKilled;
    if (status == ModelStatus::kSuccess && !state_[node].stopping) state_[node].published = true;
    Apply(scheduler.OnEnded(node, status, static_cast<int64_t>(Below(1000)), now_));
  }

  void Apply(const std::vector<Decision>& decisions) {
    for (const Decision& decision : decisions) {
      NodeState& state = state_[decision.node];
      switch (decision.kind) {
        case Decision::Kind::kStart:
          ApplyStart(decision.node);
          break;
        case Decision::Kind::kStop:
          EXPECT_TRUE(state.started && !state.status && !state.stopping);
          state.stopping = true;
          ends_.push({now_ + 0.01 * Unit(), decision.node});
          break;
        case Decision::Kind::kFinish:
          EXPECT_FALSE(state.status.has_value()) << "node " << decision.node << " ended twice";
          if (decision.status == ModelStatus::kSkipped) {
            EXPECT_FALSE(state.started);
          } else if (decision.status != ModelStatus::kCancelled) {
            EXPECT_TRUE(state.started);
          }
          state.status = decision.status;
          break;
        case Decision::Kind::kRelease:
          ApplyRelease(decision.node);
          break;
      }
    }
    EXPECT_LE(running_, jobs_);
  }

  void ApplyStart(size_t node) {
    NodeState& state = state_[node];
    EXPECT_FALSE(cancelled_);
    EXPECT_FALSE(state.started || state.status) << "node " << node << " ran twice";
    for (const size_t input : nodes_[node].inputs) {
      EXPECT_TRUE(state_[input].published && !state_[input].released);
    }
    state.started = true;
    ++running_;
    // Some hang until they are stopped; only those with a timeout may, or the run would.
    const bool hangs = nodes_[node].timeout_s && Chance(0.3);
    ends_.push({now_ + (hangs ? 1e6 : Unit()), node});
  }

  void ApplyRelease(size_t node) {
    EXPECT_TRUE(state_[node].published && !state_[node].released);
    state_[node].released = true;
    for (size_t i = node + 1; i < nodes_.size(); ++i) {
      if (std::ranges::find(nodes_[i].inputs, node) == nodes_[i].inputs.end()) continue;
      EXPECT_TRUE(state_[i].status.has_value()) << "released while " << i << " needs it";
    }
  }

  void ExpectAFailedInput(size_t node) {
    EXPECT_TRUE(std::ranges::any_of(nodes_[node].inputs, [&](size_t input) {
      return state_[input].status != ModelStatus::kSuccess;
    }));
  }

  std::mt19937_64 random_;
  std::vector<SchedulerNode> nodes_;
  std::vector<NodeState> state_;
  std::map<size_t, bool> ended_;
  using End = std::pair<double, size_t>;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_;
  int jobs_ = 1;
  int running_ = 0;
  double failure_rate_ = 0;
  double cancel_at_ = -1;
  double now_ = 0;
  bool cancelled_ = false;
};

TEST(SchedulerSimulation, KeepsItsPromisesOnRandomGraphs) {
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation(seed).Run();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace zerrow::engine
