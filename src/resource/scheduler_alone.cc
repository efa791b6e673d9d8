// What starts where nothing else is going on: room is made for it at any price, what it reads is
// made again, or it is refused.
#include <algorithm>
#include <utility>

#include "resource/scheduler.h"

namespace zerrow::resource {

using enum Task::State;

std::optional<TaskId> Scheduler::FirstIn(Scope scope) const {
  return scope ? First(board_.runs.at(*scope), *scope) : First();
}

// That it comes to take, with what of its inputs isn't in memory.
int64_t Scheduler::BytesWithInputs(TaskId id) const {
  return board_.At(id).peak_bytes + board_.MissingBytes(id) + board_.AbsentBytes(id);
}

// What would have to go for it, and for what it reads to be made again, at least.
int64_t Scheduler::BytesToRegain(TaskId id) const {
  const int64_t bytes = BytesWithInputs(id);
  int64_t most = 0;
  for (const Scope scope : board_.LimitedScopesOf(id.run)) {
    most = std::max(most, board_.Shortfall(scope, bytes));
  }
  return most;
}

// Whether others' tables may be dropped for it, and not only its own run's for that run's limit.
bool Scheduler::TakesFromOthers(TaskId id) const {
  if (!evictor_.drops_only() || !board_.budget.limited()) return false;
  return !board_.limited_runs.contains(id.run) ||
         board_.Shortfall(std::nullopt, BytesWithInputs(id)) > 0;
}

// And what it adds to memory for good.
int64_t Scheduler::BytesToGoOn(TaskId id) const {
  const int64_t bytes = BytesToRegain(id);
  return bytes > 0 ? bytes + std::max<int64_t>(AddedBytes(id), 0) : 0;
}

bool Scheduler::Demand(TaskId id) {
  if (lineage_.Demand(id)) return true;
  if (board_.At(id).state == kWaiting && !GivesWay(id)) regaining_ = id;
  return false;
}

// Whether there is a reader whose inputs are being made again, and which hasn't begun. What was
// made again for it would be of no use to anybody if others took its memory before.
bool Scheduler::IsRegaining() {
  if (!regaining_) return false;
  const Task* reader = board_.Find(*regaining_);
  const bool waits = reader != nullptr && (reader->state == kWaiting || reader->state == kReady);
  if (!waits) regaining_.reset();
  return waits;
}

// To that reader. But a run that began before doesn't wait until a younger one has lost again what
// it has regained.
bool Scheduler::GivesWay(TaskId id) {
  if (!IsRegaining()) return false;
  const Run& regaining = board_.runs.at(regaining_->run);
  return !evictor_.drops_only() || !board_.runs.at(id.run).IsBefore(regaining);
}

// That reader, or the first that is to run again for it.
std::optional<TaskId> Scheduler::NextFor(TaskId reader) const {
  const Run& run = board_.runs.at(reader.run);
  if (run.running >= run.jobs) return std::nullopt;
  const auto& tasks = run.tasks;
  std::vector<size_t> needed = {reader.index};
  for (size_t next = 0; next < needed.size() && next < kLookedAt; ++next) {
    const Task& task = tasks[needed[next]];
    if (task.state == kReady && !task.parked) return TaskId{reader.run, needed[next]};
    if (task.state != kWaiting) continue;
    for (const size_t input : task.spec.inputs) {
      if (!tasks[input].resident) needed.push_back(input);
    }
  }
  return std::nullopt;
}

// Where nothing fits runs would evict each other's tables in turns. So the one goes first that can
// go on with the least; of equals, the first.
std::optional<TaskId> Scheduler::NextAlone(Scope scope) {
  auto first = FirstIn(scope);
  if (!first) return first;
  first = LookAhead(*first);
  if (!scope && TakesFromOthers(*first) && BytesToGoOn(*first) > 0) {
    first = FirstOfOldest(*first).value_or(*first);
  }
  if (GivesWay(*first) && (!scope || *scope == regaining_->run)) {
    if (const auto next = NextFor(*regaining_)) return next;
  }
  if (IsPassedOften(*first)) return first;
  const Level& level = board_.levels.at(board_.runs.at(first->run).priority);
  TaskId next = *first;
  Guess(next);
  int64_t least = BytesToGoOn(next);
  for (const TaskId other : ReadyIn(level, kLookedAt)) {
    if (least <= 0) break;
    if (scope && other.run != *scope) continue;
    Guess(other);
    const int64_t bytes = BytesToGoOn(other);
    if (bytes < least) next = other, least = bytes;
  }
  if (next != *first) ++board_.At(*first).passes;
  return next;
}

void Scheduler::StartAlone(Scope scope) {
  while (board_.Attempts(scope) == 0 && !board_.IsSettling(scope)) {
    const auto next = NextAlone(scope);
    if (!next) {
      if (!SettleParked(scope)) return;
      continue;
    }
    if (!Demand(*next)) continue;
    if (!TryAlone(scope, *next)) return;
  }
}

// Whether something has changed, so that it is worth to look again.
bool Scheduler::TryAlone(Scope scope, TaskId id) {
  Task& task = board_.At(id);
  if (Fits(id)) return Begin(id), true;
  const bool of_run = FitsIn(std::nullopt, id, task.peak_bytes + board_.MissingBytes(id));
  // The engine's limit is the engine's matter.
  if (scope && !of_run) return false;
  std::optional<Beside> unreadable;
  for (const Scope limited : board_.LimitedScopesOf(id.run)) {
    Evictor::Purpose purpose{Reason::kMakeRoom, FiguresOf(limited, id), id};
    const int64_t bytes = task.peak_bytes + board_.MissingBytes(id);
    const int64_t wanted = board_.Shortfall(limited, bytes) - board_.Leaving(limited);
    const int64_t left = evictor_.MakeRoom(limited, wanted, purpose);
    purpose.last_resort = true;
    const int64_t still_left = evictor_.MakeRoom(limited, left, purpose);
    purpose.for_readers = false;
    evictor_.MakeRoom(limited, still_left, purpose);
    if (board_.IsSettling(limited)) return false;
    const int64_t charged = board_.Charged(limited) + board_.MissingBytes(id);
    if (charged <= board_.BudgetOf(limited).capacity()) continue;
    unreadable = Beside{charged - board_.InputBytes(id), limited.has_value()};
  }
  if (Fits(id)) return Begin(id), true;
  if (unreadable) return ParkOrFail(id, *unreadable), true;
  if (!MayRunBeside(id)) return false;
  task.alone = of_run ? Task::Alone::kInRun : Task::Alone::kInEngine;
  task.start_reason = Reason::kTriedAlone;
  Begin(id);
  return true;
}

void Scheduler::ParkOrFail(TaskId id, const Beside& beside) {
  if (beside.bytes <= 0) return Fail(id, beside);
  lifecycle_.Dequeue(id);
  board_.At(id).parked = beside;
  board_.runs.at(id.run).parked.emplace(beside.bytes, id.index);
}

void Scheduler::Unpark() {
  for (auto& [id, run] : board_.runs) {
    const auto parked = run.parked;
    for (const auto& [bytes, index] : parked) {
      lifecycle_.Dequeue({id, index});
      lifecycle_.MakeReady({id, index});
    }
  }
}

// Of those that were too large, the one that was so least.
std::optional<TaskId> Scheduler::BestParked(Scope scope) const {
  std::optional<std::pair<int64_t, TaskId>> best;
  for (const auto& [id, run] : board_.runs) {
    if (scope && id != *scope) continue;
    for (auto parked = run.parked.rbegin(); parked != run.parked.rend(); ++parked) {
      const auto& [bytes, index] = *parked;
      // A run alone can't tell what has become of the engine's limit.
      if (scope && !run.tasks[index].parked->of_run) continue;
      if (!best || bytes > best->first) best.emplace(bytes, TaskId{id, index});
      break;
    }
  }
  return best ? std::optional(best->second) : std::nullopt;
}

// Whether there is one.
bool Scheduler::SettleParked(Scope scope) {
  const auto id = BestParked(scope);
  if (!id) return false;
  const Beside before = *board_.At(*id).parked;
  const Scope limited = before.of_run ? Scope(id->run) : std::nullopt;
  const int64_t with_inputs = board_.Charged(limited) + board_.MissingBytes(*id);
  const int64_t others = with_inputs - board_.InputBytes(*id);
  // Its inputs may have been made again, smaller.
  const bool fits = with_inputs + before.own_bytes <= board_.BudgetOf(limited).capacity();
  const bool tried_enough = board_.At(*id).outgrown >= kMostOutgrown;
  if (tried_enough || (others >= before.bytes && !fits)) {
    Fail(*id, {others, before.of_run, before.own_bytes});
  } else {
    lifecycle_.Dequeue(*id);
    lifecycle_.MakeReady(*id);
  }
  return true;
}

void Scheduler::Fail(TaskId id, const Beside& beside) {
  Figures why = FiguresOf(beside.of_run ? Scope(id.run) : std::nullopt, id);
  why.needed_bytes = beside.own_bytes + board_.InputBytes(id);
  why.others_bytes = beside.bytes;
  if (Decision* told = lifecycle_.Finish(id, ModelStatus::kFailed, Reason::kTooLarge)) {
    told->why = why;
    lifecycle_.SkipFollowers(id);
  } else {
    lineage_.OnNotRemade(id, why);
  }
}

void Scheduler::StartAloneInRuns() {
  const std::set<RunId> limited = board_.limited_runs;
  for (const RunId run : limited) {
    if (HasSlot()) StartAlone(run);
  }
}

}  // namespace zerrow::resource
