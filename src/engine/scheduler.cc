#include "engine/scheduler.h"

#include <algorithm>
#include <utility>

namespace zerrow::engine {

Scheduler::Scheduler(std::vector<SchedulerNode> nodes, int jobs)
    : nodes_(nodes.size()), jobs_(std::max(jobs, 1)), unfinished_(nodes.size()) {
  for (size_t i = 0; i < nodes.size(); ++i) {
    Node& node = nodes_[i];
    node.inputs = std::move(nodes[i].inputs);
    node.inputs.insert(node.inputs.end(), nodes[i].after.begin(), nodes[i].after.end());
    std::sort(node.inputs.begin(), node.inputs.end());
    node.inputs.erase(std::unique(node.inputs.begin(), node.inputs.end()), node.inputs.end());
    node.timeout_s = nodes[i].timeout_s;
    node.has_table = nodes[i].has_table;
    node.waiting_inputs = node.inputs.size();
    for (const size_t input : node.inputs) {
      nodes_[input].consumers.push_back(i);
      ++nodes_[input].open_consumers;
      node.depth = std::max(node.depth, nodes_[input].depth + 1);
    }
  }
}

std::vector<Decision> Scheduler::Start(SchedulerTime now) {
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].waiting_inputs > 0 || nodes_[i].state != State::kWaiting) continue;
    nodes_[i].state = State::kReady;
    ready_.insert(i);
  }
  std::vector<Decision> decisions;
  StartReady(now, decisions);
  return decisions;
}

std::vector<Decision> Scheduler::OnEnded(size_t index, ModelStatus status, int64_t bytes,
                                         SchedulerTime now) {
  std::vector<Decision> decisions;
  Node& node = nodes_[index];
  if (node.state != State::kRunning && node.state != State::kStopping) return decisions;
  --running_;
  if (node.timeout_s) deadlines_.erase({node.deadline, index});
  // A worker that was told to stop may still have ended in another way; the reason stands.
  if (node.state == State::kStopping) status = node.stop_status;
  if (status == ModelStatus::kSuccess) {
    node.published = node.has_table;
    node.bytes = bytes;
  }
  Finish(index, status, decisions);
  if (status == ModelStatus::kSuccess) {
    for (const size_t consumer : node.consumers) {
      Node& next = nodes_[consumer];
      if (--next.waiting_inputs > 0 || next.state != State::kWaiting) continue;
      next.state = State::kReady;
      ready_.insert(consumer);
    }
  } else {
    SkipConsumers(index, decisions);
  }
  ReleaseIfUnread(index, decisions);
  StartReady(now, decisions);
  return decisions;
}

std::vector<Decision> Scheduler::OnTime(SchedulerTime now) {
  std::vector<Decision> decisions;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    Stop(deadlines_.begin()->second, ModelStatus::kTimeout, decisions);
  }
  return decisions;
}

std::vector<Decision> Scheduler::Cancel(SchedulerTime) {
  std::vector<Decision> decisions;
  cancelled_ = true;
  ready_.clear();
  for (size_t i = 0; i < nodes_.size(); ++i) {
    switch (nodes_[i].state) {
      case State::kWaiting:
      case State::kReady:
        Finish(i, ModelStatus::kCancelled, decisions);
        break;
      case State::kRunning:
        Stop(i, ModelStatus::kCancelled, decisions);
        break;
      case State::kStopping:
      case State::kFinished:
        break;
    }
  }
  return decisions;
}

std::optional<SchedulerTime> Scheduler::next_deadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

void Scheduler::StartReady(SchedulerTime now, std::vector<Decision>& decisions) {
  while (!cancelled_ && running_ < jobs_ && !ready_.empty()) {
    const size_t index = BestReady();
    Node& node = nodes_[index];
    ready_.erase(index);
    node.state = State::kRunning;
    ++running_;
    if (node.timeout_s) {
      node.deadline = now + *node.timeout_s;
      deadlines_.insert({node.deadline, index});
    }
    decisions.push_back({Decision::Kind::kStart, index});
  }
}

// First what frees most memory when it is done, then what is furthest along (so that a chain is
// finished before another one begins), then the plan's own order.
size_t Scheduler::BestReady() const {
  size_t best = *ready_.begin();
  auto best_rank = std::pair(BytesFreedBy(nodes_[best]), nodes_[best].depth);
  for (const size_t index : ready_) {
    const auto rank = std::pair(BytesFreedBy(nodes_[index]), nodes_[index].depth);
    if (rank > best_rank) {
      best = index;
      best_rank = rank;
    }
  }
  return best;
}

int64_t Scheduler::BytesFreedBy(const Node& node) const {
  int64_t bytes = 0;
  for (const size_t input : node.inputs) {
    if (nodes_[input].open_consumers == 1) bytes += nodes_[input].bytes;
  }
  return bytes;
}

void Scheduler::Stop(size_t index, ModelStatus status, std::vector<Decision>& decisions) {
  Node& node = nodes_[index];
  node.state = State::kStopping;
  node.stop_status = status;
  if (node.timeout_s) deadlines_.erase({node.deadline, index});
  decisions.push_back({Decision::Kind::kStop, index});
}

void Scheduler::Finish(size_t index, ModelStatus status, std::vector<Decision>& decisions) {
  Node& node = nodes_[index];
  node.state = State::kFinished;
  --unfinished_;
  decisions.push_back({Decision::Kind::kFinish, index, status});
  for (const size_t input : node.inputs) {
    --nodes_[input].open_consumers;
    ReleaseIfUnread(input, decisions);
  }
}

void Scheduler::SkipConsumers(size_t index, std::vector<Decision>& decisions) {
  std::vector<size_t> failed = {index};
  while (!failed.empty()) {
    const size_t next = failed.back();
    failed.pop_back();
    for (const size_t consumer : nodes_[next].consumers) {
      if (nodes_[consumer].state != State::kWaiting) continue;
      Finish(consumer, cancelled_ ? ModelStatus::kCancelled : ModelStatus::kSkipped, decisions);
      failed.push_back(consumer);
    }
  }
}

void Scheduler::ReleaseIfUnread(size_t index, std::vector<Decision>& decisions) {
  Node& node = nodes_[index];
  if (!node.published || node.open_consumers > 0) return;
  node.published = false;
  decisions.push_back({Decision::Kind::kRelease, index});
}

}  // namespace zerrow::engine
