#include "resource/evictor.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace zerrow::resource {

using enum Task::State;

namespace {

// That are weighed anew for each choice.
constexpr size_t kWeighed = 16;

// That are let go for one purpose, and as a last resort: what frees less than its part of what is
// wanted only costs.
constexpr int64_t kMostTables = 1 << 10;
constexpr int64_t kMostTablesAtLast = 1 << 16;

// Of a table, before it goes to disk for good if it can.
constexpr int kRollbacksBesideDisk = 2;

// Of a table's readers, to find the next one.
constexpr size_t kReadersLookedAt = 8;

// To a result that no task of its run reads: further away than anything else.
constexpr int kStepsToResult = 1000;

}  // namespace

Holder Evictor::HolderOf(TaskId table) const {
  return board_.At(table).resident ? Board::TableOf(table) : Board::ResultOf(table);
}

// Tasks that must end before the first reader can start: those that it waits for, or as many as lie
// between on the longest way, if that is more.
int Evictor::StepsToNextUse(TaskId id) {
  auto& tasks = board_.runs.at(id.run).tasks;
  Task& table = tasks[id.index];
  if (table.open_readers == 0) return kStepsToResult;
  while (table.first_open < table.readers.size() &&
         tasks[table.readers[table.first_open]].state == kFinished) {
    ++table.first_open;
  }
  int steps = kStepsToResult;
  const size_t end = std::min(table.readers.size(), table.first_open + kReadersLookedAt);
  for (size_t i = table.first_open; i < end; ++i) {
    const Task& reader = tasks[table.readers[i]];
    if (reader.state == kFinished || reader.state == kLeaving) continue;
    if (reader.state != kWaiting) return 1;
    const int needs = static_cast<int>(reader.waiting_for);
    steps = std::min(steps, 1 + std::max(needs, reader.depth - table.depth - 1));
  }
  return steps;
}

bool Evictor::DiskIsFull() const {
  return full_at_bytes_ && board_.ledger.disk_bytes() >= *full_at_bytes_;
}

// The room that its ancestors' tables would need first has others pay as much for each byte. Where
// the table could go to disk instead, which nobody else pays for, that isn't asked of them.
double Evictor::RemakeSeconds(TaskId id, const Idle& idle) {
  const auto [run_s, bytes] = lineage_.RemakeOf(id);
  if (idle.exclusive_bytes <= 0) return run_s;
  const bool has_disk =
      policy_ == EvictionPolicy::kAdaptive && idle.unwritten_bytes + idle.copied_bytes > 0;
  const bool often = board_.At(id).rollbacks >= kRollbacksBesideDisk;
  if (has_disk && (bytes > 0 || often || !FitsBesideOthers(id))) return kNever;
  return run_s * (1 + static_cast<double>(bytes) / static_cast<double>(idle.exclusive_bytes));
}

// Whether the table could be made again while what its next reader needs besides is there. Else
// they would push each other out.
bool Evictor::FitsBesideOthers(TaskId id) const {
  const auto& tasks = board_.runs.at(id.run).tasks;
  const Task& table = tasks[id.index];
  if (table.first_open >= table.readers.size()) return true;
  const auto size = [&tasks](size_t task) {
    return std::max(tasks[task].table_bytes, tasks[task].spec.expected.output_bytes);
  };
  int64_t bytes = table.peak_bytes;
  for (const size_t input : table.spec.inputs) bytes += size(input);
  const auto& read = tasks[table.readers[table.first_open]].spec.inputs;
  for (const size_t other : read) {
    const bool counted = other == id.index || std::ranges::binary_search(table.spec.inputs, other);
    if (!counted) bytes += size(other);
  }
  return std::ranges::all_of(board_.LimitedScopesOf(id.run), [&](Scope scope) {
    return bytes <= board_.BudgetOf(scope).capacity();
  });
}

Candidate Evictor::CandidateOf(TaskId id) {
  Candidate candidate;
  candidate.table = id;
  candidate.idle = board_.ledger.IdleOf(HolderOf(id));
  if (DiskIsFull()) candidate.idle.unwritten_bytes = 0;
  // What nobody holds but a result can't be made again.
  if (policy_ != EvictionPolicy::kSwap && board_.At(id).resident) {
    candidate.remake_s = RemakeSeconds(id, candidate.idle);
  }
  candidate.steps = StepsToNextUse(id);
  return candidate;
}

void Evictor::Weigh(TaskId id) {
  Run& run = board_.runs.at(id.run);
  const Task& task = run.tasks[id.index];
  std::optional<Eviction> eviction;
  bool stuck = false;
  if (policy_ != EvictionPolicy::kNone && (task.resident || task.spec.kept)) {
    eviction = resource::Weigh(policy_, CandidateOf(id), disk_);
    stuck = !eviction && board_.ledger.IdleOf(HolderOf(id)) != Idle{};
  }
  board_.SetScore(id, eviction ? std::optional(eviction->score) : std::nullopt);
  if (stuck) {
    run.stuck.insert(id.index);
  } else {
    run.stuck.erase(id.index);
  }
}

void Evictor::Refresh() {
  for (const TaskId id : std::exchange(board_.moved, {})) {
    if (board_.Find(id) != nullptr) Weigh(id);
  }
}

void Evictor::RefreshAll() {
  board_.moved = board_.tables;
  Refresh();
}

// What was no candidate may have become one by what happened to others.
void Evictor::RefreshStuck(Scope scope) {
  if (was_full_ && !DiskIsFull()) {
    was_full_ = false;
    for (auto& [id, run] : board_.runs) run.stale = true;
  }
  for (auto& [id, run] : board_.runs) {
    if ((scope && *scope != id) || !std::exchange(run.stale, false)) continue;
    for (const size_t index : run.stuck) board_.moved.insert({id, index});
  }
  Refresh();
}

// What the task reads. And what is read beside its table by those for whom it is made again: else
// two inputs of one reader would be dropped for each other.
std::vector<size_t> Evictor::SparedFor(const Purpose& purpose) const {
  if (!purpose.beneficiary) return {};
  const auto& tasks = board_.runs.at(purpose.beneficiary->run).tasks;
  const Task& task = tasks[purpose.beneficiary->index];
  std::vector<size_t> spared = task.spec.inputs;
  if (!purpose.for_readers) return spared;
  for (const size_t reader : task.awaited_by) {
    const auto& inputs = tasks[reader].spec.inputs;
    spared.insert(spared.end(), inputs.begin(), inputs.end());
  }
  return spared;
}

// A run that began before keeps its tables: what it has to make again would only take the younger
// one's. So the oldest goes on, and others after it ("wound-wait"; Rosenkrantz, Stearns & Lewis,
// "System Level Concurrency Control for Distributed Database Systems", 1978).
Candidate Evictor::Within(const Purpose& purpose, Candidate candidate) const {
  if (purpose.last_resort || !purpose.beneficiary) return candidate;
  const RunId run = purpose.beneficiary->run;
  const Run& owner = board_.runs.at(candidate.table.run);
  if (owner.IsBefore(board_.runs.at(run))) candidate.remake_s = kNever;
  return candidate;
}

// The first few by their old scores, with new ones. What has come to be no candidate is forgotten.
std::vector<Candidate> Evictor::Gather(Scope scope, int64_t wanted_bytes, const Purpose& purpose) {
  const Candidates& known = scope ? board_.runs.at(*scope).candidates : board_.candidates;
  const int64_t least_bytes =
      wanted_bytes / (purpose.last_resort ? kMostTablesAtLast : kMostTables);
  const std::vector<size_t> spared = SparedFor(purpose);
  std::vector<std::pair<TaskId, std::optional<double>>> scores;
  std::vector<Candidate> gathered;
  for (const auto& [score, id] : known) {
    if (gathered.size() == kWeighed) break;
    const Task& task = board_.At(id);
    if (task.wanted && !purpose.last_resort) continue;
    if (purpose.beneficiary && purpose.beneficiary->run == id.run &&
        std::ranges::find(spared, id.index) != spared.end()) {
      continue;
    }
    Candidate candidate = CandidateOf(id);
    const auto usual = resource::Weigh(policy_, candidate, disk_);
    scores.emplace_back(id, usual ? std::optional(usual->score) : std::nullopt);
    candidate = Within(purpose, candidate);
    const auto eviction = resource::Weigh(policy_, candidate, disk_);
    if (eviction && eviction->freed_bytes >= least_bytes) {
      gathered.push_back(candidate);
    }
  }
  for (const auto& [id, score] : scores) {
    board_.SetScore(id, score);
    if (!score) board_.moved.insert(id);
  }
  return gathered;
}

// What was evicted since they were gathered may have changed them.
std::optional<Eviction> Evictor::TakeBest(std::vector<Candidate>& gathered,
                                          const Purpose& purpose) {
  while (const auto best = Choose(policy_, gathered, disk_, purpose.max_restore_s)) {
    const auto chosen = std::ranges::find(gathered, best->table, &Candidate::table);
    const Candidate now = Within(purpose, CandidateOf(best->table));
    if (*chosen == now) {
      gathered.erase(chosen);
      return best;
    }
    *chosen = now;
  }
  return std::nullopt;
}

int64_t Evictor::MakeRoom(Scope scope, int64_t bytes, const Purpose& purpose) {
  // What the cache holds counts for the engine alone.
  while (bytes > 0 && !scope) {
    const auto cached = board_.ledger.OldestOnlyCached();
    if (!cached) break;
    bytes -= board_.ledger.BytesOf(*cached);
    Uncache(*cached, purpose);
  }
  std::vector<Candidate> gathered;
  bool refreshed = false;
  while (bytes > 0) {
    if (gathered.size() <= kWeighed / 2) {
      Refresh();
      gathered = Gather(scope, bytes, purpose);
    }
    const auto eviction = TakeBest(gathered, purpose);
    if (eviction) {
      bytes -= eviction->freed_bytes;
      Evict(*eviction, purpose);
    } else if (purpose.last_resort && !std::exchange(refreshed, true)) {
      RefreshStuck(scope);
      gathered.clear();
    } else {
      break;
    }
  }
  return std::max<int64_t>(bytes, 0);
}

void Evictor::Evict(const Eviction& eviction, const Purpose& purpose) {
  const TaskId id = eviction.table;
  board_.moved.insert(id);
  Figures why = purpose.why;
  why.bytes = eviction.freed_bytes;
  const std::vector<SegmentId> segments = board_.ledger.SegmentsOf(HolderOf(id));
  // What is decoded goes before what is made of it: the cache is no reason to keep a segment.
  for (const SegmentId segment : segments) {
    if (board_.ledger.IsCached(segment) && !board_.ledger.IsPinned(segment)) {
      Uncache(segment, purpose);
    }
  }
  if (eviction.how == Eviction::How::kRollback) {
    lineage_.RollBack(id, purpose.reason).why = why;
    return;
  }
  for (const SegmentId segment : segments) {
    if (!board_.ledger.IsIdle(segment)) continue;
    if (board_.ledger.PlaceOf(segment) == Place::kCopied) {
      Unload(segment, id);
    } else if (!DiskIsFull()) {
      board_.ledger.Move(segment, Place::kWriting);
      Decision& decision = board_.Decide(Decision::Kind::kSwapOut, segment, id, purpose.reason);
      decision.why = why;
      decision.why.bytes = board_.ledger.BytesOf(segment);
    }
  }
}

void Evictor::Uncache(SegmentId segment, const Purpose& purpose) {
  board_.ledger.MarkUncaching(segment);
  Decision& decision = board_.Decide(Decision::Kind::kUncache, segment, TaskId{}, purpose.reason);
  decision.why = purpose.why;
  decision.why.bytes = board_.ledger.BytesOf(segment);
}

void Evictor::Unload(SegmentId segment, TaskId table) {
  board_.ledger.Move(segment, Place::kDisk);
  RerankReaders(segment);
  Decision& decision = board_.Decide(Decision::Kind::kUnload, segment, table, Reason::kCopied);
  decision.why.bytes = board_.ledger.BytesOf(segment);
}

void Evictor::RerankReaders(SegmentId segment) {
  for (const Holder& holder : board_.ledger.HoldersOf(segment)) {
    if (holder.kind == Holder::Kind::kTable) lifecycle_.Rerank(holder.task);
  }
}

void Evictor::NoteHolders(SegmentId segment) {
  for (const Holder& holder : board_.ledger.HoldersOf(segment)) {
    if (holder.kind != Holder::Kind::kCache) board_.NoteMoved(holder.task);
  }
}

void Evictor::OnSwappedOut(const SegmentSwappedOut& event) {
  Ledger& ledger = board_.ledger;
  if (!ledger.Knows(event.segment) || ledger.PlaceOf(event.segment) != Place::kWriting) return;
  if (event.result == SegmentSwappedOut::Result::kDone) {
    disk_.NoteWrite(ledger.BytesOf(event.segment), event.took_s);
    ledger.Move(event.segment, Place::kCopied);
    // Somebody may have come to need it.
    if (!ledger.IsPinned(event.segment)) return Unload(event.segment, TaskId{});
  } else {
    ledger.Move(event.segment, Place::kMemory);
    if (event.result == SegmentSwappedOut::Result::kDiskFull) {
      full_at_bytes_ = ledger.disk_bytes();
      was_full_ = true;
    } else {
      ledger.MarkUnwritable(event.segment);
    }
  }
  NoteHolders(event.segment);
}

}  // namespace zerrow::resource
