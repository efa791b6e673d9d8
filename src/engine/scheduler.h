// Decides what a run does next: a deterministic state machine over a DAG of tasks.
//
// Events go in, decisions come out; there are no system calls and no time of its own, so that a
// simulator drives the same code as real workers do. Not thread-safe; owns nothing outside.
//
// A node's states:   waiting -> ready -> running -> finished
//                       |         |         `-> stopping -> finished   (timeout or cancel)
//                       `---------`--> finished                        (skipped or cancelled)
// A node occupies one of `jobs` slots while it is running or stopping. A node finishes exactly
// once; its lease (if it published a table) is released exactly once, when its last consumer has
// finished.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "zerrow/run.h"

namespace zerrow::engine {

/// Seconds on any clock that never goes back.
using SchedulerTime = double;

struct SchedulerNode {
  std::vector<size_t> inputs;  // all smaller than the node's own index; no duplicates needed
  std::optional<double> timeout_s;
  bool has_table = true;      // publishes one if it succeeds
  std::vector<size_t> after;  // must have succeeded too, though it reads nothing of theirs
};

struct Decision {
  enum class Kind {
    kStart,    // run the node; its inputs are published
    kStop,     // kill the node's worker; OnEnded follows once it is gone
    kFinish,   // the node has its final `status`
    kRelease,  // nobody will read the node's table any more
  };
  Kind kind = Kind::kStart;
  size_t node = 0;
  ModelStatus status = ModelStatus::kSkipped;  // of kFinish

  friend bool operator==(const Decision&, const Decision&) = default;
};

class Scheduler {
 public:
  /// `jobs` is at least 1.
  Scheduler(std::vector<SchedulerNode> nodes, int jobs);

  std::vector<Decision> Start(SchedulerTime now);

  /// A started node's worker is gone. `status` is kSuccess, kFailed or kKilled, and `bytes` what
  /// its table occupies. A node that was being stopped keeps the status it was stopped for.
  std::vector<Decision> OnEnded(size_t node, ModelStatus status, int64_t bytes, SchedulerTime now);

  /// The clock has reached `now`: stops nodes whose time is up.
  std::vector<Decision> OnTime(SchedulerTime now);

  /// Stops what runs; what hasn't started finishes as cancelled.
  std::vector<Decision> Cancel(SchedulerTime now);

  /// When OnTime has something to do next.
  std::optional<SchedulerTime> next_deadline() const;
  bool done() const { return unfinished_ == 0; }
  int running() const { return running_; }

 private:
  enum class State { kWaiting, kReady, kRunning, kStopping, kFinished };
  struct Node {
    std::vector<size_t> inputs;  // distinct
    std::vector<size_t> consumers;
    std::optional<double> timeout_s;
    bool has_table = true;
    State state = State::kWaiting;
    int depth = 0;              // longest way from a node without inputs
    size_t waiting_inputs = 0;  // inputs that haven't published
    size_t open_consumers = 0;  // consumers that haven't finished
    bool published = false;     // holds a lease
    int64_t bytes = 0;          // of its table, once published
    ModelStatus stop_status = ModelStatus::kTimeout;
    SchedulerTime deadline = 0;  // while running with a timeout
  };

  void StartReady(SchedulerTime now, std::vector<Decision>& decisions);
  size_t BestReady() const;
  int64_t BytesFreedBy(const Node& node) const;
  void Stop(size_t index, ModelStatus status, std::vector<Decision>& decisions);
  void Finish(size_t index, ModelStatus status, std::vector<Decision>& decisions);
  void SkipConsumers(size_t index, std::vector<Decision>& decisions);
  void ReleaseIfUnread(size_t index, std::vector<Decision>& decisions);

  std::vector<Node> nodes_;
  std::set<size_t> ready_;
  std::set<std::pair<SchedulerTime, size_t>> deadlines_;  // of running nodes
  int jobs_;
  int running_ = 0;
  size_t unfinished_;
  bool cancelled_ = false;
};

}  // namespace zerrow::engine
