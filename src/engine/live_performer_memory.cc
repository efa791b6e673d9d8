// What attempts take of memory, and holding them up.
#include <algorithm>
#include <cstdlib>
#include <utility>

#include "engine/live_performer.h"
#include "resource/reasons.h"
#include "sandbox/process_tree.h"

namespace zerrow::engine {

using resource::TaskId;

namespace {

// Below that a change isn't worth a decision.
constexpr int64_t kNoticeable = 256 << 10;

// Finding a worker's descendants takes longer than reading what one process has.
constexpr int kSamplesPerTree = 10;

// Measurements that come late, and what ended just now, look like it for a moment.
constexpr resource::Time kStarvedSeconds = 3;

}  // namespace

void LivePerformer::NoteForked(Attempt& attempt, pid_t pid) {
  attempt.pid = pid;
  sampler_.AddProcess(pid);
  attempt.inherited_bytes = sandbox::AnonBytes(pid);
  if (attempt.frozen) sandbox::PauseTree(pid, true);
}

void LivePerformer::Freeze(TaskId task, int number, bool frozen) {
  const auto found = attempts_.find(task);
  if (found == attempts_.end() || found->second.number != number) return;
  Attempt& attempt = found->second;
  attempt.frozen = frozen;
  if (attempt.worker && attempt.pid > 0) sandbox::PauseTree(attempt.pid, frozen);
}

// Its process may take long to be reaped, as who does that may wait for this very memory.
void LivePerformer::Discard(TaskId task, Attempt& attempt) {
  if (!attempt.grant || attempt.publishing || std::exchange(attempt.discarding, true)) return;
  loop_.Post(
      EventLoop::Lane::kMemory, [grant = attempt.grant] { grant->Discard(); },
      [this, task, number = attempt.number] {
        const auto found = attempts_.find(task);
        if (found != attempts_.end() && found->second.number == number) found->second.grant.reset();
      });
}

int64_t LivePerformer::PrivateBytes(Attempt& attempt, bool look_at_tree) {
  if (!attempt.worker || attempt.pid <= 0) return 0;
  const int64_t own = sampler_.anon_bytes(attempt.pid);
  if (look_at_tree) {
    const int64_t all = sandbox::TreeAnonBytes(attempt.pid);
    attempt.descendant_bytes = std::max<int64_t>(all - own, 0);
  }
  return std::max<int64_t>(own - attempt.inherited_bytes, 0) + attempt.descendant_bytes;
}

std::vector<LivePerformer::Measured> LivePerformer::MeasureAttempts() {
  std::vector<Measured> measured;
  const bool look_at_trees = ++samples_ % kSamplesPerTree == 0;
  for (auto& [task, attempt] : attempts_) {
    // What was granted is neither the attempt's any more nor a table's yet.
    if (attempt.publishing || (attempt.ended && !attempt.published)) continue;
    if (attempt.discarding && attempt.grant) continue;
    int64_t bytes = PrivateBytes(attempt, look_at_trees);
    if (attempt.grant) bytes += attempt.grant->BackedBytes();
    if (attempt.scanning) bytes += scans_.DecodedBytes(task);
    attempt.peak_bytes = std::max(attempt.peak_bytes.value_or(0), bytes);
    if (std::abs(bytes - attempt.told_bytes) < kNoticeable) continue;
    attempt.told_bytes = bytes;
    measured.push_back({task, attempt.number, bytes});
  }
  return measured;
}

int64_t LivePerformer::CountedTwiceBytes() const {
  if (sampler_.has_cgroup()) return 0;
  int64_t bytes = 0;
  for (const auto& [task, attempt] : attempts_) {
    if (!attempt.worker || attempt.pid <= 0) continue;
    bytes += std::min(sampler_.anon_bytes(attempt.pid), attempt.inherited_bytes);
  }
  return bytes;
}

// Where Zerrow itself needs all that there is nobody else has what could go: whoever starts,
// imports or is to be ended waits for ever, or the zygote with those who were refused memory.
void LivePerformer::EndStarved() {
  const resource::Budget& budget = dispatcher_->core().budget();
  if (budget.capacity() > 0) return starved_since_.reset();
  const resource::Time now = options_.now();
  if (!starved_since_) starved_since_ = now;
  if (now - *starved_since_ < kStarvedSeconds) return;
  if (!sampler_.is_stuck() && zygotes_.LongestWait() < kStarvedSeconds) return;
  const std::string why = resource::TooSmall(budget.limit_bytes, budget.reserve_bytes);
  for (auto& [task, attempt] : attempts_) attempt.starved = why;
  zygotes_.AbandonAll(why);
}

// Where the limit is met a page fault waits, but what else needs memory is refused it: a fork, a
// write, so that it isn't the function's fault.
void LivePerformer::NoteShortage(const Attempt& attempt, Failure& failure, Outcome& outcome) const {
  if (!attempt.starved.empty()) return;
  const bool was_full = sampler_.TimesFull() > attempt.times_full;
  if (failure.status == ModelStatus::kKilled && CountOomKills() > attempt.oom_kills) {
    failure.error.message += "; meanwhile the kernel killed a process because memory ran out";
  } else if (was_full && (attempt.broken || IsForWantOfMemory(failure.error))) {
    failure.error.message +=
        "; meanwhile the memory limit was met, where the system refuses memory";
  } else {
    return;
  }
  outcome.lost = outcome.for_memory = true;
}

}  // namespace zerrow::engine
