#include "engine/live_performer.h"

#include <utility>

#include "base/exceptions.h"
#include "engine/task_message.h"
#include "shm/kernelzero.h"

namespace zerrow::engine {

using arrow::Status;
using nlohmann::json;
using resource::RunId;
using resource::TaskId;

namespace {

Outcome FailedOutcome(std::string message) {
  Outcome outcome;
  outcome.what.emplace<Failure>().error.message = std::move(message);
  return outcome;
}

Failure NotPublished(const Status& why) {
  Failure failure;
  failure.error.message = "its output can't be published: " + why.message();
  return failure;
}

void NoteExit(const PublishedTable& table, Outcome& outcome) {
  outcome.exit_cpu_s = outcome.cpu_s - table.answered_cpu_s;
}

const PlanNode* SourceOf(TaskId id, const Run& run) {
  const RunTask& task = run.task(id.index);
  if (task.kind != RunTask::Kind::kNode) return nullptr;
  const PlanNode& node = run.plan().nodes[task.node];
  return node.kind == ModelKind::kSource ? &node : nullptr;
}

}  // namespace

LivePerformer::LivePerformer(EventLoop& loop, shm::SegmentStore& store, Options options)
    : loop_(loop),
      store_(store),
      options_(std::move(options)),
      sampler_(
          sandbox::MemorySampler::Make([this] { return TableBytes() + options_.spare_bytes(); })),
      scans_(loop, store,
             {options_.cache,
              [this](const resource::SegmentBytes& segment) { dispatcher_->OnCached(segment); },
              [this](SegmentId segment) { dispatcher_->OnUncached(segment); }}),
      zygotes_(loop,
               {options_.idle, options_.now, [this](pid_t pid) { sampler_.AddProcess(pid); }}) {
  const resource::Budget& budget = options_.budget;
  if (budget.limited()) sampler_.LimitTo(budget.limit_bytes, budget.reserve_bytes / 2);
}

LivePerformer::~LivePerformer() = default;

void LivePerformer::Start(TaskId task, int number, const Run& run) {
  Activate(task.run, run);
  const RunTask& what = run.task(task.index);
  Attempt& attempt = attempts_[task] = {};
  attempt.number = number;
  attempt.times_full = sampler_.TimesFull();
  attempt.oom_kills = CountOomKills();
  attempt.kind = what.kind;
  if (what.kind == RunTask::Kind::kEnvironment) attempt.scratch = ScratchFor(task, number, run);
  attempt.has_table = what.kind == RunTask::Kind::kNode && run.plan().nodes[what.node].has_table();
  if (SourceOf(task, run) != nullptr) return StartScan(task, run);
  LaunchOrFail(task, nullptr);
}

void LivePerformer::StartScan(TaskId task, const Run& run) {
  attempts_.at(task).scanning = true;
  const PlanNode& node = *SourceOf(task, run);
  Scans::Handlers handlers;
  handlers.on_missing = [this, task](const Scan& scan) { LaunchOrFail(task, &scan); };
  handlers.on_table = [this, task](arrow::Result<TablePtr> table) {
    OnScanned(task, std::move(table));
  };
  scans_.Begin(task, std::make_shared<Scan>(node.source, node.reads, run.request().options.cache),
               std::move(handlers));
}

void LivePerformer::LaunchOrFail(TaskId task, const Scan* scan) {
  Attempt& attempt = attempts_.at(task);
  ActiveRun& active = runs_.at(task.run);
  const Status launched = Launch(task, attempt, active, scan);
  if (launched.ok()) return ForkAhead(task, attempt, active);
  if (attempt.kind == RunTask::Kind::kDiscover) {
    Outcome outcome;
    outcome.what = launched;
    return TellLater(task, std::move(outcome));
  }
  if (std::exchange(attempt.scanning, false)) scans_.End(task);
  TellLater(task, FailedOutcome("its process can't be started: " + launched.message()));
}

Status LivePerformer::Launch(TaskId task, Attempt& attempt, ActiveRun& active, const Scan* scan) {
  ARROW_ASSIGN_OR_RAISE(attempt.pool, zygotes_.For(ZygoteFor(task, active)));
  ARROW_ASSIGN_OR_RAISE(TaskMessage message,
                        MessageFor(*active.run, task.index, store_, attempt.inputs));
  if (scan != nullptr) ARROW_RETURN_NOT_OK(scan->Describe(message));
  if (attempt.kind == RunTask::Kind::kEnvironment) message.body["scratch"] = attempt.scratch;
  base::UniqueFd broker;
  if (attempt.has_table && scan == nullptr) {
    ARROW_ASSIGN_OR_RAISE(attempt.grant, active.backend->MakeGrant());
    attempt.grant->Describe(message.body);
    broker = attempt.grant->TakeSocket();
  }
  if (broker.valid()) {
    message.body["broker"] = message.fds.size();
    message.fds.push_back(broker.get());
  }
  ARROW_ASSIGN_OR_RAISE(attempt.worker,
                        attempt.pool->Start(message.body, message.fds, HandlersFor(task),
                                            ImportFor(task, *active.run), message.terminal));
  if (active.paused) attempt.pool->Pause(*attempt.worker, true);
  return Status::OK();
}

WorkerHandlers LivePerformer::HandlersFor(TaskId task) {
  WorkerHandlers handlers;
  handlers.on_forked = [this, task](pid_t pid) {
    Attempt& attempt = attempts_.at(task);
    NoteForked(attempt, pid);
    WarnWithoutShim(task);
    dispatcher_->OnRunning(task, attempt.number);
  };
  handlers.on_line = [this, task](int stream, std::string_view line) {
    dispatcher_->OnLine(task, stream, line);
  };
  const RunTask::Kind kind = attempts_.at(task).kind;
  if (kind == RunTask::Kind::kPreview) {
    handlers.max_answer_bytes = kMaxPreviewBytes;
    handlers.answer_limits = {};
  }
  if (attempts_.at(task).scanning) {
    handlers.max_answer_bytes = kMaxDescriptionBytes;
    handlers.answer_limits = {};
    handlers.on_decoded = [this, task](base::Message decoded) {
      scans_.OnDecoded(task, std::move(decoded));
    };
  }
  if (kind == RunTask::Kind::kDiscover) {
    handlers.max_answer_bytes = kMaxDescriptionBytes;
    handlers.answer_limits = {};
    handlers.on_importing = [this, task](std::string file) {
      dispatcher_->OnImporting(task.run, std::move(file));
    };
  }
  handlers.on_left = [this, task](base::Message answer) { OnWorkerLeft(task, std::move(answer)); };
  handlers.on_ended = [this, task](WorkerEnd end) { OnWorkerEnded(task, std::move(end)); };
  return handlers;
}

void LivePerformer::WarnWithoutShim(TaskId task) {
  ActiveRun& active = runs_.at(task.run);
  const auto& zygote = attempts_.at(task).pool->ready();
  if (active.warned || active.zygote.shim_path.empty() || !zygote || zygote->shim) return;
  active.warned = true;
  dispatcher_->OnLine({task.run, 0}, 2,
                      "warning: the allocator shim isn't loaded in the workers' Python, so that "
                      "outputs are copied");
}

void LivePerformer::Stop(TaskId task, int number) {
  const auto attempt = attempts_.find(task);
  // One that is gone already is having its output published; that ends it.
  if (attempt == attempts_.end() || attempt->second.number != number) return;
  if (attempt->second.worker) {
    attempt->second.pool->Kill(*attempt->second.worker);
    return Discard(task, attempt->second);
  }
  if (!std::exchange(attempt->second.scanning, false)) return;
  scans_.End(task);
  TellLater(task, FailedOutcome("it was stopped"));
}

void LivePerformer::Free(SegmentId segment) {
  options_.on_free(segment);
  store_.Free(segment);
}

void LivePerformer::Shrink(SegmentId id, std::vector<ByteRange> used) {
  struct Job {
    std::shared_ptr<const shm::Segment> segment;  // so that it isn't another's meanwhile
    std::vector<ByteRange> used;
  };
  auto job = std::make_shared<Job>(Job{store_.Find(id), std::move(used)});
  if (job->segment == nullptr) return;
  loop_.Post(
      EventLoop::Lane::kMemory,
      // Where it can't be done all stays as it is.
      [job] { [[maybe_unused]] const auto freed = job->segment->Discard(job->used); },
      [this, id, job] { store_.Measure(id); });
}

std::shared_ptr<const ResultTable> LivePerformer::Hand(const TablePtr& table,
                                                       std::function<void()> on_drop) {
  ResultTable::Segments segments;
  for (const auto& segment : table->AllSegments()) {
    auto in_memory = store_.Find(segment.id);
    auto copy = in_memory == nullptr ? store_.Copy(segment.id) : nullptr;
    segments.emplace(segment.id, ResultTable::Held{std::move(in_memory), std::move(copy)});
  }
  return std::make_shared<const ResultTable>(table, std::move(segments), std::move(on_drop));
}

void LivePerformer::Pause(RunId run, bool paused) {
  const auto active = runs_.find(run);
  if (active == runs_.end()) return;
  active->second.paused = paused;
  for (auto attempt = attempts_.lower_bound({run, 0});
       attempt != attempts_.end() && attempt->first.run == run; ++attempt) {
    if (attempt->second.worker) attempt->second.pool->Pause(*attempt->second.worker, paused);
  }
}

RunUse LivePerformer::EndRun(RunId run) {
  sampler_.Sample();
  zygotes_.EndRun(run);
  RunUse use{.peak_memory_bytes = sampler_.current_bytes()};
  auto active = runs_.extract(run);
  if (active.empty()) return use;
  use.peak_memory_bytes = std::max(use.peak_memory_bytes, active.mapped().peak_bytes);
  if (const auto& before = active.mapped().kernelzero) {
    use.kernelzero = shm::KernelZeroCounters();
    for (const auto& [name, count] : *before) (*use.kernelzero)[name] -= count;
  }
  return use;
}

struct LivePerformer::Publishing {
  OutputAnswer output;
  Segments inputs;
  std::shared_ptr<Grant> grant;
  bool settled = false;
  arrow::Result<Publication> published = Status::UnknownError("not published");

  void Publish() {
    published = base::CatchExceptions(
        [this] { return grant->Publish(std::move(output), std::move(inputs)); });
    grant.reset();
  }
};

// Its exit takes longer than all else between its function's return and the call of the next one.
void LivePerformer::OnWorkerLeft(TaskId task, base::Message message) {
  Attempt& attempt = attempts_.at(task);
  WorkerEnd end;
  end.message = std::move(message);
  Answer answer = ReadAnswer(std::move(end));
  auto* output = std::get_if<OutputAnswer>(&answer);
  if (output == nullptr || !attempt.grant) {
    attempt.answer = std::move(answer);
    return;
  }
  attempt.publishing = true;
  auto job = std::make_shared<Publishing>();
  job->output = std::move(*output);
  job->inputs = attempt.inputs;
  job->grant = attempt.grant;
  loop_.Post(
      EventLoop::Lane::kMemory,
      [job] {
        job->settled = job->grant->IsSettled(job->output);
        if (job->settled) job->Publish();
      },
      [this, task, job] { OnTriedToPublish(task, *job); });
}

void LivePerformer::OnTriedToPublish(TaskId task, Publishing& job) {
  Attempt& attempt = attempts_.at(task);
  attempt.publishing = false;
  if (job.settled) {
    attempt.grant.reset();
    attempt.inputs.clear();
    const bool wanted = dispatcher_->Wants(task, attempt.number);
    auto table = wanted ? Store(std::move(job.published)) : Status::Cancelled("it was stopped");
    if (table.ok()) {
      attempt.published = *table;
      // Should it not exit by itself: it has no slot any more.
      if (attempt.worker) attempt.pool->Kill(*attempt.worker);
      dispatcher_->OnPublished(task, attempt.number, *table);
    } else {
      attempt.answer = NotPublished(table.status());
    }
  } else if (!attempt.answer) {
    attempt.answer = std::move(job.output);
  }
  if (attempt.ended) Conclude(task);
}

void LivePerformer::OnWorkerEnded(TaskId task, WorkerEnd end) {
  Attempt& attempt = attempts_.at(task);
  attempt.worker.reset();
  attempt.zygote_lost = end.lost;
  attempt.broken = !end.error.empty();
  const bool starved = !attempt.starved.empty();
  if (starved) end.error = attempt.starved;
  Outcome& outcome = attempt.ended.emplace();
  outcome.lost = end.lost && end.was_ready && !starved;
  outcome.cpu_s = end.cpu_s;
  outcome.exit_s = end.exit_s;
  outcome.charged_peak_bytes = attempt.peak_bytes;
  outcome.peak_memory_bytes = attempt.pid > 0 ? sampler_.RemoveProcess(attempt.pid) : 0;
  // It may have lived too shortly to be sampled.
  if (outcome.peak_memory_bytes == 0) outcome.peak_memory_bytes = end.max_rss_bytes;
  if (end.lost && attempt.kind == RunTask::Kind::kDiscover) {
    outcome.for_memory = outcome.lost && sampler_.TimesFull() > attempt.times_full;
    outcome.what = Status::IOError(end.error);
    return TellLater(task, std::move(outcome));
  }
  if (!end.left || !end.error.empty()) attempt.answer = ReadAnswer(std::move(end));
  if (!attempt.publishing) Conclude(task);
}

void LivePerformer::Conclude(TaskId task) {
  Attempt& attempt = attempts_.at(task);
  if (attempt.scanning) {
    if (auto* value = std::get_if<ValueAnswer>(&*attempt.answer)) {
      return scans_.Finish(task, std::move(value->value));
    }
    attempt.scanning = false;
    scans_.End(task);
  }
  Outcome outcome = std::move(*attempt.ended);
  if (attempt.published) {
    outcome.lost = false;
    NoteExit(*attempt.published, outcome);
    outcome.what = std::move(attempt.published);
  } else if (auto* output = std::get_if<OutputAnswer>(&*attempt.answer)) {
    return OnOutput(task, std::move(outcome), std::move(*output));
  } else if (auto* value = std::get_if<ValueAnswer>(&*attempt.answer)) {
    if (attempt.kind == RunTask::Kind::kDiscover) {
      return OnDescribed(task, std::move(outcome), std::move(value->value));
    }
    if (attempt.kind == RunTask::Kind::kEnvironment) {
      outcome.what = HoldEnvironment(task.run, std::move(value->value));
    } else {
      outcome.what = std::move(value->value);
    }
  } else {
    auto failure = std::move(std::get<Failure>(*attempt.answer));
    NoteShortage(attempt, failure, outcome);
    outcome.what = std::move(failure);
  }
  // Not from inside the end of a whole zygote: the next task would look for a new one.
  attempt.zygote_lost ? TellLater(task, std::move(outcome)) : Tell(task, std::move(outcome));
}

void LivePerformer::OnDescribed(TaskId task, Outcome outcome, json value) {
  struct Job {
    Outcome outcome;
    json value;
    RunOptions options;
  };
  auto job = std::make_shared<Job>(
      Job{std::move(outcome), std::move(value), runs_.at(task.run).run->request().options});
  loop_.Post(
      EventLoop::Lane::kText,
      [job] {
        const Status planned = base::CatchExceptions([&]() -> Status {
          ARROW_ASSIGN_OR_RAISE(const auto description, ParseDescription(job->value));
          job->outcome.what = MakePlan(description, job->options);
          return Status::OK();
        });
        if (!planned.ok()) job->outcome.what = FailedOutcome(planned.message()).what;
        job->value = nullptr;
      },
      [this, task, job] { Tell(task, std::move(job->outcome)); });
}

void LivePerformer::OnOutput(TaskId task, Outcome outcome, OutputAnswer output) {
  Attempt& attempt = attempts_.at(task);
  if (!attempt.grant || attempt.discarding) {
    outcome.what = FailedOutcome(attempt.discarding
                                     ? "it was stopped"
                                     : "its worker answered with a table where none was asked for")
                       .what;
    return Tell(task, std::move(outcome));
  }
  auto job = std::make_shared<Publishing>();
  job->output = std::move(output);
  job->inputs = std::move(attempt.inputs);
  job->grant = std::move(attempt.grant);
  auto held = std::make_shared<Outcome>(std::move(outcome));
  loop_.Post(
      EventLoop::Lane::kMemory, [job] { job->Publish(); },
      [this, task, job, held] {
        auto table = Store(std::move(job->published));
        if (table.ok()) {
          NoteExit(**table, *held);
          held->what = std::move(*table);
        } else {
          held->what = NotPublished(table.status());
        }
        Tell(task, std::move(*held));
      });
}

void LivePerformer::OnScanned(TaskId task, arrow::Result<TablePtr> table) {
  Attempt& attempt = attempts_.at(task);
  attempt.scanning = false;
  Outcome outcome;
  if (attempt.ended) outcome = std::move(*attempt.ended);
  outcome.lost = false;
  if (table.ok()) {
    outcome.what = *std::move(table);
  } else {
    const std::string& name = SourceOf(task, *runs_.at(task.run).run)->name;
    outcome.what =
        FailedOutcome("source '" + name + "' can't be read: " + table.status().message()).what;
  }
  Tell(task, std::move(outcome));
}

arrow::Result<TablePtr> LivePerformer::Store(arrow::Result<Publication> published) {
  ARROW_ASSIGN_OR_RAISE(Publication publication, std::move(published));
  for (auto& segment : publication.segments) store_.Add(std::move(segment));
  return std::move(publication.table);
}

void LivePerformer::Tell(TaskId task, Outcome outcome) {
  const auto attempt = attempts_.extract(task);
  RemoveScratch(attempt.mapped().scratch);
  dispatcher_->OnEnded(task, attempt.mapped().number, std::move(outcome));
}

void LivePerformer::TellLater(TaskId task, Outcome outcome) {
  auto held = std::make_shared<Outcome>(std::move(outcome));
  loop_.Call([this, task, held] {
    options_.check_cancelled();
    Tell(task, std::move(*held));
  });
}

void LivePerformer::OnTime() {
  zygotes_.OnTime();
  sampler_.Sample();
  EndStarved();
  for (auto& [id, active] : runs_) {
    active.peak_bytes = std::max(active.peak_bytes, sampler_.current_bytes());
  }
}

std::vector<pid_t> LivePerformer::WorkerPids() const {
  std::vector<pid_t> pids;
  for (const auto& [task, attempt] : attempts_) {
    if (attempt.worker && attempt.pid > 0) pids.push_back(attempt.pid);
  }
  return pids;
}

int64_t LivePerformer::TableBytes() const {
  int64_t bytes = store_.bytes() + scans_.DecodedBytes();
  for (const auto& [task, attempt] : attempts_) {
    if (attempt.grant) bytes += attempt.grant->BackedBytes();
  }
  return bytes;
}

}  // namespace zerrow::engine
