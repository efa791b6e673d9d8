#include "resource/core.h"

#include <algorithm>
#include <utility>

namespace zerrow::resource {

namespace {

// A task whose attempts are lost again and again may itself be what loses them.
constexpr int kMaxAttempts = 2;

Holder CacheOf(SegmentId segment) { return {Holder::Kind::kCache, {0, segment}}; }

void MakeDistinct(std::vector<size_t>& indexes) {
  std::sort(indexes.begin(), indexes.end());
  indexes.erase(std::unique(indexes.begin(), indexes.end()), indexes.end());
}

}  // namespace

std::string_view ToString(Reason reason) {
  switch (reason) {
    case Reason::kInputsThere:
      return "its inputs are there and a slot is free";
    case Reason::kLost:
      return "its last attempt was lost without its doing";
    case Reason::kEnded:
      return "it ended";
    case Reason::kTimeUp:
      return "its time is up";
    case Reason::kCancelled:
      return "the run was cancelled";
    case Reason::kInputFailed:
      return "what it needs wasn't made";
    case Reason::kUnread:
      return "nothing reads it any more";
    case Reason::kAllEnded:
      return "all its tasks have ended";
  }
  return "unknown";
}

Core::Core(int slots) : slots_(std::max(slots, 1)) {}

std::vector<Decision> Core::On(const Event& event, Time now) {
  now_ = now;
  std::visit([this](const auto& what) { Handle(what); }, event);
  StartReady();
  EndFinishedRuns();
  return std::exchange(decisions_, {});
}

std::optional<Time> Core::next_deadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

bool Core::IsResident(TaskId id) const {
  const Task* task = Find(id);
  return task != nullptr && task->resident;
}

bool Core::Awaits(TaskId id, int attempt) const {
  const Task* task = Find(id);
  return task != nullptr && task->attempt == attempt &&
         (task->state == State::kRunning || task->state == State::kStopping ||
          task->state == State::kLeaving);
}

bool Core::MayPublish(TaskId id, int attempt) const {
  const Task* task = Find(id);
  return task != nullptr && task->attempt == attempt && task->state == State::kRunning &&
         task->spec.has_table;
}

bool Core::IsStopping(TaskId id) const {
  const Task* task = Find(id);
  return task != nullptr && task->state == State::kStopping;
}

bool Core::IsLeaving(TaskId id) const {
  const Task* task = Find(id);
  return task != nullptr && task->state == State::kLeaving;
}

void Core::Handle(const RunAdded& event) {
  const auto [added, is_new] = runs_.try_emplace(event.run);
  if (!is_new) return;
  added->second.jobs = std::max(event.jobs, 1);
  added->second.served = served_;
  Append(event.run, added->second, event.tasks);
}

void Core::Handle(const TasksAdded& event) {
  if (Run* run = Find(event.run)) Append(event.run, *run, event.tasks);
}

void Core::Handle(const TaskRunning& event) {
  Task* task = Find(event.task);
  if (task == nullptr || task->state != State::kRunning || task->attempt != event.attempt ||
      !task->spec.timeout_s || task->deadline) {
    return;
  }
  task->deadline = now_ + *task->spec.timeout_s;
  deadlines_.insert({*task->deadline, event.task});
}

void Core::Handle(const TaskPublished& event) {
  if (!MayPublish(event.task, event.attempt)) return;  // its end tells of the table once more
  Run& run = runs_.at(event.task.run);
  Task& task = *Find(event.task);
  ClearDeadline(event.task, task);
  FreeSlot(run, task);
  task.state = State::kLeaving;
  Publish(event.task, task, event.table);
  Succeed(run, task);
  ReleaseInputs(event.task);
}

void Core::Handle(const TaskEnded& event) {
  // Before the task's end frees what it read: that may lie in its table too.
  std::vector<SegmentId> unheld;
  for (const SegmentBytes& segment : event.table) {
    if (ledger_.HoldersOf(segment.id).empty()) unheld.push_back(segment.id);
  }
  if (End(event)) return;
  // A table that came too late, or of a task that publishes none, is nobody's.
  for (const SegmentId segment : unheld) {
    Decide(Decision::Kind::kFree, event.task, Reason::kUnread);
    decisions_.back().segment = segment;
  }
}

bool Core::End(const TaskEnded& event) {
  if (!Awaits(event.task, event.attempt)) return false;
  Task* task = Find(event.task);
  if (task->state == State::kLeaving) {
    Finish(event.task, ModelStatus::kSuccess, Reason::kEnded);
    ReleaseIfUnread(event.task);
    return true;
  }
  ClearDeadline(event.task, *task);
  const bool stopped = task->state == State::kStopping;
  if (event.lost && !stopped && task->attempt < kMaxAttempts) {
    Retry(event.task);
    return false;
  }
  // A process that was told to stop may still have ended in another way; the reason stands.
  const ModelStatus status = stopped ? task->stop_status : event.status;
  const bool published = status == ModelStatus::kSuccess && task->spec.has_table;
  if (published) Publish(event.task, *task, event.table);
  Finish(event.task, status,
         stopped      ? task->stop_reason
         : event.lost ? Reason::kLost
                      : Reason::kEnded);
  if (status != ModelStatus::kSuccess) SkipFollowers(event.task);
  ReleaseIfUnread(event.task);
  return published;
}

void Core::Handle(const RunCancelled& event) {
  Run* run = Find(event.run);
  if (run == nullptr) return;
  run->cancelled = true;
  for (size_t i = 0; i < run->tasks.size(); ++i) {
    Task& task = run->tasks[i];
    if (task.state == State::kWaiting || task.state == State::kReady) {
      Finish({event.run, i}, ModelStatus::kCancelled, Reason::kCancelled);
    } else if (task.state == State::kRunning) {
      Stop({event.run, i}, task, ModelStatus::kCancelled, Reason::kCancelled);
    }
  }
  touched_.insert(event.run);
}

void Core::Handle(const ResultDropped& event) { Free({Holder::Kind::kResult, event.task}); }

void Core::Handle(const SegmentCached& event) {
  ledger_.Hold(CacheOf(event.segment.id), event.segment);
}

void Core::Handle(const SegmentUncached& event) { Free(CacheOf(event.segment)); }

void Core::Handle(const Tick&) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
    const TaskId id = deadlines_.begin()->second;
    Stop(id, *Find(id), ModelStatus::kTimeout, Reason::kTimeUp);
  }
}

Core::Run* Core::Find(RunId run) {
  const auto found = runs_.find(run);
  return found == runs_.end() ? nullptr : &found->second;
}

const Core::Task* Core::Find(TaskId task) const {
  const auto run = runs_.find(task.run);
  if (run == runs_.end() || task.index >= run->second.tasks.size()) return nullptr;
  return &run->second.tasks[task.index];
}

Core::Task* Core::Find(TaskId task) { return const_cast<Task*>(std::as_const(*this).Find(task)); }

void Core::Append(RunId id, Run& run, const std::vector<TaskSpec>& specs) {
  const size_t first = run.tasks.size();
  run.tasks.resize(first + specs.size());
  run.unfinished += specs.size();
  touched_.insert(id);
  for (size_t i = first; i < run.tasks.size(); ++i) {
    Task& task = run.tasks[i];
    task.spec = specs[i - first];
    MakeDistinct(task.spec.inputs);
    std::vector<size_t> needs = task.spec.inputs;
    needs.insert(needs.end(), task.spec.after.begin(), task.spec.after.end());
    MakeDistinct(needs);
    bool possible = true;
    for (const size_t input : task.spec.inputs) {
      Task& read = run.tasks[input];
      read.readers.push_back(i);
      ++read.open_readers;
      task.depth = std::max(task.depth, read.depth + 1);
      // A table that is absent again doesn't come back.
      possible = possible && (read.resident || !(read.succeeded || read.state == State::kFinished));
    }
    for (const size_t need : needs) {
      Task& needed = run.tasks[need];
      needed.followers.push_back(i);
      if (needed.succeeded) continue;
      ++task.waiting_for;
      possible = possible && needed.state != State::kFinished;
    }
    if (run.cancelled) {
      Finish({id, i}, ModelStatus::kCancelled, Reason::kCancelled);
    } else if (!possible) {
      Finish({id, i}, ModelStatus::kSkipped, Reason::kInputFailed);
    } else if (task.waiting_for == 0) {
      MakeReady(run, i);
    }
  }
}

int Core::Slots() const {
  int slots = slots_;
  for (const auto& [id, run] : runs_) slots = std::max(slots, run.jobs);
  return slots;
}

void Core::StartReady() {
  const int slots = Slots();
  while (running_ < slots) {
    Run* best = nullptr;
    RunId best_id = 0;
    for (auto& [id, run] : runs_) {
      if (run.ready.empty() || run.running >= run.jobs) continue;
      if (best != nullptr &&
          std::pair(run.running, run.served) >= std::pair(best->running, best->served)) {
        continue;
      }
      best = &run;
      best_id = id;
    }
    if (best == nullptr) return;
    StartBest(best_id, *best);
  }
}

void Core::StartBest(RunId id, Run& run) {
  const size_t index = std::get<2>(*run.ready.begin());
  run.ready.erase(run.ready.begin());
  Task& task = run.tasks[index];
  task.state = State::kRunning;
  ++task.attempt;
  ++run.running;
  ++running_;
  run.served = ++served_;
  Decide(Decision::Kind::kStart, {id, index},
         task.attempt > 1 ? Reason::kLost : Reason::kInputsThere);
  decisions_.back().attempt = task.attempt;
}

void Core::MakeReady(Run& run, size_t index) {
  Task& task = run.tasks[index];
  task.state = State::kReady;
  task.rank = RankOf(run, index);
  run.ready.insert(task.rank);
}

Core::Rank Core::RankOf(const Run& run, size_t index) const {
  const Task& task = run.tasks[index];
  int64_t freed_bytes = 0;
  for (const size_t input : task.spec.inputs) {
    if (run.tasks[input].open_readers == 1) freed_bytes += run.tasks[input].table_bytes;
  }
  return {-freed_bytes, -task.depth, index};
}

// The last reader of a table frees it, which makes starting that reader better.
void Core::Rerank(Run& run, const Task& input) {
  for (const size_t reader : input.readers) {
    Task& task = run.tasks[reader];
    if (task.state != State::kReady) continue;
    run.ready.erase(task.rank);
    MakeReady(run, reader);
  }
}

void Core::Publish(TaskId id, Task& task, const std::vector<SegmentBytes>& segments) {
  task.resident = true;
  for (const SegmentBytes& segment : segments) {
    ledger_.Hold({Holder::Kind::kTable, id}, segment);
  }
  if (task.spec.kept) {
    for (const SegmentBytes& segment : segments) {
      ledger_.Hold({Holder::Kind::kResult, id}, segment);
    }
  }
  // Nothing of a kept table, which stays.
  task.table_bytes = ledger_.Exclusive({Holder::Kind::kTable, id});
}

void Core::Retry(TaskId id) {
  Run& run = runs_.at(id.run);
  FreeSlot(run, run.tasks[id.index]);
  MakeReady(run, id.index);
}

void Core::Stop(TaskId id, Task& task, ModelStatus status, Reason reason) {
  task.state = State::kStopping;
  task.stop_status = status;
  task.stop_reason = reason;
  ClearDeadline(id, task);
  Decide(Decision::Kind::kStop, id, reason);
  decisions_.back().attempt = task.attempt;
}

void Core::Finish(TaskId id, ModelStatus status, Reason reason) {
  Run& run = runs_.at(id.run);
  Task& task = run.tasks[id.index];
  const bool left = task.state == State::kLeaving;
  FreeSlot(run, task);
  if (task.state == State::kReady) run.ready.erase(task.rank);
  task.state = State::kFinished;
  --run.unfinished;
  touched_.insert(id.run);
  Decide(Decision::Kind::kFinish, id, reason);
  decisions_.back().status = status;
  if (left) return;
  if (status == ModelStatus::kSuccess) Succeed(run, task);
  ReleaseInputs(id);
}

void Core::ReleaseInputs(TaskId reader) {
  Run& run = runs_.at(reader.run);
  for (const size_t input : run.tasks[reader.index].spec.inputs) {
    Task& read = run.tasks[input];
    if (--read.open_readers == 1) Rerank(run, read);
    ReleaseIfUnread({reader.run, input});
  }
}

void Core::FreeSlot(Run& run, const Task& task) {
  if (task.state != State::kRunning && task.state != State::kStopping) return;
  --run.running;
  --running_;
}

void Core::Succeed(Run& run, Task& task) {
  task.succeeded = true;
  for (const size_t follower : task.followers) {
    Task& next = run.tasks[follower];
    if (--next.waiting_for == 0 && next.state == State::kWaiting) MakeReady(run, follower);
  }
}

void Core::SkipFollowers(TaskId id) {
  // None waits in a cancelled run.
  Run& run = runs_.at(id.run);
  std::vector<size_t> failed = {id.index};
  while (!failed.empty()) {
    const size_t next = failed.back();
    failed.pop_back();
    for (const size_t follower : run.tasks[next].followers) {
      if (run.tasks[follower].state != State::kWaiting) continue;
      Finish({id.run, follower}, ModelStatus::kSkipped, Reason::kInputFailed);
      failed.push_back(follower);
    }
  }
}

void Core::ReleaseIfUnread(TaskId id) {
  Task& task = runs_.at(id.run).tasks[id.index];
  if (!task.resident || task.open_readers > 0) return;
  task.resident = false;
  Decide(Decision::Kind::kRelease, id, Reason::kUnread);
  Free({Holder::Kind::kTable, id});
}

void Core::Free(const Holder& holder) {
  for (const SegmentId segment : ledger_.Release(holder)) {
    Decide(Decision::Kind::kFree, holder.task, Reason::kUnread);
    decisions_.back().segment = segment;
  }
  for (Remainder& remainder : ledger_.TakeRemainders()) {
    Decide(Decision::Kind::kShrink, holder.task, Reason::kUnread);
    decisions_.back().segment = remainder.segment;
    decisions_.back().used = std::move(remainder.used);
  }
}

void Core::ClearDeadline(TaskId id, Task& task) {
  if (task.deadline) deadlines_.erase({*task.deadline, id});
  task.deadline.reset();
}

void Core::EndFinishedRuns() {
  for (const RunId id : std::exchange(touched_, {})) {
    const auto run = runs_.find(id);
    if (run == runs_.end() || run->second.unfinished > 0) continue;
    runs_.erase(run);
    Decide(Decision::Kind::kEndRun, {id, 0}, Reason::kAllEnded);
  }
}

void Core::Decide(Decision::Kind kind, TaskId task, Reason reason) {
  Decision decision;
  decision.kind = kind;
  decision.task = task;
  decision.reason = reason;
  decisions_.push_back(decision);
}

}  // namespace zerrow::resource
