#include "resource/core.h"

#include <algorithm>
#include <utility>

#include "resource/reasons.h"

namespace zerrow::resource {

using enum Task::State;

namespace {

// A task whose attempts are lost again and again may itself be what loses them.
constexpr int kMaxLosses = 2;
constexpr int kMaxRefusals = 6;

}  // namespace

Core::Core(const Options& options)
    : lifecycle_(board_),
      versions_(board_, lifecycle_),
      lineage_(board_, lifecycle_, versions_),
      evictor_(board_, lifecycle_, lineage_, options.policy),
      scheduler_(board_, lifecycle_, lineage_, evictor_, options.slots),
      pressure_(board_, lifecycle_, evictor_, scheduler_) {
  board_.SetBudget(options.budget);
}

std::vector<Decision> Core::On(const Event& event, Time now) {
  board_.now = now;
  std::visit([this](const auto& what) { Handle(what); }, event);
  lifecycle_.FinishAbandoned();
  evictor_.Refresh();
  // Whoever brings tasks has ended already, which is told next: it can't be stopped any more.
  const bool brings_tasks = std::holds_alternative<TasksAdded>(event);
  if (!brings_tasks) pressure_.Relieve();
  size_t decided = 0;
  do {
    scheduler_.StartReady();
    // What fails for want of memory may leave more of it to another run than that may have.
    decided = board_.decisions.size();
    lifecycle_.FinishAbandoned();
    if (!brings_tasks) pressure_.Relieve();
  } while (board_.decisions.size() != decided);
  EndFinishedRuns();
  return std::exchange(board_.decisions, {});
}

std::optional<Time> Core::next_deadline() const {
  if (board_.deadlines.empty()) return std::nullopt;
  return board_.deadlines.begin()->first;
}

size_t Core::ready_count() const {
  size_t count = 0;
  for (const auto& [id, run] : board_.runs) count += run.ready.size() + run.parked.size();
  return count;
}

bool Core::Is(TaskId id, Task::State state) const {
  const Task* task = board_.Find(id);
  return task != nullptr && task->state == state;
}

bool Core::RunsAgain(TaskId id) const {
  if (!IsStopping(id)) return false;
  const Reason reason = board_.At(id).stop_reason;
  return reason == Reason::kOverLimit || reason == Reason::kOutdated;
}

bool Core::IsResident(TaskId id) const {
  const Task* task = board_.Find(id);
  return task != nullptr && task->resident;
}

std::string Core::ExplainWait(TaskId id) const {
  const Task* task = board_.Find(id);
  if (task == nullptr) return "";
  const int64_t needed = task->peak_bytes + board_.MissingBytes(id);
  for (const Scope scope : board_.LimitedScopesOf(id.run)) {
    if (board_.Shortfall(scope, needed) <= 0) continue;
    const Budget& budget = board_.BudgetOf(scope);
    return "it is expected to need " + InDecimal(needed) + ", and of " +
           (scope ? "the run's" : "the engine's") + " memory limit of " +
           InDecimal(budget.limit_bytes) + " only " +
           InDecimal(std::max<int64_t>(budget.capacity() - board_.Committed(scope), 0)) +
           " are left";
  }
  return "others go first";
}

int Core::VainRollbacksOf(TaskId id) const {
  const Task* task = board_.Find(id);
  return task == nullptr ? 0 : task->vain_rollbacks;
}

bool Core::Awaits(TaskId id, int attempt) const {
  const Task* task = board_.Find(id);
  return task != nullptr && task->attempt == attempt && task->has_attempt();
}

bool Core::MayPublish(TaskId id, int attempt) const {
  const Task* task = board_.Find(id);
  return task != nullptr && task->attempt == attempt && task->state == kRunning &&
         task->spec.has_table;
}

void Core::Handle(const RunAdded& event) {
  const auto [added, is_new] = board_.runs.try_emplace(event.run);
  if (!is_new) return;
  Run& run = added->second;
  run.jobs = std::max(event.jobs, 1);
  run.priority = event.priority;
  run.served = board_.served;
  board_.jobs.insert(run.jobs);
  ++board_.levels[run.priority].runs;
  SetBudget(event.run, event.budget);
  lifecycle_.Append(event.run, event.tasks);
}

void Core::Handle(const TasksAdded& event) {
  if (board_.FindRun(event.run) != nullptr) lifecycle_.Append(event.run, event.tasks);
}

void Core::Handle(const TaskRunning& event) {
  Task* task = board_.Find(event.task);
  if (task == nullptr || task->state != kRunning || task->attempt != event.attempt ||
      !task->spec.timeout_s || task->deadline || task->time_left_s) {
    return;
  }
  if (task->frozen) {
    task->time_left_s = *task->spec.timeout_s;
    return;
  }
  task->deadline = board_.now + *task->spec.timeout_s;
  board_.deadlines.insert({*task->deadline, event.task});
}

void Core::Handle(const TaskPublished& event) {
  if (!MayPublish(event.task, event.attempt)) return;  // its end tells of the table once more
  // It had answered before it was frozen, and has to end.
  if (board_.At(event.task).frozen) pressure_.Thaw(event.task);
  lifecycle_.ClearDeadline(event.task);
  lifecycle_.Enter(event.task, kLeaving);
  Publish(event.task, event.table, event.content_hash);
  lifecycle_.Succeed(event.task);
  lifecycle_.UnpinInputs(event.task);
  lifecycle_.ReleaseInputs(event.task);
}

void Core::Handle(const TaskEnded& event) {
  // Before the task's end frees what it read: that may lie in its table too.
  std::vector<SegmentId> unheld;
  for (const SegmentBytes& segment : event.table) {
    if (!board_.ledger.Knows(segment.id)) unheld.push_back(segment.id);
  }
  if (End(event)) return;
  // A table that came too late, or of a task that publishes none, is nobody's.
  for (const SegmentId segment : unheld) {
    board_.Decide(Decision::Kind::kFree, segment, event.task, Reason::kUnread);
  }
}

void Core::Publish(TaskId id, const std::vector<SegmentBytes>& table, const ContentHash& hash) {
  lifecycle_.Publish(id, table);
  versions_.OnPublished(id, hash, table);
}

void Core::EndLeaving(TaskId id) {
  if (board_.At(id).restarts) return versions_.OnEnded(id);
  lifecycle_.Finish(id, ModelStatus::kSuccess, Reason::kEnded);
  lifecycle_.ReleaseIfUnread(id);
  // Its table was dropped while it was leaving, and has been asked for.
  lineage_.ReviveIfAwaited(id);
}

bool Core::RetryLost(TaskId id, bool for_memory) {
  Task& task = board_.At(id);
  if (!for_memory) {
    if (++task.losses < kMaxLosses) lifecycle_.Retry(id, Reason::kLost);
    return task.losses < kMaxLosses;
  }
  if (++task.refusals >= kMaxRefusals) return false;
  // Once there is room for as much as it had at least; and when that is no help, beside nobody.
  task.peak_bytes = std::max(task.peak_bytes, task.measured_bytes);
  lifecycle_.Retry(id, Reason::kRefused);
  if (task.refusals > 1) task.alone = Task::Alone::kInEngine;
  return true;
}

bool Core::End(const TaskEnded& event) {
  const TaskId id = event.task;
  if (!Awaits(id, event.attempt)) return false;
  Task& task = board_.At(id);
  if (task.state == kLeaving) return EndLeaving(id), true;
  lifecycle_.ClearDeadline(id);
  const bool stopped = task.state == kStopping;
  if (RunsAgain(id)) {
    task.stop_reason == Reason::kOutdated ? versions_.OnEnded(id) : pressure_.OnStopped(id);
    return false;
  }
  if (event.lost && !stopped && RetryLost(id, event.for_memory)) return false;
  // A process that was told to stop may still have ended in another way; the reason stands.
  const ModelStatus status = stopped ? task.stop_status : event.status;
  const bool succeeded = status == ModelStatus::kSuccess;
  const bool published = succeeded && task.spec.has_table;
  const bool again = task.told;
  if (published) Publish(id, event.table, event.content_hash);
  const Reason lost = event.for_memory ? Reason::kRefused : Reason::kLost;
  lifecycle_.Finish(id, status, stopped ? task.stop_reason : event.lost ? lost : Reason::kEnded);
  if (!succeeded) again ? lineage_.OnNotRemade(id) : lifecycle_.SkipFollowers(id);
  lifecycle_.ReleaseIfUnread(id);
  return published;
}

void Core::Handle(const RunCancelled& event) {
  Run* run = board_.FindRun(event.run);
  if (run == nullptr || run->cancelled) return;
  run->cancelled = true;
  for (size_t i = 0; i < run->tasks.size(); ++i) {
    Task& task = run->tasks[i];
    const TaskId id = {event.run, i};
    if (task.state == kRunning) {
      lifecycle_.Stop(id, ModelStatus::kCancelled, Reason::kCancelled);
    } else if (RunsAgain(id)) {
      // It won't run again.
      task.stop_status = ModelStatus::kCancelled;
      task.stop_reason = Reason::kCancelled;
    } else if (task.state == kWaiting || task.state == kReady || task.state == kRestoring) {
      lifecycle_.Finish(id, ModelStatus::kCancelled, Reason::kCancelled);
    }
  }
}

void Core::Handle(const ResultDropped& event) {
  const Holder result = Board::ResultOf(event.task);
  // Since the end of its run it has been in somebody's hands.
  if (board_.FindRun(event.task.run) == nullptr) board_.ledger.Unpin(result);
  lifecycle_.Free(result);
}

void Core::Handle(const SegmentCached& event) {
  board_.ledger.Hold(Board::CacheOf(event.segment.id), event.segment);
}

void Core::Handle(const SegmentUncached& event) { lifecycle_.Free(Board::CacheOf(event.segment)); }

void Core::Handle(const Tick&) {
  while (!board_.deadlines.empty() && board_.deadlines.begin()->first <= board_.now) {
    const TaskId id = board_.deadlines.begin()->second;
    lifecycle_.Stop(id, ModelStatus::kTimeout, Reason::kTimeUp);
  }
}

void Core::Handle(const TaskMeasured& event) {
  if (!Awaits(event.task, event.attempt)) return;
  Task& task = board_.At(event.task);
  task.measured_bytes = std::max<int64_t>(event.bytes, 0);
  task.highest_bytes = std::max(task.highest_bytes, task.measured_bytes);
  board_.Recharge(event.task);
}

void Core::Handle(const BudgetChanged& event) {
  if (!event.run) {
    board_.SetBudget(event.budget);
  } else if (board_.FindRun(*event.run) != nullptr) {
    SetBudget(*event.run, event.budget);
  }
  scheduler_.Unpark();
  // While there was no limit nobody cared for what could be evicted.
  if (!board_.unlimited()) evictor_.RefreshAll();
}

void Core::SetBudget(RunId id, const Budget& budget) {
  board_.runs.at(id).budget = budget;
  if (budget.limited()) {
    board_.limited_runs.insert(id);
  } else {
    board_.limited_runs.erase(id);
  }
}

void Core::EndFinishedRuns() {
  for (const RunId id : std::exchange(board_.touched, {})) {
    const auto run = board_.runs.find(id);
    if (run == board_.runs.end() || run->second.unfinished > 0) continue;
    for (size_t i = 0; i < run->second.tasks.size(); ++i) {
      board_.SetScore({id, i}, std::nullopt);
      board_.tables.erase({id, i});
      if (run->second.tasks[i].spec.kept) board_.ledger.Pin(Board::ResultOf({id, i}));
    }
    board_.limited_runs.erase(id);
    board_.jobs.erase(board_.jobs.find(run->second.jobs));
    const auto level = board_.levels.find(run->second.priority);
    level->second.opened -= run->second.opened > 0 ? 1 : 0;
    if (--level->second.runs == 0) board_.levels.erase(level);
    board_.runs.erase(run);
    board_.Decide(Decision::Kind::kEndRun, TaskId{id, 0}, Reason::kAllEnded);
  }
}

}  // namespace zerrow::resource
