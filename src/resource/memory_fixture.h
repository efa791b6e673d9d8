// What tests of the Core's memory share: a Core with a limit of 1,000 bytes, and tasks that expect
// something.
#pragma once

#include "resource/core_fixture.h"

namespace zerrow::resource {

class MemoryTest : public ::testing::Test {
 protected:
  explicit MemoryTest(EvictionPolicy policy = EvictionPolicy::kAdaptive)
      : core_({4, {1000, 0}, policy}) {}

  Said Tell(const Event& event, Time now = 0) {
    decisions_ = core_.On(event, now);
    Said said;
    for (const Decision& decision : decisions_) said.push_back(Say(decision));
    return said;
  }
  Said Add(std::vector<TaskSpec> tasks, RunId run = kRun, Budget budget = {}, int jobs = 4) {
    return Tell(RunAdded{run, jobs, std::move(tasks), budget});
  }
  Said Succeed(size_t index, std::vector<SegmentBytes> table = {}, int attempt = 1, Time now = 0) {
    return Tell(TaskEnded{{kRun, index}, attempt, kSuccess, false, std::move(table)}, now);
  }
  Said End(size_t index, int attempt = 1) {
    return Tell(TaskEnded{{kRun, index}, attempt, kKilled, false, {}});
  }
  Said Measure(size_t index, int64_t bytes, int attempt = 1) {
    return Tell(TaskMeasured{{kRun, index}, attempt, bytes});
  }
  Said Limit(int64_t bytes, Scope scope = {}) { return Tell(BudgetChanged{scope, {bytes, 0}}); }
  Said Written(SegmentId segment,
               SegmentSwappedOut::Result result = SegmentSwappedOut::Result::kDone) {
    return Tell(SegmentSwappedOut{segment, result, 0.1});
  }
  Said Read(SegmentId segment, bool ok = true) { return Tell(SegmentSwappedIn{segment, ok, 0.1}); }

  /// Of the first decision with that reason, in words.
  std::string Why(Reason reason) const {
    for (const Decision& decision : decisions_) {
      if (decision.reason == reason) return Explain(decision, [](TaskId id) { return Name(id); });
    }
    return "nothing was decided for that reason";
  }
  const Decision& Last(Decision::Kind kind) const {
    for (const Decision& decision : decisions_) {
      if (decision.kind == kind) return decision;
    }
    return decisions_.back();
  }

  Core core_;
  std::vector<Decision> decisions_;
};

/// It is expected to need so much.
inline TaskSpec Needs(int64_t bytes, TaskSpec spec, double run_s = 0) {
  spec.expected = {0, bytes, run_s};
  return spec;
}
inline TaskSpec Varying(TaskSpec spec) {
  spec.deterministic = false;
  return spec;
}

}  // namespace zerrow::resource
