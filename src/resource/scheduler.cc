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

// That are looked at in one go: tasks of each run, or runs for what is next of them; and in all.
constexpr size_t kLookedAtFew = 8;
constexpr size_t kLookedAt = 64;

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
    // Nothing is evicted or made again while others can go on without that; and while nothing is
    // going on, StartAlone chooses for whom.
    if (StartOther(*first)) continue;
    if (board_.unlimited() || board_.attempts > 0) {
      if (IsRegaining() && !FitsRegained(*first)) first = NextFor(*regaining_);
      if (!first) break;
      if (!Demand(*first)) {
        const auto next = NextFor(*first);
        if (next && CanGoOn(*next)) Begin(*next);
        continue;
      }
      if (Fits(*first) || (MakeRoomFor(*first) && Fits(*first))) {
        Begin(*first);
        continue;
      }
    }
    blocked_ = first;
    break;
  }
  if (board_.unlimited()) return;
  ReadAhead();
  StartAlone(std::nullopt);
  StartAloneInRuns();
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

bool Scheduler::AnOpenRunIsReady() const {
  return std::ranges::any_of(board_.levels, [this](const auto& level) {
    return std::ranges::any_of(level.second.turns, [this](const Turn& turn) {
      return board_.runs.at(std::get<2>(turn)).opened;
    });
  });
}

bool Scheduler::MayOpen(TaskId id, int64_t bytes) const {
  const Run& run = board_.runs.at(id.run);
  const Task& task = run.tasks[id.index];
  if (run.opened || !task.spec.has_table) return true;
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

int64_t Scheduler::AddedBytes(TaskId id) const { return std::get<0>(board_.At(id).rank); }

// One that needs nothing for good, but not in what the first would leave. Whether there is one.
bool Scheduler::StartCrowdedOut(TaskId first) {
  if (board_.unlimited() || AddedBytes(first) <= 0 || IsPassedOften(first)) return false;
  const auto needed = [&](TaskId id) { return board_.At(id).peak_bytes + board_.MissingBytes(id); };
  for (const TaskId other : Others(first)) {
    const Run& run = board_.runs.at(other.run);
    if (AddedBytes(other) > 0 || run.running >= run.jobs || !CanGoOn(other)) continue;
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
bool Scheduler::StartOther(TaskId first) {
  if (board_.unlimited() || IsAwaited(first)) return false;
  if (IsPassedOften(first)) return false;
  for (const TaskId other : Others(first)) {
    const Run& run = board_.runs.at(other.run);
    if (run.running >= run.jobs || !CanGoOn(other)) continue;
    ++board_.At(first).passes;
    return Begin(other), true;
  }
  return false;
}

std::optional<TaskId> Scheduler::FirstIn(Scope scope) const {
  return scope ? First(board_.runs.at(*scope), *scope) : First();
}

// What would have to go for it, or be made again, at least, and what it adds to memory for good.
int64_t Scheduler::BytesToGoOn(TaskId id) const {
  const Task& task = board_.At(id);
  const int64_t bytes = task.peak_bytes + board_.MissingBytes(id) + board_.AbsentBytes(id);
  int64_t most = 0;
  for (const Scope scope : board_.LimitedScopesOf(id.run)) {
    most = std::max(most, board_.Shortfall(scope, bytes));
  }
  return most > 0 ? most + std::max<int64_t>(AddedBytes(id), 0) : 0;
}

bool Scheduler::Demand(TaskId id) {
  if (lineage_.Demand(id)) return true;
  if (!IsRegaining() && board_.At(id).state == kWaiting) regaining_ = id;
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

// Whether nothing has to go for it, nor for what it reads to be made again.
bool Scheduler::FitsRegained(TaskId id) const {
  const int64_t bytes = board_.At(id).peak_bytes + board_.MissingBytes(id) + board_.AbsentBytes(id);
  return std::ranges::all_of(board_.LimitedScopesOf(id.run),
                             [&](Scope scope) { return board_.Shortfall(scope, bytes) <= 0; });
}

// That reader, or the first that is to run again for it.
std::optional<TaskId> Scheduler::NextFor(TaskId reader) const {
  const auto& tasks = board_.runs.at(reader.run).tasks;
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
  const auto first = FirstIn(scope);
  if (!first) return first;
  if (IsRegaining() && (!scope || *scope == regaining_->run)) {
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
    evictor_.MakeRoom(limited, left, purpose);
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
  if (others >= before.bytes && !fits) {
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
    lineage_.OnNotRemade(id);
  }
}

void Scheduler::StartAloneInRuns() {
  const std::set<RunId> limited = board_.limited_runs;
  for (const RunId run : limited) {
    if (HasSlot()) StartAlone(run);
  }
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
