#include "resource/lineage.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace zerrow::resource {

using enum Task::State;

namespace {

// While none of the run's tasks finishes: bounds what is run again in vain where several large
// tables are needed in turns.
constexpr int kMaxVainRollbacks = 8;

// Of a table that isn't deterministic, counting its rollbacks before that was known: readers that
// start over are no progress.
constexpr int kMostRenewed = 8;

// Beyond so many tasks to be run again nobody looks any further: the table had better stay.
constexpr size_t kMaxRemade = 32;

// Of a table that is dropped.
constexpr size_t kReadersLookedAt = 64;

}  // namespace

Lineage::Remake Lineage::RemakeOf(TaskId id) {
  Run& run = board_.runs.at(id.run);
  auto& tasks = run.tasks;
  const Task& table = tasks[id.index];
  const bool often = table.vain_rollbacks >= kMaxVainRollbacks && table.told_before == run.told;
  if (!table.repeatable || often || !table.succeeded) return {};
  ++visits_;
  Remake remake = {0, 0};
  std::array<size_t, kMaxRemade> remade = {id.index};
  size_t count = 1;
  for (size_t next = 0; next < count; ++next) {
    const Task& task = tasks[remade[next]];
    remake.run_s += task.run_s;
    if (!task.resident) remake.bytes += task.table_bytes;
    for (const size_t input : task.spec.inputs) {
      Task& read = tasks[input];
      // An input that is there may be gone by then, as it stays for its other readers only. Its
      // time counts, but not its memory: that is taken now too.
      const bool stays = read.resident && (next > 0 || read.spec.kept);
      if (stays || std::exchange(read.visit, visits_) == visits_) continue;
      if (count == kMaxRemade || read.lost) return {};
      remade[count++] = input;
    }
  }
  return remake;
}

Decision& Lineage::RollBack(TaskId id, Reason reason) {
  Task& task = board_.At(id);
  task.resident = false;
  task.dropped = true;
  task.wanted = false;
  ++task.rollbacks;
  const size_t told = board_.runs.at(id.run).told;
  if (std::exchange(task.told_before, told) != told) task.vain_rollbacks = 0;
  ++task.vain_rollbacks;
  board_.SetScore(id, std::nullopt);
  if (!task.spec.kept) board_.tables.erase(id);
  lifecycle_.Rerank(id);
  const size_t place = board_.decisions.size();
  board_.Decide(Decision::Kind::kRelease, id, reason);
  lifecycle_.Free(Board::TableOf(id));
  Await(id);
  return board_.decisions[place];
}

// Who waits for others of its inputs to be made again has this one made with them: what both are
// made of may be there only once.
void Lineage::Await(TaskId id) {
  Run& run = board_.runs.at(id.run);
  Task& table = run.tasks[id.index];
  const bool joins = std::ranges::any_of(table.spec.inputs, [&run](size_t input) {
    return !run.tasks[input].resident && run.tasks[input].state != kFinished;
  });
  if (!joins) return;
  const size_t end = std::min(table.readers.size(), table.first_open + kReadersLookedAt);
  for (size_t i = table.first_open; i < end; ++i) {
    Task& reader = run.tasks[table.readers[i]];
    if (reader.state != kWaiting || !(reader.told || reader.regains)) continue;
    ++reader.waiting_for;
    table.awaited_by.push_back(table.readers[i]);
  }
  if (!table.awaited_by.empty()) Revive(id);
}

void Lineage::Lose(TaskId id) {
  Task& task = board_.At(id);
  if (!task.resident) return;
  // Whatever it costs, and however often.
  if (task.repeatable) return void(RollBack(id, Reason::kInputUnreadable));
  if (task.rollbacks >= kMostRenewed || board_.runs.at(id.run).cancelled) {
    task.lost = true;
    return;
  }
  ++task.rollbacks;
  versions_.Renew(id);
}

void Lineage::FailReader(TaskId reader, Reason reason, const Figures& why) {
  if (Decision* told = lifecycle_.Finish(reader, ModelStatus::kFailed, reason)) told->why = why;
  lifecycle_.SkipFollowers(reader);
}

bool Lineage::Demand(TaskId reader) {
  Run& run = board_.runs.at(reader.run);
  const auto& inputs = run.tasks[reader.index].spec.inputs;
  std::vector<size_t> absent;
  for (const size_t input : inputs) {
    const Task& read = run.tasks[input];
    if (read.lost) {
      // The reader may be one that makes its own table again.
      const Reason reason = read.resident ? Reason::kInputUnreadable : Reason::kInputNotRemade;
      if (!run.tasks[reader.index].told) return FailReader(reader, reason), false;
      lifecycle_.Finish(reader, ModelStatus::kFailed, reason);
      return OnNotRemade(reader), false;
    }
    if (!read.resident) absent.push_back(input);
  }
  if (absent.empty()) return true;
  lifecycle_.Dequeue(reader);
  lifecycle_.Enter(reader, kWaiting);
  run.tasks[reader.index].waiting_for = absent.size();
  run.tasks[reader.index].regains = true;
  for (const size_t input : absent) {
    run.tasks[input].awaited_by.push_back(reader.index);
    Revive({reader.run, input});
  }
  return false;
}

void Lineage::Revive(TaskId id) {
  Run& run = board_.runs.at(id.run);
  std::vector<size_t> absent = {id.index};
  while (!absent.empty()) {
    const size_t index = absent.back();
    absent.pop_back();
    Task& task = run.tasks[index];
    // One that is leaving is revived by its end; any other is on its way already.
    if (task.state != kFinished) continue;
    ++run.unfinished;
    task.state = kWaiting;
    task.waiting_for = 0;
    task.losses = 0;
    task.refusals = 0;
    task.first_open = 0;
    task.start_reason = Reason::kRemake;
    for (const size_t input : task.spec.inputs) {
      Task& read = run.tasks[input];
      ++read.open_readers;
      read.first_open = 0;
      if (read.resident) continue;
      read.dropped = true;
      read.awaited_by.push_back(index);
      ++task.waiting_for;
      absent.push_back(input);
    }
    if (task.waiting_for == 0) lifecycle_.MakeReady({id.run, index});
  }
}

void Lineage::ReviveIfAwaited(TaskId id) {
  const Task& task = board_.At(id);
  // Who asked may have been cancelled since.
  if (!task.awaited_by.empty() && task.open_readers > 0) Revive(id);
}

void Lineage::OnNotRemade(TaskId id, const Figures& why) {
  Run& run = board_.runs.at(id.run);
  std::vector<size_t> failed = {id.index};
  while (!failed.empty()) {
    Task& task = run.tasks[failed.back()];
    failed.pop_back();
    task.lost = true;
    for (const size_t index : std::exchange(task.awaited_by, {})) {
      const TaskId reader = {id.run, index};
      if (run.tasks[index].state != kWaiting) continue;
      if (!run.tasks[index].told) {
        FailReader(reader, Reason::kInputNotRemade, why);
      } else {
        lifecycle_.Finish(reader, ModelStatus::kFailed, Reason::kInputNotRemade);
        failed.push_back(index);
      }
    }
  }
}

}  // namespace zerrow::resource
