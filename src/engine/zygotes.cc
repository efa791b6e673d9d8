#include "engine/zygotes.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

namespace zerrow::engine {

namespace {

using resource::Time;

// Forking takes milliseconds; whoever takes that long for it won't do it any more.
constexpr Time kForkPatienceSeconds = 30;
// For a host whose environment is another one in each run.
constexpr size_t kMaxIdle = 4;

Time Seconds(std::chrono::milliseconds time) { return std::chrono::duration<Time>(time).count(); }

Time WaitOf(const WorkerPool& pool) {
  return std::chrono::duration<Time>(pool.LongestWait()).count();
}

// Whether a zygote made for `there` can serve `wanted`: what it has imported besides does no harm.
bool Serves(const ZygoteOptions& there, const ZygoteOptions& wanted) {
  ZygoteOptions same = there;
  same.preload = wanted.preload;
  return same == wanted && std::ranges::includes(there.preload, wanted.preload);
}

}  // namespace

arrow::Result<WorkerPool*> Zygotes::For(const ZygoteOptions& options) {
  for (Entry& entry : entries_) {
    if (entry.pool->lost() || !Serves(entry.options, options)) continue;
    entry.used = options_.now();
    return entry.pool.get();
  }
  KeepIdle(kMaxIdle - 1);
  ARROW_ASSIGN_OR_RAISE(auto pool, WorkerPool::Make(loop_, options));
  if (options_.on_started) options_.on_started(pool->zygote_pid());
  const Time now = options_.now();
  entries_.push_back({options, std::move(pool), now, now});
  return entries_.back().pool.get();
}

void Zygotes::EndRun(resource::RunId run) {
  for (Entry& entry : entries_) entry.pool->EndRun(run);
}

void Zygotes::KeepIdle(size_t count) {
  std::vector<Time> idle;
  for (const Entry& entry : entries_) {
    if (entry.pool->is_needed()) continue;
    entry.pool->EndWaiting();
    idle.push_back(entry.used);
  }
  if (idle.size() <= count) return;
  std::ranges::sort(idle, std::greater());
  const Time last = idle[count];
  std::erase_if(entries_, [last](const Entry& entry) {
    return !entry.pool->is_needed() && entry.used <= last;
  });
}

void Zygotes::OnTime() {
  const Time now = options_.now();
  for (Entry& entry : entries_) CheckTime(entry);
  std::erase_if(entries_, [&](Entry& entry) {
    if (entry.pool->is_needed()) {
      entry.used = now;
      return false;
    }
    const bool idle = options_.idle.count() > 0 && now - entry.used >= Seconds(options_.idle);
    return entry.pool->lost() || idle;
  });
}

void Zygotes::CheckTime(Entry& entry) const {
  const Time now = options_.now();
  if (entry.pool->lost()) return;
  entry.pool->KillOverstaying(entry.options.exit_timeout);
  if (!entry.pool->ready() && now - entry.started > Seconds(entry.options.start_timeout)) {
    return entry.pool->Abandon("it wasn't ready after " +
                               std::to_string(entry.options.start_timeout.count() / 1000) +
                               " s; $ZERROW_START_TIMEOUT_S gives it more");
  }
  if (WaitOf(*entry.pool) > kForkPatienceSeconds) {
    entry.pool->Abandon("it neither forks nor ends its workers");
  }
}

Time Zygotes::LongestWait() const {
  Time longest = 0;
  for (const Entry& entry : entries_) {
    if (!entry.pool->lost()) longest = std::max(longest, WaitOf(*entry.pool));
  }
  return longest;
}

void Zygotes::AbandonAll(const std::string& why) {
  for (Entry& entry : entries_) entry.pool->Abandon(why);
}

std::optional<Time> Zygotes::next_deadline() const {
  std::optional<Time> next;
  if (options_.idle.count() == 0) return next;
  for (const Entry& entry : entries_) {
    const Time due = entry.used + Seconds(options_.idle);
    next = next ? std::min(*next, due) : due;
  }
  return next;
}

}  // namespace zerrow::engine
