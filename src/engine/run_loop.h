// One run, from reading the project to the report: performs what the scheduler decides.
//
// Everything happens on the calling thread's loop, except that outputs are checked and trimmed on
// the loop's second thread. Use once. Whatever way it ends, its destructor ends all processes and
// gives back their memory; if the engine is killed the kernel does.
#pragma once

#include <arrow/result.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/answer.h"
#include "engine/engine.h"
#include "engine/event_loop.h"
#include "engine/oom_kills.h"
#include "engine/plan.h"
#include "engine/publish_output.h"
#include "engine/scheduler.h"
#include "engine/task_message.h"
#include "engine/worker_pool.h"
#include "sandbox/memory_sampler.h"
#include "shm/shared_memory.h"

namespace zerrow::engine {

struct RunSettings {
  RunOptions options;                        // with an absolute project_dir and output_dir
  BackendKind backend = BackendKind::kCopy;  // the one to use
  ZygoteOptions zygote;
  std::chrono::milliseconds start_timeout{};
  std::chrono::milliseconds import_timeout{};
  std::chrono::milliseconds exit_timeout{};
  bool plan_only = false;
};

class RunLoop {
 public:
  /// `memory` is null for backends that copy. All references outlive this.
  RunLoop(RunSettings settings, std::shared_ptr<shm::SharedMemory> memory, RunObserver& observer,
          const CancelToken& cancel);
  ~RunLoop();

  /// IOError: the zygote doesn't start or dies before the project is read; a system call.
  arrow::Result<RunResult> Run();
  /// The same up to the plan.
  arrow::Result<Explanation> Explain();

 private:
  using Clock = std::chrono::steady_clock;

  /// What one scheduler node is: a node of the plan, or something to do with its table.
  struct Task {
    enum class Kind { kNode, kPreview, kExport };
    Kind kind = Kind::kNode;
    size_t node = 0;
    std::string path;  // of an export
  };
  /// A task's process, from start until its output is published.
  struct Running {
    std::optional<WorkerId> worker;  // nullopt: it is gone, its output is being published
    uint64_t broker_id = 0;          // 0: it has no chunks
    SegmentId segment = 0;           // for what it moves itself; 0: that isn't asked for
    pid_t pid = 0;
    double started = 0;
    std::optional<double> killed_at;
  };

  arrow::Status Loop();
  void StopAll(arrow::Status status);
  void CheckTime();
  void StopOverstaying();
  double Now() const;
  double NextTime() const;

  // Reading the project (read_project.cc).
  void StartDiscovery();
  void OnDiscovered(WorkerEnd end);
  void OnDescription(const nlohmann::json& value);
  void FailDiscovery(RunError error);
  void CheckDiscoveryTime();

  // Running the plan.
  void StartPlan();
  std::vector<Task> MakeTasks() const;
  SchedulerNode NodeFor(const Task& task) const;
  void Perform(const std::vector<Decision>& decisions);
  void StartTask(size_t index);
  TaskMessage MessageFor(const Task& task) const;
  arrow::Status Launch(size_t index, Running& running);
  void StopTask(size_t index);
  void FinishTask(size_t index, ModelStatus status);
  void OnTaskEnded(size_t index, WorkerEnd end);
  void OnOutput(size_t index, OutputAnswer output);
  void OnPublished(size_t index, arrow::Result<TablePtr> table);
  void OnValue(size_t index, const nlohmann::json& value);
  void OnFailed(size_t index, Failure failure);
  void EndTask(size_t index, ModelStatus status);

  // The report (run_report.cc).
  void InitReport();
  void NoteError(size_t index, RunError error);
  arrow::Status NotePreview(size_t node, const nlohmann::json& value);
  bool IsKept(const PlanNode& node) const;
  RunResult Finish();

  std::vector<shm::GrantedChunk> TakeChunks(Running& running);
  void GiveBack(std::vector<shm::GrantedChunk> chunks);
  void OnReady(const ZygoteInfo& info);
  void OnCancel();
  void OnZygoteLost(const std::string& why);
  int64_t SegmentBytes() const;

  const RunSettings settings_;
  const std::shared_ptr<shm::SharedMemory> memory_;
  RunObserver& observer_;
  const CancelToken& cancel_;
  const Clock::time_point began_ = Clock::now();

  sandbox::MemorySampler sampler_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<WorkerPool> workers_;  // after the loop that it uses
  std::optional<EventLoop::WatchId> cancel_watch_;

  std::optional<double> ready_at_;  // of the zygote
  const int64_t oom_kills_before_ = CountOomKills();
  bool cancelled_ = false;
  bool done_ = false;
  arrow::Status fatal_;  // the engine's own failure
  std::optional<WorkerId> discovery_;
  std::string importing_;  // the file that discovery imports now
  bool import_timed_out_ = false;
  bool discovery_overstayed_ = false;
  std::vector<RunError> plan_errors_;

  Plan plan_;
  TaskMessages messages_;
  std::vector<Task> tasks_;
  std::optional<Scheduler> scheduler_;
  std::map<size_t, Running> running_;  // by task
  std::vector<TablePtr> tables_;       // by plan node; null: not there, or released
  RunResult result_;
};

}  // namespace zerrow::engine
