#include "resource/pressure.h"

#include <algorithm>
#include <utility>

namespace zerrow::resource {

using enum Task::State;

bool Pressure::Exceeds(Scope scope) const {
  return board_.Charged(scope) > board_.BudgetOf(scope).capacity();
}

std::vector<TaskId> Pressure::ExecutingIn(Scope scope) const {
  std::vector<TaskId> tasks;
  for (const auto& [order, id] : board_.executing) {
    if (IsIn(id, scope)) tasks.push_back(id);
  }
  return tasks;
}

void Pressure::Relieve() {
  if (board_.unlimited() && board_.frozen == 0) return;
  if (board_.budget.limited()) Relieve(std::nullopt);
  const std::set<RunId> limited = board_.limited_runs;
  for (const RunId run : limited) Relieve(run);
  if (board_.frozen > 0) ThawSome();
}

void Pressure::Relieve(Scope scope) {
  if (!Exceeds(scope)) return;
  const auto make_room = [&](bool last_resort) {
    Evictor::Purpose purpose{Reason::kOverLimit};
    purpose.why.limit_bytes = board_.BudgetOf(scope).limit_bytes;
    purpose.why.of_run = scope.has_value();
    purpose.last_resort = last_resort;
    const int64_t excess = board_.Charged(scope) - board_.BudgetOf(scope).capacity();
    return evictor_.MakeRoom(scope, excess - board_.Leaving(scope), purpose);
  };
  const int64_t left = make_room(false);
  if (!Exceeds(scope)) return;
  FreezeAll(scope);
  if (left == 0 || board_.IsSettling(scope)) return;
  GiveUpRestoring(scope);
  if (board_.ledger.reading() > 0 || make_room(true) == 0) return;
  if (Exceeds(scope) && !board_.IsSettling(scope)) StopOne(scope);
}

void Pressure::FreezeAll(Scope scope) {
  for (const TaskId id : ExecutingIn(scope)) {
    if (!board_.At(id).frozen) Freeze(id, scope);
  }
}

void Pressure::Freeze(TaskId id, Scope scope) {
  Run& run = board_.runs.at(id.run);
  Task& task = run.tasks[id.index];
  task.frozen = true;
  ++run.frozen;
  ++board_.frozen;
  if (task.deadline) {
    const double left = *task.deadline - board_.now;
    lifecycle_.ClearDeadline(id);
    task.time_left_s = left;
  }
  board_.Recharge(id);
  Decision& decision = board_.Decide(Decision::Kind::kFreeze, id, Reason::kOverLimit);
  decision.attempt = task.attempt;
  decision.why.bytes = task.measured_bytes;
  decision.why.limit_bytes = board_.BudgetOf(scope).limit_bytes;
  decision.why.of_run = scope.has_value();
}

void Pressure::Thaw(TaskId id) {
  Run& run = board_.runs.at(id.run);
  Task& task = run.tasks[id.index];
  task.frozen = false;
  --run.frozen;
  --board_.frozen;
  if (task.time_left_s) {
    task.deadline = board_.now + *std::exchange(task.time_left_s, std::nullopt);
    board_.deadlines.insert({*task.deadline, id});
  }
  board_.Recharge(id);
  board_.Decide(Decision::Kind::kThaw, id, Reason::kBelowLimit).attempt = task.attempt;
}

// What they hold of disk's memory can't go while they wait for the rest of it.
void Pressure::GiveUpRestoring(Scope scope) {
  const std::set<TaskId> restoring = board_.restoring;
  for (const TaskId id : restoring) {
    if (IsIn(id, scope)) lifecycle_.Retry(id, board_.At(id).start_reason);
  }
  evictor_.Refresh();
}

void Pressure::StopOne(Scope scope) {
  const std::vector<TaskId> executing = ExecutingIn(scope);
  if (executing.empty()) return;
  // The one that is most beyond what was expected of it, or the youngest.
  const auto excess = [&](TaskId id) {
    const Task& task = board_.At(id);
    return std::max<int64_t>(task.measured_bytes - task.peak_bytes, 0);
  };
  TaskId victim = executing.back();
  for (const TaskId id : executing) {
    if (excess(id) > excess(victim)) victim = id;
  }
  Task& task = board_.At(victim);
  const bool was_alone = board_.Attempts(scope) == 1;
  task.next_alone = Task::Alone::kNo;
  if (was_alone || excess(victim) > 0) {
    const bool in_run = scope && task.alone != Task::Alone::kInEngine;
    task.next_alone = in_run ? Task::Alone::kInRun : Task::Alone::kInEngine;
  }
  task.too_large.reset();
  const int64_t inputs = board_.InputBytes(victim);
  if (was_alone) {
    const int64_t others = board_.Charged(scope) - task.measured_bytes - inputs;
    task.too_large = Beside{others, scope.has_value(), task.measured_bytes};
    ++task.outgrown;
  }
  Figures why;
  why.bytes = task.measured_bytes;
  why.needed_bytes = task.measured_bytes + inputs;
  why.limit_bytes = board_.BudgetOf(scope).limit_bytes;
  why.of_run = scope.has_value();
  task.peak_bytes = std::max(task.peak_bytes, task.measured_bytes);
  lifecycle_.Stop(victim, ModelStatus::kFailed, Reason::kOverLimit);
  board_.decisions.back().why = why;
}

void Pressure::OnStopped(TaskId id) {
  Task& task = board_.At(id);
  const bool again_alone = task.next_alone != Task::Alone::kNo;
  lifecycle_.Retry(id, again_alone ? Reason::kAgainAlone : Reason::kMadeRoom);
  if (again_alone) task.alone = task.next_alone;
  const auto beside = std::exchange(task.too_large, std::nullopt);
  if (!beside) return;
  // The limit may have been widened since. And what is being freed, of this attempt itself as well,
  // counts as the engine's own for a moment: so a few more try.
  const Scope scope = beside->of_run ? Scope(id.run) : std::nullopt;
  const int64_t needed = beside->own_bytes + board_.InputBytes(id) + beside->bytes;
  const bool may_fit =
      needed <= board_.MostCapacity(scope) && task.outgrown < Scheduler::kMostOutgrown;
  if (!may_fit) scheduler_.ParkOrFail(id, *beside);
}

void Pressure::ThawSome() {
  for (const TaskId id : ExecutingIn(std::nullopt)) {
    if (board_.At(id).frozen && MayThaw(id)) Thaw(id);
  }
}

// As far as their expectations fit; of each scope the oldest in any case, once nothing is going on.
bool Pressure::MayThaw(TaskId id) const {
  const Task& task = board_.At(id);
  const int64_t growth = std::max<int64_t>(task.peak_bytes - task.measured_bytes, 0);
  return std::ranges::all_of(board_.LimitedScopesOf(id.run), [&](Scope scope) {
    if (Exceeds(scope)) return false;
    if (board_.Shortfall(scope, growth) <= 0) return true;
    const auto executing = static_cast<int>(ExecutingIn(scope).size());
    return board_.Frozen(scope) == executing && !board_.IsSettling(scope);
  });
}

}  // namespace zerrow::resource
