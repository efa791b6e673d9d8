#include "resource/scheduler.h"

#include <algorithm>
#include <utility>

#include "resource/outlook.h"

namespace zerrow::resource {

using enum Task::State;

namespace {

// How often others may pass who comes first.
constexpr int kMaxPasses = 8;
constexpr int kMostForced = 16;

// How many slots may go to runs of higher priority while one of lower priority waits.
constexpr int kMaxPassed = 16;

// Of kLookedAt: tasks of each run, or runs for what is next of them.
constexpr size_t kLookedAtFew = 8;

// Of its inputs, what a task that was never seen is expected to need.
constexpr int64_t kGuessedDivisor = 4;

// A run that holds nothing yet begins below this share of the capacity, or if it needs little.
constexpr int64_t kOpenDivisor = 2;
constexpr int64_t kLittleDivisor = 16;

}  // namespace

Scheduler::Scheduler(Board& board, Lifecycle& lifecycle, Lineage& lineage, Evictor& evictor,
                     int slots)
    : board_(board),
      lifecycle_(lifecycle),
      lineage_(lineage),
      evictor_(evictor),
      slots_(std::max(slots, 1)) {}

std::optional<TaskId> Scheduler::First(const Run& run, RunId id) const {
  if (run.ready.empty() || run.running >= run.jobs) return std::nullopt;
  return TaskId{id, std::get<2>(*run.ready.begin())};
}

std::optional<TaskId> Scheduler::First() const {
  const Level* first = nullptr;
  for (const auto& [priority, level] : board_.levels) {
    if (level.turns.empty()) continue;
    if (first == nullptr) {
      first = &level;
    } else if (level.passed >= kMaxPassed) {
      first = &level;
      break;
    }
  }
  if (first == nullptr) return std::nullopt;
  const RunId run = std::get<2>(*first->turns.begin());
  return First(board_.runs.at(run), run);
}

void Scheduler::StartReady() {
  blocked_.reset();
  slots_now_ = board_.jobs.empty() ? slots_ : std::max(slots_, *board_.jobs.rbegin());
  while (HasSlot()) {
    auto first = First();
    if (!first) break;
    first = LookAhead(*first);
    if (CanGoOn(*first)) {
      if (!StartCrowdedOut(*first)) Begin(*first);
      continue;
    }
    if (StartOther(*first, true)) continue;
    const auto chosen = WhoMakesRoom(*first);
    if (!chosen) {
      blocked_ = first;
      break;
    }
    first = chosen;
    if (!Demand(*first)) {
      const auto next = NextFor(*first);
      if (next && CanGoOn(*next)) Begin(*next);
      continue;
    }
    if (Fits(*first) || (MakeRoomFor(*first) && Fits(*first))) {
      Begin(*first);
      continue;
    }
    if (StartOther(*first, false)) continue;
    blocked_ = first;
    break;
  }
  if (board_.unlimited()) return;
  ReadAhead();
  StartAlone(std::nullopt);
  StartAloneInRuns();
}

// Nothing is evicted or made again while other runs can go on without that. If then something has
// to be, for whom; while nothing is going on, StartAlone chooses among runs.
std::optional<TaskId> Scheduler::WhoMakesRoom(TaskId first) {
  if (!board_.unlimited() && board_.attempts == 0 && SeveralAreReady()) return std::nullopt;
  if (TakesFromOthers(first)) {
    const auto oldest = FirstOfOldest(first);
    if (!oldest && board_.attempts > 0) return std::nullopt;
    first = oldest.value_or(first);
  }
  if (GivesWay(first) && BytesToRegain(first) > 0) return NextFor(*regaining_);
  return first;
}

// Only the run that is first by priority and age has others' tables dropped.
std::optional<TaskId> Scheduler::FirstOfOldest(TaskId otherwise) const {
  const Run* oldest = &board_.runs.at(otherwise.run);
  std::optional<TaskId> first = otherwise;
  for (const auto& [id, run] : board_.runs) {
    if (run.unfinished == 0 || !run.IsBefore(*oldest)) continue;
    oldest = &run;
    first = First(run, id);
  }
  return first ? std::optional(LookAhead(*first)) : first;
}

// Where all that comes needn't fit.
TaskId Scheduler::LookAhead(TaskId first) const {
  std::optional<int64_t> room;
  for (const Scope scope : board_.LimitedScopesOf(first.run)) {
    const int64_t left = -board_.Shortfall(scope, 0);
    room = room ? std::min(*room, left) : left;
  }
  return room ? TaskId{first.run, FirstByOutlook(board_.runs.at(first.run), *room)} : first;
}

// Too much holds up what would fit; nothing at all starts everything at once. Most functions join,
// filter or summarize, and those without inputs are alike more often than not.
void Scheduler::Guess(TaskId id) {
  Task& task = board_.At(id);
  if (board_.unlimited() || task.spec.expected.peak_bytes() > 0 || task.attempt > 0) return;
  if (!task.spec.inputs.empty()) {
    if (task.peak_bytes == 0) task.peak_bytes = board_.InputBytes(id) / kGuessedDivisor;
  } else if (task.spec.has_table) {
    task.peak_bytes = board_.largest_root_bytes;
  }
}

// While attempts are frozen nothing is added to what they may come to need.
bool Scheduler::FitsIn(Scope scope, TaskId task, int64_t bytes) const {
  if (board_.Frozen(scope) > 0 || board_.Shortfall(scope, bytes) > 0) return false;
  return scope || MayOpen(task, bytes);
}

bool Scheduler::Fits(TaskId id) const {
  if (board_.unlimited()) return true;
  const Task& task = board_.At(id);
  const auto scopes = board_.LimitedScopesOf(id.run);
  const auto fits = [&](int64_t bytes) {
    return std::ranges::all_of(scopes, [&](Scope scope) { return FitsIn(scope, id, bytes); });
  };
  // The second costs more to know.
  return MayRunBeside(id) && fits(task.peak_bytes) &&
         fits(task.peak_bytes + board_.MissingBytes(id));
}

bool Scheduler::MayRunBeside(TaskId id) const {
  const Task& task = board_.At(id);
  const Run& run = board_.runs.at(id.run);
  if (board_.alone > 0 || run.alone > 0) return false;
  if (task.alone == Task::Alone::kInEngine) return board_.attempts == 0;
  return task.alone == Task::Alone::kNo || run.attempts == 0;
}

// Each turn that a run takes from others by eviction costs them, so the next has to wait longer.
bool Scheduler::IsPassedOften(TaskId id) const {
  const Run& run = board_.runs.at(id.run);
  return run.tasks[id.index].passes >= kMaxPasses << std::min(run.forced, kMostForced);
}

bool Scheduler::SeveralAreReady() const {
  size_t ready = 0;
  for (const auto& [priority, level] : board_.levels) ready += level.turns.size();
  return ready > 1;
}

bool Scheduler::AnOpenRunIsReady() const {
  return std::ranges::any_of(board_.levels, [this](const auto& level) {
    return std::ranges::any_of(level.second.turns, [this](const Turn& turn) {
      return board_.runs.at(std::get<2>(turn)).opened > 0;
    });
  });
}

bool Scheduler::MayOpen(TaskId id, int64_t bytes) const {
  const Run& run = board_.runs.at(id.run);
  const Task& task = run.tasks[id.index];
  if (run.opened > 0 || !task.spec.has_table) return true;
  if (board_.attempts == 0 && !AnOpenRunIsReady()) return true;
  // What is less urgent doesn't hold up the first that is more.
  const auto below = board_.levels.upper_bound(run.priority);
  const auto is_open = [](const auto& level) { return level.second.opened > 0; };
  if (below != board_.levels.end() && std::none_of(board_.levels.begin(), below, is_open)) {
    return true;
  }
  const int64_t capacity = board_.budget.capacity();
  return IsPassedOften(id) || bytes <= capacity / kLittleDivisor ||
         board_.Shortfall(std::nullopt, bytes) <= -capacity / kOpenDivisor;
}

Figures Scheduler::FiguresOf(Scope scope, TaskId id) const {
  Figures why;
  why.needed_bytes = board_.At(id).peak_bytes + board_.InputBytes(id);
  why.limit_bytes = board_.BudgetOf(scope).limit_bytes;
  why.reserve_bytes = board_.BudgetOf(scope).reserve_bytes;
  why.of_run = scope.has_value();
  why.beneficiary = id;
  return why;
}

// Whether all that it takes is gone or on its way.
bool Scheduler::MakeRoomFor(TaskId id) {
  const Task& task = board_.At(id);
  const Run& run = board_.runs.at(id.run);
  if (!MayRunBeside(id)) return false;
  const int64_t bytes = task.peak_bytes + board_.MissingBytes(id);
  for (const Scope scope : board_.LimitedScopesOf(id.run)) {
    if (board_.Frozen(scope) > 0) return false;
    if (!scope && !MayOpen(id, bytes)) return false;
    const int64_t missing = board_.Shortfall(scope, bytes) - board_.Leaving(scope);
    if (missing <= 0) continue;
    // If that can be enough: what attempts have stays.
    const Charge& charge = scope ? run.charge : board_.charge;
    const int64_t stays = charge.committed - charge.leaving + task.peak_bytes;
    if (stays + board_.InputBytes(id) > board_.BudgetOf(scope).capacity()) return false;
    Evictor::Purpose purpose{Reason::kMakeRoom, FiguresOf(scope, id), id};
    // What an idle slot is worth.
    purpose.max_restore_s = task.run_s;
    if (evictor_.MakeRoom(scope, missing, purpose) > 0) return false;
  }
  return true;
}

std::vector<TaskId> Scheduler::ReadyIn(const Level& level, size_t most) const {
  std::vector<TaskId> ready;
  for (const auto& [running, served, id] : level.turns) {
    size_t of_run = 0;
    for (const Rank& rank : board_.runs.at(id).ready) {
      if (++of_run > kLookedAtFew) break;
      if (ready.size() == most) return ready;
      ready.push_back({id, std::get<2>(rank)});
    }
  }
  return ready;
}

std::vector<TaskId> Scheduler::Others(TaskId first) {
  std::vector<TaskId> others;
  // What is too large by itself isn't worth a closer look.
  const int64_t room = -board_.Shortfall(std::nullopt, 0);
  size_t looked_at = 0;
  for (const auto& [priority, level] : board_.levels) {
    for (const TaskId task : ReadyIn(level, kLookedAt - looked_at)) {
      ++looked_at;
      Guess(task);
      if (task != first && board_.At(task).peak_bytes <= room) others.push_back(task);
    }
  }
  return others;
}

// All that it reads is there, and there is room for it.
bool Scheduler::CanGoOn(TaskId id) {
  const auto& tasks = board_.runs.at(id.run).tasks;
  const auto is_there = [&](size_t input) { return tasks[input].resident && !tasks[input].lost; };
  if (!std::ranges::all_of(tasks[id.index].spec.inputs, is_there)) return false;
  // One reader at a time has its inputs made again.
  if (tasks[id.index].told && IsRegaining() && regaining_->run != id.run) return false;
  Guess(id);
  return Fits(id);
}

// Whether room is being made for it, which others would take away.
bool Scheduler::IsAwaited(TaskId id) const {
  if (!MayRunBeside(id) || board_.ledger.use().leaving_bytes == 0) return false;
  const int64_t bytes = board_.At(id).peak_bytes + board_.MissingBytes(id);
  return std::ranges::all_of(board_.LimitedScopesOf(id.run), [&](Scope scope) {
    return board_.Shortfall(scope, bytes) <= board_.Leaving(scope);
  });
}

bool Scheduler::IsLessUrgent(TaskId id, TaskId than) const {
  return board_.runs.at(id.run).priority < board_.runs.at(than.run).priority;
}

int64_t Scheduler::AddedBytes(TaskId id) const { return std::get<0>(board_.At(id).rank); }

// One that needs nothing for good, but not in what the first would leave. Whether there is one.
bool Scheduler::StartCrowdedOut(TaskId first) {
  if (board_.unlimited() || AddedBytes(first) <= 0 || IsPassedOften(first)) return false;
  const auto needed = [&](TaskId id) { return board_.At(id).peak_bytes + board_.MissingBytes(id); };
  for (const TaskId other : Others(first)) {
    const Run& run = board_.runs.at(other.run);
    if (AddedBytes(other) > 0 || IsLessUrgent(other, first)) continue;
    if (run.running >= run.jobs || !CanGoOn(other)) continue;
    const int64_t bytes = needed(first) + needed(other);
    const auto scopes = board_.LimitedScopesOf(other.run);
    const auto fits = [&](Scope scope) { return board_.Shortfall(scope, bytes) <= 0; };
    if (std::ranges::all_of(scopes, fits)) continue;
    ++board_.At(first).passes;
    return Begin(other), true;
  }
  return false;
}

// One that can go on as it is, before the one whose turn it is. Whether there is one.
bool Scheduler::StartOther(TaskId first, bool of_other_runs) {
  if (board_.unlimited() || IsAwaited(first)) return false;
  if (IsPassedOften(first)) return false;
  for (const TaskId other : Others(first)) {
    const Run& run = board_.runs.at(other.run);
    if (of_other_runs && (other.run == first.run || IsLessUrgent(other, first))) continue;
    if (run.running >= run.jobs || !CanGoOn(other)) continue;
    ++board_.At(first).passes;
    return Begin(other), true;
  }
  return false;
}

void Scheduler::Begin(TaskId id) {
  Run& run = board_.runs.at(id.run);
  if (IsPassedOften(id)) ++run.forced;
  bool missing = false;
  if (board_.ledger.disk_bytes() > 0) {
    missing = std::ranges::any_of(board_.InputSegments(id), [this](SegmentId segment) {
      const Place place = board_.ledger.PlaceOf(segment);
      return place == Place::kDisk || place == Place::kReading;
    });
  }
  if (!missing) return lifecycle_.Start(id);
  lifecycle_.Dequeue(id);
  lifecycle_.PinInputs(id);
  lifecycle_.Enter(id, kRestoring);
  ReadInputs(id);
}

void Scheduler::ReadInputs(TaskId id) {
  for (const SegmentId segment : board_.InputSegments(id)) {
    if (board_.ledger.PlaceOf(segment) != Place::kDisk) continue;
    board_.ledger.Move(segment, Place::kReading);
    Figures& why = board_.Decide(Decision::Kind::kSwapIn, segment, id, Reason::kNeeded).why;
    why.bytes = board_.ledger.BytesOf(segment);
    why.beneficiary = id;
  }
}

// While the slots are taken the disk is idle. Only for the next of each run, and into room that is
// free: what nobody uses yet is the first that could go again.
void Scheduler::ReadAhead() {
  if (board_.ledger.disk_bytes() == 0 || board_.ledger.reading() > 0) return;
  size_t looked_at = 0;
  for (const auto& [id, run] : board_.runs) {
    const bool may_start = HasSlot() && run.running < run.jobs;
    if (run.ready.empty() || may_start) continue;
    if (++looked_at > kLookedAtFew) return;
    const TaskId next = {id, std::get<2>(*run.ready.begin())};
    const int64_t missing = board_.MissingBytes(next);
    if (missing == 0) continue;
    const int64_t bytes = board_.At(next).peak_bytes + missing;
    const auto fits = [&](Scope scope) { return FitsIn(scope, next, bytes); };
    if (std::ranges::all_of(board_.LimitedScopesOf(id), fits)) {
      return ReadInputs(next);
    }
  }
}

void Scheduler::OnSwappedIn(const SegmentSwappedIn& event) {
  Ledger& ledger = board_.ledger;
  const SegmentId segment = event.segment;
  if (!ledger.Knows(segment) || ledger.PlaceOf(segment) != Place::kReading) return;
  ledger.Move(segment, event.ok ? Place::kCopied : Place::kDisk);
  evictor_.RerankReaders(segment);
  if (event.ok) evictor_.disk().NoteRead(ledger.BytesOf(segment), event.took_s);
  const auto is_there = [&](SegmentId input) {
    return ledger.PlaceOf(input) != Place::kDisk && ledger.PlaceOf(input) != Place::kReading;
  };
  const std::set<TaskId> restoring = board_.restoring;
  for (const TaskId id : restoring) {
    const auto inputs = board_.InputSegments(id);
    if (!std::ranges::binary_search(inputs, segment)) continue;
    if (!event.ok) {
      lifecycle_.Retry(id, board_.At(id).start_reason);
    } else if (std::ranges::all_of(inputs, is_there)) {
      lifecycle_.Start(id);
    }
  }
  for (const Holder& holder : ledger.HoldersOf(segment)) {
    if (holder.kind == Holder::Kind::kCache || board_.Find(holder.task) == nullptr) continue;
    board_.NoteMoved(holder.task);
    if (!event.ok && holder.kind == Holder::Kind::kTable) lineage_.Lose(holder.task);
  }
}

}  // namespace zerrow::resource
