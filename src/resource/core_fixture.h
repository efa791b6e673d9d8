// What tests of the Core share: events in short, and decisions as words.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "resource/core.h"

namespace zerrow::resource {

using Said = std::vector<std::string>;
using Indexes = std::vector<size_t>;
using enum ModelStatus;

inline constexpr RunId kRun = 1;

inline std::string Name(TaskId task) {
  return std::to_string(task.run) + ":" + std::to_string(task.index);
}

// The Core is linked without what has names for these.
inline std::string Name(ModelStatus status) {
  constexpr const char* kNames[] = {"success", "failed", "skipped",
                                    "timeout", "killed", "cancelled"};
  return kNames[static_cast<int>(status)];
}

inline std::string Say(const Decision& decision) {
  const std::string task = Name(decision.task);
  const std::string attempt = "#" + std::to_string(decision.attempt);
  const std::string segment = " " + std::to_string(decision.segment);
  switch (decision.kind) {
    case Decision::Kind::kStart:
      return "start " + task + attempt;
    case Decision::Kind::kStop:
      return "stop " + task + attempt;
    case Decision::Kind::kFinish:
      return "finish " + task + " " + Name(decision.status);
    case Decision::Kind::kRelease:
      return "release " + task;
    case Decision::Kind::kFree:
      return "free" + segment;
    case Decision::Kind::kShrink:
      return "shrink" + segment;
    case Decision::Kind::kEndRun:
      return "end " + std::to_string(decision.task.run);
    case Decision::Kind::kVary:
      return "vary " + task;
    case Decision::Kind::kRestart:
      return "restart " + task;
    case Decision::Kind::kFreeze:
      return "freeze " + task + attempt;
    case Decision::Kind::kThaw:
      return "thaw " + task + attempt;
    case Decision::Kind::kSwapOut:
      return "swap out" + segment;
    case Decision::Kind::kUnload:
      return "unload" + segment;
    case Decision::Kind::kSwapIn:
      return "swap in" + segment;
    case Decision::Kind::kUncache:
      return "uncache" + segment;
  }
  return "?";
}

inline TaskSpec Reads(Indexes inputs, Indexes after = {}) {
  TaskSpec spec;
  spec.inputs = std::move(inputs);
  spec.after = std::move(after);
  return spec;
}
inline TaskSpec Value(Indexes inputs, Indexes after = {}) {
  TaskSpec spec = Reads(std::move(inputs), std::move(after));
  spec.has_table = false;
  return spec;
}
inline TaskSpec Timed(TaskSpec spec, double timeout_s) {
  spec.timeout_s = timeout_s;
  return spec;
}
inline TaskSpec Kept(TaskSpec spec) {
  spec.kept = true;
  return spec;
}

/// A Core, and what it decided last.
class CoreTest : public ::testing::Test {
 protected:
  Said Tell(const Event& event, Time now = 0) {
    decisions_ = core_.On(event, now);
    Said said;
    for (const Decision& decision : decisions_) said.push_back(Say(decision));
    return said;
  }
  Said Add(std::vector<TaskSpec> tasks, int jobs = 8, RunId run = kRun) {
    return Tell(RunAdded{run, jobs, std::move(tasks)});
  }
  /// The first attempt of the task ends well, with a segment of its own of that id.
  Said Succeed(TaskId task, std::vector<SegmentBytes> table = {}, int attempt = 1) {
    return Tell(TaskEnded{task, attempt, kSuccess, false, std::move(table)});
  }
  Said Succeed(size_t index, std::vector<SegmentBytes> table = {}) {
    return Succeed(TaskId{kRun, index}, std::move(table));
  }
  Said End(size_t index, ModelStatus status, std::vector<SegmentBytes> table = {}) {
    return Tell(TaskEnded{{kRun, index}, 1, status, false, std::move(table)});
  }
  Said Publish(size_t index, std::vector<SegmentBytes> table, int attempt = 1) {
    return Tell(TaskPublished{{kRun, index}, attempt, std::move(table)});
  }
  Said Lose(size_t index, int attempt, std::vector<SegmentBytes> table = {}) {
    return Tell(TaskEnded{{kRun, index}, attempt, kFailed, true, std::move(table)});
  }
  Said Cancel(RunId run = kRun) { return Tell(RunCancelled{run}); }
  std::vector<Reason> reasons() const {
    std::vector<Reason> reasons;
    for (const Decision& decision : decisions_) reasons.push_back(decision.reason);
    return reasons;
  }
  void ExpectNothingLeft() const {
    EXPECT_EQ(core_.run_count(), 0);
    EXPECT_EQ(core_.running(), 0);
    EXPECT_TRUE(core_.ledger().empty());
    EXPECT_EQ(core_.next_deadline(), std::nullopt);
  }

  Core core_{2};
  std::vector<Decision> decisions_;
};

}  // namespace zerrow::resource
