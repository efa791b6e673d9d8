#include "resource/board.h"

#include <algorithm>
#include <utility>

namespace zerrow::resource {

namespace {

Charge ChargeOf(const Task& task) {
  using enum Task::State;
  const int64_t measured = task.measured_bytes;
  switch (task.state) {
    case kRestoring:
      return {0, task.peak_bytes, 0};
    case kRunning:
      return {measured, task.frozen ? measured : std::max(measured, task.peak_bytes), 0};
    case kStopping:
    case kLeaving:
      return {measured, measured, measured};
    case kWaiting:
    case kReady:
    case kFinished:
      break;
  }
  return {};
}

void Add(Charge& sum, const Charge& charge, int sign) {
  sum.present += sign * charge.present;
  sum.committed += sign * charge.committed;
  sum.leaving += sign * charge.leaving;
}

}  // namespace

Run* Board::FindRun(RunId run) {
  const auto found = runs.find(run);
  return found == runs.end() ? nullptr : &found->second;
}

const Task* Board::Find(TaskId task) const {
  const auto run = runs.find(task.run);
  if (run == runs.end() || task.index >= run->second.tasks.size()) return nullptr;
  return &run->second.tasks[task.index];
}

Task* Board::Find(TaskId task) { return const_cast<Task*>(std::as_const(*this).Find(task)); }

Decision& Board::Decide(Decision::Kind kind, TaskId task, Reason reason) {
  Decision decision;
  decision.kind = kind;
  decision.task = task;
  decision.reason = reason;
  decisions.push_back(std::move(decision));
  return decisions.back();
}

Decision& Board::Decide(Decision::Kind kind, SegmentId segment, TaskId task, Reason reason) {
  Decision& decision = Decide(kind, task, reason);
  decision.segment = segment;
  return decision;
}

void Board::Recharge(TaskId id) {
  Run& run = runs.at(id.run);
  Task& task = run.tasks[id.index];
  const Charge now = ChargeOf(task);
  if (now == task.charge) return;
  for (Charge* sum : {&charge, &run.charge}) {
    Add(*sum, task.charge, -1);
    Add(*sum, now, 1);
  }
  task.charge = now;
}

void Board::SetBudget(const Budget& now) {
  if (now.limit_bytes != budget.limit_bytes) most_capacity = 0;
  budget = now;
  most_capacity = std::max(most_capacity, budget.capacity());
}

int64_t Board::MostCapacity(Scope scope) const {
  return scope ? BudgetOf(scope).capacity() : most_capacity;
}

const Budget& Board::BudgetOf(Scope scope) const { return scope ? runs.at(*scope).budget : budget; }

int64_t Board::Charged(Scope scope) const {
  const SegmentUse use = scope ? ledger.use(*scope) : ledger.use();
  return use.memory_bytes + (scope ? runs.at(*scope).charge : charge).present;
}

int64_t Board::Committed(Scope scope) const {
  const SegmentUse use = scope ? ledger.use(*scope) : ledger.use();
  return use.memory_bytes + (scope ? runs.at(*scope).charge : charge).committed;
}

int64_t Board::Leaving(Scope scope) const {
  const SegmentUse use = scope ? ledger.use(*scope) : ledger.use();
  return use.leaving_bytes + (scope ? runs.at(*scope).charge : charge).leaving;
}

int64_t Board::Shortfall(Scope scope, int64_t bytes) const {
  return Committed(scope) + bytes - BudgetOf(scope).capacity();
}

bool Board::IsSettling(Scope scope) const {
  if (Leaving(scope) > 0 || ledger.reading() > 0) return true;
  return (scope ? runs.at(*scope).ending : ending) > 0;
}

Scopes Board::LimitedScopesOf(RunId run) const {
  Scopes scopes;
  if (budget.limited()) scopes.Add(std::nullopt);
  if (runs.at(run).budget.limited()) scopes.Add(run);
  return scopes;
}

std::vector<SegmentId> Board::InputSegments(TaskId id) const {
  std::vector<SegmentId> segments;
  for (const size_t input : At(id).spec.inputs) {
    const auto& of_table = ledger.SegmentsOf(TableOf({id.run, input}));
    segments.insert(segments.end(), of_table.begin(), of_table.end());
  }
  std::sort(segments.begin(), segments.end());
  segments.erase(std::unique(segments.begin(), segments.end()), segments.end());
  return segments;
}

int64_t Board::InputBytes(TaskId id) const {
  int64_t bytes = 0;
  for (const SegmentId segment : InputSegments(id)) bytes += ledger.BytesOf(segment);
  return bytes;
}

int64_t Board::MissingBytes(TaskId id) const {
  if (ledger.disk_bytes() == 0) return 0;
  int64_t bytes = 0;
  for (const SegmentId segment : InputSegments(id)) {
    if (ledger.PlaceOf(segment) == Place::kDisk) bytes += ledger.BytesOf(segment);
  }
  return bytes;
}

int64_t Board::BytesOnDisk(TaskId table) const {
  if (ledger.disk_bytes() == 0) return 0;
  int64_t bytes = 0;
  for (const SegmentId segment : ledger.SegmentsOf(TableOf(table))) {
    if (ledger.PlaceOf(segment) == Place::kDisk) bytes += ledger.BytesOf(segment);
  }
  return bytes;
}

int64_t Board::AbsentBytes(TaskId id) const {
  const auto& tasks = runs.at(id.run).tasks;
  int64_t bytes = 0;
  for (const size_t input : tasks[id.index].spec.inputs) {
    if (!tasks[input].resident) bytes += tasks[input].table_bytes;
  }
  return bytes;
}

void Board::Requeue(RunId id, Run& run) {
  std::optional<Turn> turn;
  if (!run.ready.empty() && run.running < run.jobs) turn = Turn(run.running, run.served, id);
  if (turn == run.turn) return;
  auto& turns = levels.at(run.priority).turns;
  if (run.turn) turns.erase(*run.turn);
  if (turn) turns.insert(*turn);
  run.turn = turn;
}

void Board::SetScore(TaskId id, std::optional<double> score) {
  Run& run = runs.at(id.run);
  Task& task = run.tasks[id.index];
  if (task.score == score) return;
  for (Candidates* all : {&candidates, &run.candidates}) {
    if (task.score) all->erase({*task.score, id});
    if (score) all->emplace(*score, id);
  }
  task.score = score;
}

}  // namespace zerrow::resource
