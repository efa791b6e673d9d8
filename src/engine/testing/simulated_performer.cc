#include "engine/testing/simulated_performer.h"

#include <algorithm>
#include <utility>

namespace zerrow::engine::testing {

using nlohmann::json;
using resource::RunId;
using resource::SegmentBytes;
using resource::TaskId;

namespace {

constexpr int kMaxAttempts = 2;
constexpr int kMaxRefused = 5;  // of others, that were refused memory

// For want of memory; what can't be read back is made again however often.
constexpr size_t kMaxRollbacks = 8;

// A number that none ever has.
constexpr int kNoAttempt = 1000;

std::string Name(TaskId task) {
  return "task " + std::to_string(task.index) + " of run " + std::to_string(task.run);
}

Failure Failed(ModelStatus status, std::string message) {
  Failure failure;
  failure.status = status;
  failure.error.message = std::move(message);
  return failure;
}

int64_t End(const ByteRange& range) { return range.offset + range.length; }

// All of the ranges lie in `whole`, which is sorted; an empty one is the whole segment.
bool Covers(const std::vector<ByteRange>& whole, const std::vector<ByteRange>& ranges) {
  if (whole.empty() || ranges.empty()) return whole.empty();
  return std::ranges::all_of(ranges, [&](const ByteRange& range) {
    return std::ranges::any_of(whole, [&](const ByteRange& all) {
      return all.offset <= range.offset && End(range) <= End(all);
    });
  });
}

}  // namespace

SimulatedPerformer::SimulatedPerformer(Agenda& agenda, Random& random, Verdict& verdict,
                                       SimulatedStore& store, SimulatedMemory* memory, Rates rates,
                                       int slots)
    : agenda_(agenda),
      random_(random),
      verdict_(verdict),
      store_(store),
      segments_(store.segments),
      memory_(memory),
      rates_(rates),
      slots_(slots),
      versions_(verdict) {}

void SimulatedPerformer::Expect(RunId run, Description project, int jobs) {
  runs_[run] = {std::move(project), jobs};
}

void SimulatedPerformer::Start(TaskId task, int number, const Run& run) {
  CheckStart(task, number, run);
  ++counts_["attempt " + std::to_string(number)];
  ++runs_.at(task.run).running;
  Attempt& attempt = attempts_[task] = {};
  attempt.number = number;
  attempt.serial = ++last_serial_;
  attempt.run = &run;
  attempt.fate = RandomFate(task, run);
  attempt.uses = InputsOf(task, run);
  attempt.versions = versions_.InputsOf(run.task(task.index), run);
  for (const auto& [segment, used] : attempt.uses) attempt.reads.insert(segment);
  attempt.lines = random_.Chance(0.3) ? random_.Below(6) : 0;
  int64_t input_bytes = 0;
  for (const SegmentId segment : attempt.reads) {
    ++segments_[segment].readers;
    input_bytes += segments_[segment].bytes;
  }
  if (memory_ != nullptr) memory_->Begin(task, number, input_bytes);
  Later(task, attempt, &SimulatedPerformer::Begin);
}

void SimulatedPerformer::CheckStart(TaskId task, int number, const Run& run) {
  const std::string name = Name(task);
  const auto active = runs_.find(task.run);
  if (active == runs_.end()) return verdict_.Expect(false, "its run is over", name);
  int slots = slots_;
  for (const auto& [id, other] : runs_) slots = std::max(slots, other.jobs);
  // What waits for its inputs to be read back has its slot already.
  most_slots_ = std::max(most_slots_, slots);
  if (memory_ != nullptr) slots = most_slots_;
  verdict_.Expect(active->second.running < active->second.jobs, "more than its run's jobs", name);
  verdict_.Expect(running() < static_cast<size_t>(slots), "more than the slots", name);
  verdict_.Expect(!attempts_.contains(task), "it runs already", name);
  verdict_.Expect(task.index == 0 || read_.contains(task.run), "of a project not read", name);
  verdict_.Expect(number == ++tried_[task], "a wrong number", name);
  // For want of memory it may be stopped, and its table be dropped, several times.
  const bool limited = memory_ != nullptr;
  const int refused = refused_[task];
  verdict_.Expect(limited || number <= kMaxAttempts + std::min(refused, kMaxRefused),
                  "tried too often", name);
  verdict_.Expect(number == 1 || lost_.erase(task) == 1 || limited, "tried again but not lost",
                  name);
  if (limited) {
    const auto rollbacks = static_cast<size_t>(dispatcher_->core().VainRollbacksOf(task));
    verdict_.Expect(rollbacks <= kMaxRollbacks + memory_->CountOf("read failed"),
                    "rolled back too often", name);
    if (rollbacks == kMaxRollbacks) ++counts_["rolled back as often as may be"];
  }
  for (const auto& [segment, used] : InputsOf(task, run)) {
    verdict_.Expect(segments_.contains(segment), "a segment that it reads is gone", name);
    verdict_.Expect(segments_[segment].readable, "what it reads isn't in memory", name);
    verdict_.Expect(Covers(segments_[segment].left, used), "a part that it reads is gone", name);
  }
  if (run.task(task.index).kind != RunTask::Kind::kExport || !run.request().options.strict) return;
  // Ends are final.
  if (std::exchange(active->second.checked, true)) return;
  for (const ModelReport& model : run.models()) {
    verdict_.Expect(model.kind != ModelKind::kExpectation || model.status == ModelStatus::kSuccess,
                    "written before a check has ended well", name);
  }
}

SimulatedPerformer::Uses SimulatedPerformer::InputsOf(TaskId task, const Run& run) {
  using enum RunTask::Kind;
  const RunTask& what = run.task(task.index);
  Uses uses;
  const auto add = [&](size_t node) {
    const TablePtr& table = run.table(node);
    verdict_.Expect(table != nullptr, "the table of an input is absent", Name(task));
    if (table == nullptr) return;
    for (const SegmentBytes& segment : table->AllSegments()) uses.emplace(segment.id, segment.used);
  };
  if (what.kind == kPreview || what.kind == kExport) add(what.node);
  if (what.kind == kNode) {
    for (const PlanInput& input : run.plan().nodes[what.node].inputs) add(input.node);
  }
  return uses;
}

SimulatedPerformer::Fate SimulatedPerformer::RandomFate(TaskId task, const Run& run) {
  const RunTask& what = run.task(task.index);
  const bool timed = what.kind == RunTask::Kind::kDiscover ||
                     (what.kind == RunTask::Kind::kNode &&
                      run.plan().nodes[what.node].model.timeout_s.has_value());
  if (timed && random_.Chance(rates_.hangs)) return Fate::kHang;
  const std::pair<double, Fate> fates[] = {{rates_.fails, Fate::kFail},
                                           {rates_.dies, Fate::kDie},
                                           {rates_.is_lost, Fate::kLost},
                                           {rates_.engine, Fate::kEngine},
                                           {rates_.answers, Fate::kWrong}};
  for (const auto& [rate, fate] : fates) {
    if (random_.Chance(rate)) return fate;
  }
  return Fate::kAnswer;
}

// What an attempt does next, unless it is gone by then.
void SimulatedPerformer::Later(TaskId task, const Attempt& attempt,
                               void (SimulatedPerformer::*what)(TaskId, Attempt&)) {
  agenda_.In(0.3 * random_.Unit(), [this, task, what, serial = attempt.serial] {
    const auto found = attempts_.find(task);
    if (found == attempts_.end() || found->second.serial != serial) return;
    const bool dies = what == &SimulatedPerformer::Die;
    const auto again = [this, task, what, serial] {
      const auto attempt = attempts_.find(task);
      if (attempt == attempts_.end() || attempt->second.serial != serial) return;
      Later(task, attempt->second, what);
    };
    if (!dies && memory_ != nullptr && memory_->Suspends(task, again)) return;
    (this->*what)(task, found->second);
  });
}

void SimulatedPerformer::Begin(TaskId task, Attempt& attempt) {
  // An end may come so soon that nobody saw it run.
  const bool unseen = attempt.fate != Fate::kHang && random_.Chance(0.05);
  if (!unseen) dispatcher_->OnRunning(task, attempt.number);
  if (random_.Chance(0.02)) dispatcher_->OnRunning(task, attempt.number);
  if (attempt.run->task(task.index).kind == RunTask::Kind::kDiscover && random_.Chance(0.8)) {
    dispatcher_->OnImporting(task.run, "models.py");
  }
  Step(task, attempt);
}

void SimulatedPerformer::Step(TaskId task, Attempt& attempt) {
  attempt.blocked = false;
  if (attempt.lines > 0) {
    // Its pipe is full, and it waits.
    if (runs_.at(task.run).paused) {
      ++counts_["blocked"];
      attempt.blocked = true;
      return;
    }
    ++counts_["line"];
    --attempt.lines;
    dispatcher_->OnLine(task, 1 + static_cast<int>(random_.Below(2)), "a line");
    return Later(task, attempt, &SimulatedPerformer::Step);
  }
  if (attempt.fate == Fate::kHang || Publish(task, attempt)) return;
  End(task, attempt.fate);
}

size_t SimulatedPerformer::running() const {
  return static_cast<size_t>(std::ranges::count_if(
      attempts_, [](const auto& attempt) { return attempt.second.table == nullptr; }));
}

// Whether its table is there before its end.
bool SimulatedPerformer::Publish(TaskId task, Attempt& attempt) {
  if (attempt.fate != Fate::kAnswer || !random_.Chance(rates_.leaves)) return false;
  if (!dispatcher_->Wants(task, attempt.number)) {
    ++counts_["published in vain"];
    return false;
  }
  const Outcome outcome = Answer(task, attempt);
  attempt.table = std::get<TablePtr>(outcome.what);
  StopReading(attempt);
  --runs_.at(task.run).running;
  Note(task, attempt, Fate::kAnswer);
  NoteVersions(task, attempt, Fate::kAnswer);
  ++counts_["published early"];
  if (memory_ != nullptr) memory_->Publish(task, *attempt.table);
  dispatcher_->OnPublished(task, attempt.number, attempt.table);
  verdict_.Expect(!dispatcher_->Wants(task, attempt.number), "published twice", Name(task));
  Later(task, attempt, &SimulatedPerformer::Leave);
  return true;
}

void SimulatedPerformer::StopReading(Attempt& attempt) {
  for (const SegmentId segment : std::exchange(attempt.reads, {})) --segments_.at(segment).readers;
  attempt.uses.clear();
}

void SimulatedPerformer::Leave(TaskId task, Attempt&) { End(task, Fate::kAnswer); }

void SimulatedPerformer::Stop(TaskId task, int number) {
  const auto found = attempts_.find(task);
  const bool there = found != attempts_.end() && found->second.number == number;
  verdict_.Expect(there && !found->second.stopped, "stopped, but it doesn't run", Name(task));
  if (!there) return;
  ++counts_["stop"];
  // What it does anyhow may come first.
  found->second.stopped = true;
  Later(task, found->second, &SimulatedPerformer::Die);
}

void SimulatedPerformer::Die(TaskId task, Attempt&) {
  End(task, random_.Chance(0.1) ? Fate::kLost : Fate::kDie);
}

void SimulatedPerformer::End(TaskId task, Fate fate) {
  Attempt attempt = std::move(attempts_.extract(task).mapped());
  if (attempt.table == nullptr) --runs_.at(task.run).running;
  StopReading(attempt);
  // Whatever becomes of the process of a table that is there.
  const bool was_published = attempt.table != nullptr;
  if (was_published) fate = Fate::kAnswer;
  Outcome outcome = OutcomeOf(task, attempt, fate);
  outcome.lost = fate == Fate::kLost;
  outcome.for_memory = outcome.lost && random_.Chance(0.5);
  if (outcome.for_memory) ++refused_[task];
  outcome.cpu_s = random_.Unit();
  if (memory_ != nullptr) {
    const auto* table = std::get_if<TablePtr>(&outcome.what);
    if (table != nullptr && attempt.table == nullptr) memory_->Publish(task, **table);
    memory_->End(task);
  }
  Note(task, attempt, fate);
  if (!was_published) NoteVersions(task, attempt, fate);
  if (random_.Chance(rates_.repeats)) Repeat(task, attempt.number, outcome);
  if (random_.Chance(rates_.repeats)) {
    Outcome of_nobody;
    of_nobody.what = std::make_shared<const PublishedTable>(MakeTable({}));
    dispatcher_->OnEnded({task.run, 1 << 20}, 1, std::move(of_nobody));
  }
  dispatcher_->OnEnded(task, attempt.number, std::move(outcome));
}

void SimulatedPerformer::Note(TaskId task, const Attempt& attempt, Fate fate) {
  const auto put = [](auto& set, const auto& item, bool in) {
    set.erase(item);
    if (in) set.insert(item);
  };
  if (fate == Fate::kAnswer) well_.insert(task);
  put(lost_, task, fate == Fate::kLost);
  if (task.index > 0) return;
  // One that was stopped failed by being late.
  put(broken_, task.run, fate == Fate::kEngine && !attempt.stopped);
  put(read_, task.run, fate == Fate::kAnswer && !attempt.stopped);
  if (attempt.stopped && fate == Fate::kAnswer) ++counts_["plan after stop"];
}

// What counts of what it has answered, which it may do although it was stopped.
void SimulatedPerformer::NoteVersions(TaskId task, const Attempt& attempt, Fate fate) {
  const RunTask& what = attempt.run->task(task.index);
  const bool writes = what.kind == RunTask::Kind::kExport;
  // Whatever is said of a file, it is there.
  if (fate != Fate::kAnswer && !(writes && fate == Fate::kWrong)) return;
  if (writes) {
    versions_.NoteFile(task.run, what.path, attempt.versions);
  }
  const resource::Core& core = dispatcher_->core();
  if (!core.Awaits(task, attempt.number) || core.RunsAgain(task)) return;
  // What was seen of a table, or written, is told though it came while the run was cancelled.
  if (core.IsStopping(task) && what.kind == RunTask::Kind::kNode) return;
  versions_.NoteAnswer(task, what, attempt.versions);
}

// News of what is over, the same or with another table.
void SimulatedPerformer::Repeat(TaskId task, int attempt, Outcome outcome) {
  if (auto* table = std::get_if<TablePtr>(&outcome.what)) {
    for (const SegmentBytes& segment : (*table)->AllSegments()) repeated_.insert(segment.id);
  }
  ++counts_["news again"];
  const bool another = random_.Chance(0.3);
  const int number = random_.Chance(0.2) ? kNoAttempt : attempt;
  agenda_.In(2 * random_.Unit(),
             [this, task, another, number, told = std::move(outcome)]() mutable {
               if (another) told.what = std::make_shared<const PublishedTable>(MakeTable({}));
               dispatcher_->OnRunning(task, number);
               dispatcher_->OnEnded(task, number, std::move(told));
             });
}

Outcome SimulatedPerformer::OutcomeOf(TaskId task, Attempt& attempt, Fate fate) {
  Outcome outcome;
  switch (fate) {
    case Fate::kFail:
      outcome.what = Failed(ModelStatus::kFailed, "it failed");
      return outcome;
    case Fate::kDie:
      outcome.what = Failed(ModelStatus::kKilled, "its process was killed");
      return outcome;
    case Fate::kLost:
      outcome.what = Failed(ModelStatus::kFailed, "its process was lost");
      return outcome;
    case Fate::kEngine:
      outcome.what = arrow::Status::IOError("no more descriptors");
      return outcome;
    case Fate::kWrong:
      // A table instead of a value, or the other way round; a number is no value of any kind.
      if (task.index == 0) {
        outcome.what = Failed(ModelStatus::kFailed, "its description is malformed");
      } else if (attempt.run->task(task.index).kind == RunTask::Kind::kNode &&
                 random_.Chance(0.5)) {
        outcome.what = json(7);
      } else if (attempt.run->task(task.index).kind == RunTask::Kind::kPreview) {
        outcome.what = json{{"columns", 1}};
      } else {
        outcome.what = json(7);
      }
      return outcome;
    case Fate::kAnswer:
    case Fate::kHang:
      return Answer(task, attempt);
  }
  return outcome;
}

Outcome SimulatedPerformer::Answer(TaskId task, Attempt& attempt) {
  const Run& run = *attempt.run;
  const RunTask& what = run.task(task.index);
  Outcome outcome;
  switch (what.kind) {
    case RunTask::Kind::kDiscover:
      outcome.what = MakePlan(runs_.at(task.run).project, run.request().options);
      break;
    case RunTask::Kind::kPreview:
      outcome.what = RandomPreview();
      break;
    case RunTask::Kind::kExport:
      outcome.what = json::object();
      break;
    case RunTask::Kind::kEnvironment:
      outcome.what = json{{"folder", "/e"}, {"python", "/e/python"}, {"package_folder", "/e/p"}};
      break;
    case RunTask::Kind::kChecks:
      verdict_.Expect(false, "a gate is started");
      break;
    case RunTask::Kind::kNode:
      if (attempt.table != nullptr) {
        outcome.what = attempt.table;
      } else if (run.plan().nodes[what.node].has_table()) {
        outcome.what = TableOf(task, attempt);
      } else {
        outcome.what = json{{"met", random_.Chance(0.8)}, {"message", "too few"}, {"line", 3}};
      }
      break;
  }
  return outcome;
}

json SimulatedPerformer::RandomPreview() {
  json preview = json::parse(R"({"columns": [["a", "int64"]], "rows": [], "total_rows": 9})");
  for (size_t i = random_.Below(3); i > 0; --i) preview["rows"].push_back(json::array({"1"}));
  return preview;
}

void SimulatedPerformer::Free(SegmentId id) {
  const auto segment = segments_.find(id);
  if (segment == segments_.end()) {
    ++counts_["freed again"];
    return verdict_.Expect(repeated_.contains(id), "a segment is freed twice");
  }
  verdict_.Expect(segment->second.readers == 0, "a segment is freed while it is read");
  verdict_.Expect(segment->second.in_hands == 0, "a segment of a result is freed");
  ++counts_["segment freed"];
  versions_.Forget(id);
  store_.Remove(segment);
}

void SimulatedPerformer::Shrink(SegmentId id, std::vector<ByteRange> used) {
  const auto segment = segments_.find(id);
  if (segment == segments_.end()) return verdict_.Expect(false, "what is gone is shrunk");
  const auto expect = [&](const Uses& uses, const char* promise) {
    const auto [begin, end] = uses.equal_range(id);
    for (auto use = begin; use != end; ++use) verdict_.Expect(Covers(used, use->second), promise);
  };
  for (const auto& [task, attempt] : attempts_) {
    expect(attempt.uses, "a part of a segment goes while it is read");
  }
  expect(in_hands_, "a part of a result goes");
  verdict_.Expect(Covers(segment->second.left, used), "what is gone is to be left");
  ++counts_["shrunk"];
  segment->second.left = std::move(used);
}

std::shared_ptr<const ResultTable> SimulatedPerformer::Hand(const TablePtr& table,
                                                            std::function<void()> on_drop) {
  for (const SegmentBytes& segment : table->AllSegments()) {
    verdict_.Expect(segments_.contains(segment.id), "a result's segment is gone");
    verdict_.Expect(Covers(segments_[segment.id].left, segment.used), "of a result a part is gone");
    ++segments_[segment.id].in_hands;
    in_hands_.emplace(segment.id, segment.used);
  }
  const auto let_go = [this, table, on_drop = std::move(on_drop)] {
    for (const SegmentBytes& segment : table->AllSegments()) {
      --segments_[segment.id].in_hands;
      TakeOutOfHands(segment.id, segment.used);
    }
    on_drop();
  };
  return std::make_shared<const ResultTable>(table, ResultTable::Segments{}, let_go);
}

void SimulatedPerformer::Pause(RunId run, bool paused) {
  const auto active = runs_.find(run);
  if (active == runs_.end()) return;
  active->second.paused = paused;
  if (paused) {
    ++counts_["pause"];
    return;
  }
  for (auto attempt = attempts_.lower_bound({run, 0});
       attempt != attempts_.end() && attempt->first.run == run; ++attempt) {
    if (!std::exchange(attempt->second.blocked, false)) continue;
    Later(attempt->first, attempt->second, &SimulatedPerformer::Step);
  }
}

RunUse SimulatedPerformer::EndRun(RunId run) {
  const auto active = runs_.extract(run);
  const auto left = attempts_.lower_bound({run, 0});
  const bool gone = left == attempts_.end() || left->first.run != run;
  verdict_.Expect(!active.empty() && gone, "a run ends while it runs");
  return {.peak_memory_bytes = store_.stored_bytes};
}

}  // namespace zerrow::engine::testing
