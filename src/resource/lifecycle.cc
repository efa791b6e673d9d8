#include "resource/lifecycle.h"

#include <algorithm>
#include <utility>

namespace zerrow::resource {

using enum Task::State;

namespace {

void MakeDistinct(std::vector<size_t>& indexes) {
  std::sort(indexes.begin(), indexes.end());
  indexes.erase(std::unique(indexes.begin(), indexes.end()), indexes.end());
}

std::vector<size_t> NeedsOf(const TaskSpec& spec) {
  std::vector<size_t> needs = spec.inputs;
  needs.insert(needs.end(), spec.after.begin(), spec.after.end());
  MakeDistinct(needs);
  return needs;
}

}  // namespace

Task& Lifecycle::NewTask(RunId run, size_t index, const TaskSpec& spec) {
  auto& tasks = board_.runs.at(run).tasks;
  Task& task = tasks[index];
  task.spec = spec;
  MakeDistinct(task.spec.inputs);
  task.peak_bytes = spec.expected.peak_bytes();
  task.run_s = spec.expected.run_s;
  task.repeatable = spec.deterministic;
  task.told = spec.gate;
  for (const size_t input : task.spec.inputs) {
    Task& read = tasks[input];
    read.readers.push_back(index);
    ++read.open_readers;
    task.depth = std::max(task.depth, read.depth + 1);
    task.repeatable = task.repeatable && read.repeatable;
  }
  return task;
}

void Lifecycle::Append(RunId id, const std::vector<TaskSpec>& specs) {
  Run& run = board_.runs.at(id);
  const size_t first = run.tasks.size();
  run.tasks.resize(first + specs.size());
  run.unfinished += specs.size();
  board_.touched.insert(id);
  std::vector<size_t> ready;
  for (size_t i = first; i < run.tasks.size(); ++i) {
    Task& task = NewTask(id, i, specs[i - first]);
    // A table that is absent again comes back only if it was dropped for want of memory.
    bool possible = std::ranges::all_of(task.spec.inputs, [&](size_t input) {
      const Task& read = run.tasks[input];
      return read.resident || read.dropped || !(read.succeeded || read.state == kFinished);
    });
    for (const size_t need : NeedsOf(task.spec)) {
      Task& needed = run.tasks[need];
      needed.followers.push_back(i);
      if (needed.succeeded) continue;
      ++task.waiting_for;
      possible = possible && needed.state != kFinished;
    }
    if (run.cancelled) {
      Finish({id, i}, ModelStatus::kCancelled, Reason::kCancelled);
    } else if (!possible) {
      Finish({id, i}, ModelStatus::kSkipped, Reason::kInputFailed);
    } else if (task.waiting_for == 0) {
      ready.push_back(i);
    }
  }
  // Now that it is known who reads them.
  for (const size_t i : ready) MakeReady({id, i});
}

void Lifecycle::Await(TaskId id) {
  Run& run = board_.runs.at(id.run);
  Task& task = run.tasks[id.index];
  if (task.state != kWaiting && task.state != kReady && task.state != kRestoring) return;
  Dequeue(id);
  UnpinInputs(id);
  Enter(id, kWaiting);
  task.waiting_for = task.outdated ? 1 : 0;
  bool possible = true;
  for (const size_t need : NeedsOf(task.spec)) {
    const Task& needed = run.tasks[need];
    const bool awaited = std::ranges::find(needed.awaited_by, id.index) != needed.awaited_by.end();
    task.waiting_for += !needed.succeeded || awaited ? 1 : 0;
    possible = possible && (needed.succeeded || needed.state != kFinished);
  }
  if (!possible) {
    Finish(id, ModelStatus::kSkipped, Reason::kInputFailed);
    SkipFollowers(id);
  } else if (task.waiting_for == 0) {
    MakeReady(id);
  }
}

void Lifecycle::MakeReady(TaskId id) {
  Run& run = board_.runs.at(id.run);
  Task& task = run.tasks[id.index];
  if (task.spec.gate) return void(Finish(id, ModelStatus::kSuccess, Reason::kInputsThere));
  Enter(id, kReady);
  task.regains = false;
  task.rank = RankOf(id);
  run.ready.insert(task.rank);
  board_.Requeue(id.run, run);
}

void Lifecycle::Dequeue(TaskId id) {
  Run& run = board_.runs.at(id.run);
  Task& task = run.tasks[id.index];
  if (task.state != kReady) return;
  if (task.parked) {
    run.parked.erase({task.parked->bytes, id.index});
    task.parked.reset();
  } else {
    run.ready.erase(task.rank);
    board_.Requeue(id.run, run);
  }
}

// What adds least to memory comes first, then what is furthest along.
Rank Lifecycle::RankOf(TaskId id) const {
  const auto& tasks = board_.runs.at(id.run).tasks;
  const Task& task = tasks[id.index];
  // What nobody reads is freed at once.
  const bool stays = task.open_readers > 0 || task.spec.kept;
  int64_t added_bytes = stays ? task.spec.expected.output_bytes : 0;
  for (const size_t input : task.spec.inputs) {
    // What isn't in memory would have to come there first.
    if (tasks[input].open_readers > 1 || !tasks[input].resident) continue;
    added_bytes -= tasks[input].table_bytes - board_.BytesOnDisk({id.run, input});
  }
  return {added_bytes, -task.depth, id.index};
}

// The last reader of a table frees it, which makes starting that reader better.
void Lifecycle::Rerank(TaskId input) {
  Run& run = board_.runs.at(input.run);
  if (run.tasks[input.index].open_readers != 1) return;
  for (const size_t reader : run.tasks[input.index].readers) {
    const Task& task = run.tasks[reader];
    if (task.state != kReady || task.parked) continue;
    run.ready.erase(task.rank);
    MakeReady({input.run, reader});
  }
}

void Lifecycle::Enter(TaskId id, Task::State state) {
  Run& run = board_.runs.at(id.run);
  Task& task = run.tasks[id.index];
  const auto count = [&](int sign) {
    run.running += task.has_slot() ? sign : 0;
    board_.running += task.has_slot() ? sign : 0;
    const bool counts = task.has_slot() || task.state == kLeaving;
    run.attempts += counts ? sign : 0;
    board_.attempts += counts ? sign : 0;
    const bool ends = task.state == kStopping || task.state == kLeaving;
    run.ending += ends ? sign : 0;
    board_.ending += ends ? sign : 0;
    run.alone += task.has_slot() && task.alone != Task::Alone::kNo ? sign : 0;
    board_.alone += task.has_slot() && task.alone == Task::Alone::kInEngine ? sign : 0;
    run.frozen += task.frozen ? sign : 0;
    board_.frozen += task.frozen ? sign : 0;
  };
  count(-1);
  if (task.state == kRunning) board_.executing.erase({task.order, id});
  if (task.state == kRestoring) board_.restoring.erase(id);
  task.state = state;
  if (state == kRestoring) board_.restoring.insert(id);
  if (state == kRunning) board_.executing.insert({task.order, id});
  if (state != kRunning) task.frozen = false;
  if (!task.has_attempt()) task.measured_bytes = 0;
  count(1);
  board_.Requeue(id.run, run);
  board_.Recharge(id);
}

void Lifecycle::Start(TaskId id) {
  Run& run = board_.runs.at(id.run);
  Task& task = run.tasks[id.index];
  Dequeue(id);
  PinInputs(id);
  task.order = ++board_.started;
  task.began = board_.now;
  task.passes = 0;
  task.highest_bytes = 0;
  Enter(id, kRunning);
  ++task.attempt;
  run.served = ++board_.served;
  board_.Requeue(id.run, run);
  NotePassed(run.priority);
  if (task.spec.has_table && run.opened == 0) {
    run.opened = ++board_.opened;
    ++board_.levels.at(run.priority).opened;
  }
  Decision& decision = board_.Decide(Decision::Kind::kStart, id, task.start_reason);
  decision.attempt = task.attempt;
  decision.why.bytes = task.peak_bytes;
  task.start_reason = Reason::kInputsThere;
}

void Lifecycle::NotePassed(int priority) {
  board_.levels.at(priority).passed = 0;
  for (auto level = board_.levels.upper_bound(priority); level != board_.levels.end(); ++level) {
    if (!level->second.turns.empty()) ++level->second.passed;
  }
}

void Lifecycle::Publish(TaskId id, const std::vector<SegmentBytes>& segments) {
  Task& task = board_.At(id);
  const int64_t before = board_.ledger.bytes();
  task.resident = true;
  task.dropped = task.lost = false;
  if (task.succeeded) board_.runs.at(id.run).stale = true;
  task.wanted = !task.awaited_by.empty();
  for (const SegmentBytes& segment : segments) board_.ledger.Hold(Board::TableOf(id), segment);
  // What was made again has been handed over before, or will be.
  if (task.spec.kept && !task.succeeded) {
    for (const SegmentBytes& segment : segments) board_.ledger.Hold(Board::ResultOf(id), segment);
  }
  // Nothing of a kept table, which stays.
  task.table_bytes = board_.ledger.Exclusive(Board::TableOf(id));
  const int64_t published = board_.ledger.bytes() - before;
  // Made again it will take as much.
  task.peak_bytes = std::max(task.highest_bytes, published);
  if (task.spec.inputs.empty()) {
    board_.largest_root_bytes = std::max(board_.largest_root_bytes, task.table_bytes);
  }
  task.measured_bytes = std::max<int64_t>(task.measured_bytes - published, 0);
  task.run_s = board_.now - task.began;
  board_.Recharge(id);
  board_.tables.insert(id);
  board_.NoteMoved(id);
}

void Lifecycle::Succeed(TaskId id) {
  Run& run = board_.runs.at(id.run);
  Task& task = run.tasks[id.index];
  const bool again = std::exchange(task.succeeded, true);
  const auto tell = [&](const std::vector<size_t>& followers) {
    for (const size_t follower : followers) {
      Task& next = run.tasks[follower];
      if (next.state != kWaiting) continue;
      if (--next.waiting_for == 0) MakeReady({id.run, follower});
    }
  };
  if (!again) return tell(task.followers);
  tell(std::exchange(task.awaited_by, {}));
}

void Lifecycle::Retry(TaskId id, Reason reason) {
  UnpinInputs(id);
  ClearDeadline(id);
  board_.At(id).start_reason = reason;
  MakeReady(id);
}

void Lifecycle::Stop(TaskId id, ModelStatus status, Reason reason) {
  Task& task = board_.At(id);
  task.stop_status = status;
  task.stop_reason = reason;
  ClearDeadline(id);
  Enter(id, kStopping);
  board_.Decide(Decision::Kind::kStop, id, reason).attempt = task.attempt;
}

Decision* Lifecycle::Finish(TaskId id, ModelStatus status, Reason reason) {
  Run& run = board_.runs.at(id.run);
  Task& task = run.tasks[id.index];
  const bool left = task.state == kLeaving;
  Dequeue(id);
  UnpinInputs(id);
  Enter(id, kFinished);
  --run.unfinished;
  board_.touched.insert(id.run);
  size_t told = board_.decisions.size();
  const bool silent = std::exchange(task.told, true);
  if (!silent) {
    ++run.told;
    board_.Decide(Decision::Kind::kFinish, id, reason).status = status;
  }
  if (!left) {
    if (status == ModelStatus::kSuccess) Succeed(id);
    ReleaseInputs(id);
  }
  return silent ? nullptr : &board_.decisions[told];
}

void Lifecycle::ReleaseInputs(TaskId reader) {
  Run& run = board_.runs.at(reader.run);
  for (const size_t index : run.tasks[reader.index].spec.inputs) {
    const TaskId input = {reader.run, index};
    Task& read = run.tasks[index];
    --read.open_readers;
    Rerank(input);
    ReleaseIfUnread(input);
    if (read.open_readers == 0 && read.succeeded && !read.resident) abandoned_.push_back(input);
  }
}

void Lifecycle::FinishAbandoned() {
  while (!abandoned_.empty()) {
    const TaskId id = abandoned_.back();
    abandoned_.pop_back();
    const Task* task = board_.Find(id);
    if (task == nullptr || task->open_readers > 0 || !task->succeeded) continue;
    if (task->state != kWaiting && task->state != kReady) continue;
    StopAwaiting(id);
    Finish(id, ModelStatus::kSkipped, Reason::kUnread);
  }
}

void Lifecycle::StopAwaiting(TaskId id) {
  auto& tasks = board_.runs.at(id.run).tasks;
  for (const size_t input : tasks[id.index].spec.inputs) {
    std::erase(tasks[input].awaited_by, id.index);
  }
}

void Lifecycle::SkipFollowers(TaskId id) {
  // None waits in a cancelled run.
  Run& run = board_.runs.at(id.run);
  std::vector<size_t> failed = {id.index};
  while (!failed.empty()) {
    const size_t next = failed.back();
    failed.pop_back();
    for (const size_t follower : run.tasks[next].followers) {
      if (run.tasks[follower].state != kWaiting) continue;
      Finish({id.run, follower}, ModelStatus::kSkipped, Reason::kInputFailed);
      failed.push_back(follower);
    }
  }
}

void Lifecycle::PinInputs(TaskId id) {
  Run& run = board_.runs.at(id.run);
  if (std::exchange(run.tasks[id.index].pinned, true)) return;
  for (const size_t input : run.tasks[id.index].spec.inputs) {
    run.tasks[input].wanted = false;
    ++run.tasks[input].mapped_by;
    board_.ledger.Pin(Board::TableOf({id.run, input}));
  }
}

void Lifecycle::UnpinInputs(TaskId id) {
  Run& run = board_.runs.at(id.run);
  if (!std::exchange(run.tasks[id.index].pinned, false)) return;
  for (const size_t input : run.tasks[id.index].spec.inputs) {
    board_.ledger.Unpin(Board::TableOf({id.run, input}));
    board_.NoteMoved({id.run, input});
    if (--run.tasks[input].mapped_by == 0 && run.tasks[input].outdated) {
      DropOutdated({id.run, input});
    }
  }
}

void Lifecycle::Outdate(TaskId id) {
  Task& task = board_.At(id);
  board_.SetScore(id, std::nullopt);
  board_.tables.erase(id);
  if (!std::exchange(task.resident, false)) return;
  task.outdated = true;
  if (task.mapped_by == 0) DropOutdated(id);
}

void Lifecycle::DropOutdated(TaskId id) {
  board_.At(id).outdated = false;
  board_.Decide(Decision::Kind::kRelease, id, Reason::kOutdated).why.bytes =
      board_.ledger.Exclusive(Board::TableOf(id));
  Free(Board::TableOf(id));
  Await(id);
}

void Lifecycle::ReleaseIfUnread(TaskId id) {
  Task& task = board_.At(id);
  if (!task.resident || task.open_readers > 0) return;
  task.resident = false;
  if (task.spec.kept) {
    board_.NoteMoved(id);
  } else {
    board_.SetScore(id, std::nullopt);
    board_.tables.erase(id);
  }
  board_.Decide(Decision::Kind::kRelease, id, Reason::kUnread);
  Free(Board::TableOf(id));
}

void Lifecycle::Free(const Holder& holder) {
  // What others hold alone from now on could go with their tables.
  if (!board_.unlimited()) {
    for (const SegmentId segment : board_.ledger.SegmentsOf(holder)) {
      if (!board_.ledger.IsShared(segment)) continue;
      for (const Holder& other : board_.ledger.HoldersOf(segment)) {
        if (other.kind != Holder::Kind::kCache && other != holder) board_.NoteMoved(other.task);
      }
    }
  }
  for (const SegmentId segment : board_.ledger.Release(holder)) {
    board_.Decide(Decision::Kind::kFree, segment, holder.task, Reason::kUnread);
  }
  for (Remainder& remainder : board_.ledger.TakeRemainders()) {
    board_.Decide(Decision::Kind::kShrink, remainder.segment, holder.task, Reason::kUnread).used =
        std::move(remainder.used);
  }
}

void Lifecycle::ClearDeadline(TaskId id) {
  Task& task = board_.At(id);
  if (task.deadline) board_.deadlines.erase({*task.deadline, id});
  task.deadline.reset();
  task.time_left_s.reset();
}

}  // namespace zerrow::resource
