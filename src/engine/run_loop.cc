#include "engine/run_loop.h"

#include <algorithm>
#include <utility>

namespace zerrow::engine {

using arrow::Status;
using std::chrono::milliseconds;

namespace {

// Memory must be sampled at least every 10 ms.
constexpr milliseconds kTick{8};
// A killed worker is gone at once, unless it was writing back gigabytes; then something is broken.
constexpr double kKillPatienceSeconds = 30;

}  // namespace

RunLoop::RunLoop(RunSettings settings, std::shared_ptr<shm::SharedMemory> memory,
                 RunObserver& observer, const CancelToken& cancel)
    : settings_(std::move(settings)),
      memory_(std::move(memory)),
      observer_(observer),
      cancel_(cancel),
      sampler_(sandbox::MemorySampler::Make([this] { return SegmentBytes(); })),
      messages_(settings_.options, plan_, settings_.options.project_dir, settings_.backend) {
  InitReport();
}

RunLoop::~RunLoop() {
  if (loop_ && cancel_watch_) loop_->Unwatch(*cancel_watch_);
  workers_.reset();
  // Only now is nobody left who could write to the chunks.
  for (auto& [index, running] : running_) GiveBack(TakeChunks(running));
}

arrow::Result<RunResult> RunLoop::Run() {
  ARROW_RETURN_NOT_OK(Loop());
  return Finish();
}

arrow::Result<Explanation> RunLoop::Explain() {
  ARROW_RETURN_NOT_OK(Loop());
  return Explanation{std::move(plan_), std::move(result_.report.errors)};
}

Status RunLoop::Loop() {
  ARROW_ASSIGN_OR_RAISE(loop_, EventLoop::Make());
  ARROW_ASSIGN_OR_RAISE(cancel_watch_, loop_->Watch(cancel_.fd(), [this] { OnCancel(); }));
  ARROW_ASSIGN_OR_RAISE(
      workers_, WorkerPool::Make(
                    *loop_, settings_.zygote, [this](const ZygoteInfo& info) { OnReady(info); },
                    [this](const std::string& why) { OnZygoteLost(why); }));
  sampler_.AddProcess(workers_->zygote_pid());
  StartDiscovery();
  while (!done_) {
    const auto wait = std::chrono::duration<double>(std::max(NextTime() - Now(), 0.0));
    ARROW_RETURN_NOT_OK(loop_->RunOnce(std::min(kTick, std::chrono::ceil<milliseconds>(wait))));
    CheckTime();
    sampler_.Sample();
  }
  return fatal_;
}

double RunLoop::Now() const { return std::chrono::duration<double>(Clock::now() - began_).count(); }

// When something is due although nothing happens.
double RunLoop::NextTime() const {
  if (scheduler_) return scheduler_->next_deadline().value_or(1e9);
  return 1e9;
}

void RunLoop::CheckTime() {
  if (done_) return;
  if (memory_) memory_->pool().Tick(Clock::now());
  if (discovery_) CheckDiscoveryTime();
  StopOverstaying();
  if (!scheduler_) return;
  Perform(scheduler_->OnTime(Now()));
  for (const auto& [index, running] : running_) {
    if (!running.worker || !running.killed_at) continue;
    if (Now() - *running.killed_at < kKillPatienceSeconds) continue;
    return workers_->Abandon("it didn't end a worker that had to be killed");
  }
}

// A worker's end is as long as its user's code makes it: exit handlers, threads, open files.
void RunLoop::StopOverstaying() {
  for (const WorkerId id : workers_->Overstaying(settings_.exit_timeout)) {
    if (id == discovery_ && !std::exchange(discovery_overstayed_, true)) workers_->Kill(id);
    for (auto& [index, running] : running_) {
      if (running.worker == id && !running.killed_at) StopTask(index);
    }
  }
}

void RunLoop::OnReady(const ZygoteInfo& info) {
  ready_at_ = Now();
  if (settings_.backend != BackendKind::kMemfd || info.shim) return;
  observer_.OnOutputLine("", 2,
                         "warning: the allocator shim isn't loaded in the workers' Python, so "
                         "that outputs are copied");
}

void RunLoop::OnCancel() {
  loop_->Unwatch(*cancel_watch_);
  cancel_watch_.reset();
  cancelled_ = true;
  if (scheduler_) return Perform(scheduler_->Cancel(Now()));
  // The zygote may still be importing: nothing is lost by not waiting for it.
  done_ = true;
}

void RunLoop::OnZygoteLost(const std::string& why) {
  if (scheduler_ || done_) return;  // its workers' ends have told it
  // A terminal's Ctrl-C may reach the zygote before it has left the terminal's session.
  if (cancel_.cancelled()) return OnCancel();
  std::string text = why;
  if (!workers_->zygote_output().empty()) text += "\nIt printed:\n" + workers_->zygote_output();
  StopAll(Status::IOError(text));
}

void RunLoop::StopAll(Status status) {
  fatal_ = std::move(status);
  done_ = true;
}

std::vector<shm::GrantedChunk> RunLoop::TakeChunks(Running& running) {
  if (running.broker_id == 0) return {};
  return memory_->broker().TakeWorker(std::exchange(running.broker_id, 0));
}

// Without references all of them go back to the pool.
void RunLoop::GiveBack(std::vector<shm::GrantedChunk> chunks) {
  if (chunks.empty()) return;
  auto held = std::make_shared<std::vector<shm::GrantedChunk>>(std::move(chunks));
  loop_->Post(
      [held, memory = memory_] {
        [[maybe_unused]] const auto given = memory->Publish(std::move(*held), {});
      },
      [] {});
}

int64_t RunLoop::SegmentBytes() const {
  std::map<SegmentId, int64_t> segments;
  int64_t bytes = 0;
  for (const TablePtr& table : tables_) {
    if (!table) continue;
    bytes += table->message_bytes;
    for (const auto& segment : table->segments) {
      if (!segments.contains(segment->id())) segments[segment->id()] = segment->backed_bytes();
    }
  }
  for (const auto& [id, backed] : segments) bytes += backed;
  if (!memory_) return bytes;
  for (const auto& [index, running] : running_) {
    if (running.broker_id != 0) bytes += memory_->broker().BackedBytes(running.broker_id);
  }
  return bytes + memory_->pool().stats().free_bytes;
}

}  // namespace zerrow::engine
