#include "engine/dispatcher.h"

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "engine/memory_log.h"
#include "engine/run_name.h"

namespace zerrow::engine {

using resource::Decision;
using resource::RunId;
using resource::TaskId;

struct Dispatcher::Entry {
  Run run;
  std::unique_ptr<RunSink> sink;
  MemoryLog memory;
  int64_t limit_bytes = resource::Budget::kUnlimited;
  std::set<size_t> restarted = {};           // tasks that haven't begun again yet
  std::map<size_t, double> expected_s = {};  // by task, as far as it is known
  // Models that run as the sink knows it: not those whose table is made once more.
  std::set<size_t> told_running = {};
  // Of these, since the sink was told last.
  std::map<size_t, int64_t> measured = {};
  resource::Time told_at = 0;
  bool has_enough = false;  // the sink
};

namespace {

constexpr resource::Time kTellMemoryEverySeconds = 1;

resource::ContentHash HashOf(const Run& run, size_t task, const PublishedTable& table) {
  return run.IsHashed(run.task(task)) ? resource::ContentHash(table.content_hash) : std::nullopt;
}

}  // namespace

Dispatcher::Dispatcher(Options options, Performer& performer)
    : options_(std::move(options)),
      performer_(performer),
      core_({options_.slots, options_.budget, options_.policy}) {}

Dispatcher::~Dispatcher() = default;

void Dispatcher::Add(RunId id, RunRequest request, std::unique_ptr<RunSink> sink,
                     const resource::Budget& budget, int priority) {
  const int jobs = request.options.jobs;
  MemoryLog memory(request.options.explain_memory, options_.now());
  auto entry =
      std::make_unique<Entry>(Entry{Run(MakeRunName(), std::move(request), options_.now()),
                                    std::move(sink), std::move(memory), budget.limit_bytes});
  auto first = entry->run.FirstTasks();
  runs_.emplace(id, std::move(entry));
  if (options_.estimate) options_.estimate(id, runs_.at(id)->run, first);
  Handle(resource::RunAdded{id, jobs, std::move(first), budget, priority});
}

void Dispatcher::Cancel(RunId run) {
  const auto found = runs_.find(run);
  if (found == runs_.end()) return;
  found->second->run.OnCancelled();
  Handle(resource::RunCancelled{run});
}

void Dispatcher::CancelAll() {
  std::vector<RunId> runs;
  for (const auto& [id, entry] : runs_) runs.push_back(id);
  for (const RunId id : runs) Cancel(id);
}

void Dispatcher::Abandon(const arrow::Status& why) {
  for (const auto& [id, entry] : std::exchange(runs_, {})) entry->sink->Done(why);
}

void Dispatcher::Resume(RunId run) {
  const auto found = runs_.find(run);
  if (found == runs_.end()) return;
  found->second->has_enough = false;
  performer_.Pause(run, false);
}

void Dispatcher::DropResult(TaskId task) { Handle(resource::ResultDropped{task}); }

void Dispatcher::OnTime() {
  Handle(resource::Tick{});
  for (const auto& [id, entry] : runs_) TellMemory(*entry, id);
}

void Dispatcher::SetBudget(resource::Scope scope, const resource::Budget& budget) {
  Handle(resource::BudgetChanged{scope, budget});
}

void Dispatcher::OnMeasured(TaskId task, int attempt, int64_t bytes) {
  const auto found = runs_.find(task.run);
  if (found != runs_.end() && found->second->told_running.contains(task.index)) {
    found->second->measured[task.index] = bytes;
  }
  Handle(resource::TaskMeasured{task, attempt, bytes});
}

void Dispatcher::TellMemory(Entry& entry, RunId run) {
  const resource::Time now = options_.now();
  if (entry.measured.empty() || entry.has_enough) return;
  if (now - entry.told_at < kTellMemoryEverySeconds) return;
  entry.told_at = now;
  MemoryMeasured measured;
  for (const auto& [task, bytes] : std::exchange(entry.measured, {})) {
    measured.models.push_back({entry.run.NameOf(task), bytes});
  }
  Offer(entry, run, std::move(measured));
}

void Dispatcher::OnRunning(TaskId task, int attempt) {
  Handle(resource::TaskRunning{task, attempt});
}

void Dispatcher::OnImporting(RunId run, std::string file) {
  const auto found = runs_.find(run);
  if (found != runs_.end()) found->second->run.OnImporting(std::move(file));
}

void Dispatcher::OnLine(TaskId task, int stream, std::string_view line) {
  const auto found = runs_.find(task.run);
  if (found == runs_.end()) return;
  Entry& entry = *found->second;
  Offer(entry, task.run, OutputLine{entry.run.NameOf(task.index), stream, std::string(line)});
}

void Dispatcher::OnPublished(TaskId task, int attempt, const TablePtr& table) {
  if (!Wants(task, attempt)) return;
  Run& run = runs_.at(task.run)->run;
  run.OnPublished(task.index, table);
  Handle(resource::TaskPublished{task, attempt, table->AllSegments(),
                                 HashOf(run, task.index, *table)});
}

void Dispatcher::OnEnded(TaskId task, int attempt, Outcome outcome) {
  resource::TaskEnded ended;
  ended.task = task;
  ended.attempt = attempt;
  ended.lost = outcome.lost;
  ended.for_memory = outcome.for_memory;
  if (const auto* table = std::get_if<TablePtr>(&outcome.what)) {
    ended.table = (*table)->AllSegments();
  }
  const auto found = runs_.find(task.run);
  if (found == runs_.end() || !core_.Awaits(task, attempt)) return Handle(ended);
  Entry& entry = *found->second;
  if (const auto* table = std::get_if<TablePtr>(&outcome.what)) {
    ended.content_hash = HashOf(entry.run, task.index, **table);
  }
  if (core_.IsLeaving(task)) {
    entry.run.OnLeft(task.index, outcome, options_.now());
    if (options_.on_taken) options_.on_taken(entry.run, task.index, outcome.charged_peak_bytes);
    return Handle(ended);
  }
  if (core_.RunsAgain(task) || entry.run.IsOutdated(task.index)) {
    Failure stopped;
    stopped.status = ModelStatus::kKilled;  // nothing to be told: it runs again
    outcome.what = std::move(stopped);
  }
  auto* planned = std::get_if<PlanResult>(&outcome.what);
  if (planned != nullptr && !core_.IsStopping(task)) {
    // Before the end of the task that they follow, or the run would end with it.
    auto tasks = entry.run.OnPlanned(std::move(*planned));
    const auto& of_project = entry.run.plan().memory_limit_bytes;
    if (of_project && !entry.run.request().options.memory_limit_bytes) {
      entry.limit_bytes = *of_project;
      Handle(resource::BudgetChanged{task.run, resource::Budget::Of(*of_project)});
    }
    if (!tasks.empty()) {
      Offer(entry, task.run, Planned{entry.run.models()});
      if (options_.estimate) options_.estimate(task.run, entry.run, tasks);
      for (size_t i = 0; i < tasks.size(); ++i) {
        const double run_s = tasks[i].expected.run_s;
        if (run_s > 0) entry.expected_s[entry.run.task_count() - tasks.size() + i] = run_s;
      }
      Handle(resource::TasksAdded{task.run, std::move(tasks)});
    }
  }
  const std::optional<int64_t> charged_peak_bytes = outcome.charged_peak_bytes;
  ended.status = entry.run.OnEnded(task.index, std::move(outcome), options_.now());
  if (options_.on_taken && ended.status == ModelStatus::kSuccess && !core_.IsStopping(task)) {
    options_.on_taken(entry.run, task.index, charged_peak_bytes);
  }
  Handle(ended);
}

void Dispatcher::OnCached(const resource::SegmentBytes& segment) {
  Handle(resource::SegmentCached{segment});
}

void Dispatcher::OnUncached(SegmentId segment) { Handle(resource::SegmentUncached{segment}); }

const Run* Dispatcher::Find(RunId run) const {
  const auto found = runs_.find(run);
  return found == runs_.end() ? nullptr : &found->second->run;
}

std::vector<Dispatcher::HeldTable> Dispatcher::LargestTables(size_t count) const {
  std::vector<HeldTable> tables;
  const resource::Ledger& ledger = core_.ledger();
  for (const auto& [id, entry] : runs_) {
    for (size_t task = 0; task < entry->run.task_count(); ++task) {
      const TaskId table = {id, task};
      if (!core_.IsResident(table)) continue;
      HeldTable held = {entry->run.name(), entry->run.NameOf(task)};
      for (const SegmentId segment : ledger.SegmentsOf({resource::Holder::Kind::kTable, table})) {
        held.bytes += ledger.BytesOf(segment);
        const bool on_disk = ledger.PlaceOf(segment) == resource::Place::kDisk;
        held.disk_bytes += on_disk ? ledger.BytesOf(segment) : 0;
      }
      tables.push_back(std::move(held));
    }
  }
  const auto last = tables.begin() + static_cast<ptrdiff_t>(std::min(count, tables.size()));
  std::ranges::partial_sort(tables, last, std::greater(), &HeldTable::bytes);
  tables.erase(last, tables.end());
  return tables;
}

void Dispatcher::Handle(const resource::Event& event) {
  for (const Decision& decision : core_.On(event, options_.now())) {
    if (MemoryLog::Concerns(decision)) Log(decision);
    Perform(decision);
  }
  LogWaiting();
}

void Dispatcher::NoteStall(double share) {
  for (const auto& [id, entry] : runs_) entry->memory.NoteStall(share, options_.now());
}

// In the log of the run that it is about or is for, or of all.
void Dispatcher::Log(const Decision& decision) {
  const auto name_of = [this](TaskId task) { return NameOf(task); };
  const resource::Time now = options_.now();
  RunId of = decision.task.run;
  if (decision.task == TaskId{} && decision.why.beneficiary) of = decision.why.beneficiary->run;
  const auto found = runs_.find(of);
  if (found != runs_.end()) return found->second->memory.Note(decision, name_of, now);
  for (const auto& [id, entry] : runs_) entry->memory.Note(decision, name_of, now);
}

void Dispatcher::LogWaiting() {
  const std::optional<TaskId> blocked = core_.blocked();
  if (blocked == waiting_) return;
  const resource::Time now = options_.now();
  if (waiting_ && runs_.contains(waiting_->run)) runs_.at(waiting_->run)->memory.EndWait(now);
  waiting_ = blocked;
  if (!blocked || !runs_.contains(blocked->run)) return;
  runs_.at(blocked->run)
      ->memory.BeginWait(NameOf(*blocked), blocked->index, core_.ExplainWait(*blocked), now);
}

void Dispatcher::Perform(const Decision& decision) {
  using enum Decision::Kind;
  switch (decision.kind) {
    case kStart:
      return Start(*runs_.at(decision.task.run), decision.task, decision.attempt);
    case kStop:
      if (decision.reason == resource::Reason::kOutdated) {
        Restart(*runs_.at(decision.task.run), decision);
      }
      return performer_.Stop(decision.task, decision.attempt);
    case kFinish:
      return Finish(*runs_.at(decision.task.run), decision);
    case kRelease:
      return runs_.at(decision.task.run)->run.OnReleased(decision.task.index);
    case kFree:
      return performer_.Free(decision.segment);
    case kShrink:
      return performer_.Shrink(decision.segment, decision.used);
    case kEndRun:
      return EndRun(decision.task.run);
    case kVary:
      return Vary(runs_.at(decision.task.run)->run, decision.task.index);
    case kRestart:
      return Restart(*runs_.at(decision.task.run), decision);
    case kFreeze:
    case kThaw:
    case kSwapOut:
    case kUnload:
    case kSwapIn:
    case kUncache:
      return PerformForMemory(decision);
  }
}

void Dispatcher::PerformForMemory(const Decision& decision) const {
  using enum Decision::Kind;
  MemoryPerformer& memory = *options_.memory;
  switch (decision.kind) {
    case kFreeze:
    case kThaw:
      return memory.Freeze(decision.task, decision.attempt, decision.kind == kFreeze);
    case kSwapOut:
      return memory.SwapOut(decision.segment);
    case kUnload:
      return memory.Unload(decision.segment);
    case kSwapIn:
      return memory.SwapIn(decision.segment);
    case kUncache:
      return memory.Uncache(decision.segment);
    default:
      return;
  }
}

std::string Dispatcher::NameOf(TaskId task) const {
  const Run* run = Find(task.run);
  return run == nullptr ? std::string() : run->NameOf(task.index);
}

void Dispatcher::Vary(Run& run, size_t task) const {
  run.OnVaried(task);
  if (options_.on_varied) options_.on_varied(run, task);
}

void Dispatcher::Restart(Entry& entry, const Decision& decision) {
  const size_t task = decision.task.index;
  entry.measured.erase(task);
  // Of one that is stopped, or hasn't ended yet, nothing but its start was told.
  if (entry.run.OnRestarted(task, decision.why.cause->index)) entry.restarted.insert(task);
}

void Dispatcher::Start(Entry& entry, TaskId task, int attempt) {
  const bool of_model = entry.run.task(task.index).kind == RunTask::Kind::kNode;
  entry.run.OnStarted(task.index, options_.now());
  const bool again = entry.restarted.erase(task.index) > 0;
  if (of_model && (attempt == 1 || again)) {
    ModelStarted started = {entry.run.NameOf(task.index)};
    const auto expected = entry.expected_s.find(task.index);
    if (expected != entry.expected_s.end()) started.expected_s = expected->second;
    entry.told_running.insert(task.index);
    Offer(entry, task.run, std::move(started));
  }
  performer_.Start(task, attempt, entry.run);
}

void Dispatcher::Finish(Entry& entry, const Decision& decision) {
  entry.told_running.erase(decision.task.index);
  entry.measured.erase(decision.task.index);
  // What failed for want of memory has no attempt that could say so.
  const auto name_of = [this](TaskId task) { return NameOf(task); };
  const std::string why =
      resource::IsAboutMemory(decision.reason) ? resource::Explain(decision, name_of) : "";
  const ModelReport* report = entry.run.OnFinished(decision.task.index, decision.status, why);
  if (report != nullptr) Offer(entry, decision.task.run, ModelFinished{*report});
}

void Dispatcher::EndRun(RunId id) {
  const std::unique_ptr<Entry> entry = std::move(runs_.extract(id).mapped());
  Run& run = entry->run;
  entry->memory.EndWait(options_.now());
  run.NoteMemory(entry->memory.waits(), std::min(entry->limit_bytes, core_.budget().limit_bytes));
  const arrow::Status status = run.Finish(options_.now(), performer_.EndRun(id));
  RunResult result;
  for (const auto& [name, task] : run.kept()) {
    // Copied into what outlives this object.
    const auto drop = [on_drop = options_.on_result_dropped, dropped = TaskId{id, task}] {
      on_drop(dropped);
    };
    result.tables.emplace(name, performer_.Hand(run.kept_table(task), drop));
  }
  if (!status.ok()) return entry->sink->Done(status);
  result.report = std::move(run.report());
  std::move(entry->memory).Report(result.report);
  result.explanation = {std::move(run.plan()), result.report.errors};
  entry->sink->Done(std::move(result));
}

void Dispatcher::Offer(Entry& entry, RunId run, RunEvent event) {
  if (entry.sink->Offer(std::move(event))) return;
  entry.has_enough = true;
  performer_.Pause(run, true);
}

}  // namespace zerrow::engine
