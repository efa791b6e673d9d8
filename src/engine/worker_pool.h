// A zygote and its workers, one for each task, from start to reaped end; a few are forked ahead of
// need and wait for their task.
//
// Speaks docs/formats/worker_protocol.md. Everything happens on the loop's thread; handlers are
// called from it; a large answer is parsed on another one. What workers send is untrusted,
// bounded before it is read, and only taken apart by the handler. A worker's end is told once,
// after its whole process tree is gone and all that it printed was delivered. Destruction ends the
// zygote and with it every worker. If the engine is killed the kernel's parent-death signals do the
// same.
#pragma once

#include <arrow/result.h>

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/channel.h"
#include "engine/event_loop.h"
#include "engine/worker.h"
#include "engine/zygote.h"
#include "resource/events.h"

namespace zerrow::engine {

using WorkerId = int64_t;

/// What a zygote says of itself once it is ready.
struct ZygoteInfo {
  std::string python_version;
  bool user_namespace = false;
  bool pid_namespace = false;
  bool mount_namespace = false;
  bool shim = false;  // the allocator shim is loaded
};

class WorkerPool {
 public:
  /// Starts the zygote and watches it. IOError.
  static arrow::Result<std::unique_ptr<WorkerPool>> Make(EventLoop& loop,
                                                         const ZygoteOptions& options);
  ~WorkerPool();

  /// Hands `task` with `task_fds` (borrowed) to a worker that waits for one, or forks it. May be
  /// called before the zygote is ready. With `terminal` it is forked, and what it prints isn't
  /// read here. IOError if the zygote is gone.
  arrow::Result<WorkerId> Start(const nlohmann::json& task, std::span<const int> task_fds,
                                WorkerHandlers handlers,
                                std::optional<RunImport> import = std::nullopt,
                                const std::optional<Terminal>& terminal = std::nullopt);

  /// Forks ahead of need, as far as it can: afterwards `count` workers or more wait for tasks that
  /// need the project of `run`, or for those that need none. Those of a run end with it.
  void ForkAhead(size_t count, std::optional<resource::RunId> run);
  /// How many wait now.
  bool IsZygoteGone() const;
  size_t CountWaiting(std::optional<resource::RunId> run) const;
  /// Ends those that wait.
  void EndWaiting();

  /// Nothing of the run is needed any more.
  void EndRun(resource::RunId run);

  /// Kills the worker with all its descendants; on_ended follows.
  void Kill(WorkerId id);

  /// Kills workers that have answered and are still there after `limit`: their end is as long as
  /// the user's code makes it, by exit handlers, threads, open files.
  void KillOverstaying(std::chrono::milliseconds limit);

  /// Ends everything: for a zygote that doesn't do what it is told.
  void Abandon(const std::string& why) { LoseZygote(why); }

  /// The zygote is gone, and every worker with it; the end of each was told.
  bool lost() const { return !lost_.empty(); }
  /// Why, with what it printed last.
  const std::string& why_lost() const { return lost_; }
  /// What the zygote says of itself; nullopt: it isn't ready yet.
  const std::optional<ZygoteInfo>& ready() const { return info_; }
  /// It has workers with a task, or forked one that has read a run's project: others of it will
  /// follow.
  bool is_needed() const;
  /// How long the zygote hasn't done what was asked of it since it was ready: forked a worker, or
  /// ended one that was killed.
  std::chrono::steady_clock::duration LongestWait() const;
  /// Leaves what the worker prints in its pipes, or takes it again.
  void Pause(WorkerId id, bool paused);

  pid_t zygote_pid() const { return zygote_.process.pid(); }

 private:
  WorkerPool(EventLoop& loop, Zygote zygote);
  arrow::Status Watch();
  arrow::Result<WorkerId> Fork(std::optional<RunImport> import,
                               const std::optional<Terminal>& terminal = std::nullopt);
  static arrow::Status Connect(Worker& worker, const std::optional<Terminal>& terminal);
  void Give(WorkerId id, Worker& worker, WorkerHandlers handlers);
  template <typename Wanted>
  void ForgetWaiting(Wanted wanted);
  arrow::Status WatchWorker(WorkerId id, Worker& worker);
  void TellEnd(WorkerHandlers handlers, WorkerEnd end, std::optional<base::UnparsedMessage> answer);
  void Forget(WorkerId id);
  void KillWorkersAndWait();
  void AwaitZygotesProcesses() const;
  void OnZygoteMessage();
  void SendRequests();
  void OnReady(const nlohmann::json& body);
  void OnForked(WorkerId id, std::vector<base::UniqueFd> fds);
  void OnExited(WorkerId id, const nlohmann::json& body);
  void OnWorkerMessage(WorkerId id);
  void ReadZygoteOutput();
  void LoseZygote(const std::string& why);
  void End(WorkerId id, int wait_status, double cpu_s, int64_t max_rss_bytes, std::string error);

  EventLoop& loop_;
  Zygote zygote_;
  std::string zygote_output_;
  std::vector<EventLoop::WatchId> watches_;
  std::map<WorkerId, std::unique_ptr<Worker>> workers_;
  WorkerId next_id_ = 1;
  // Asked for, but the zygote's socket was full: it is busy.
  std::deque<WorkerId> unsent_forks_;
  std::set<resource::RunId> runs_;  // that may have a process which has imported their project
  std::set<resource::RunId> unsent_ends_;
  std::optional<ZygoteInfo> info_;
  std::chrono::steady_clock::time_point ready_at_;
  std::string lost_;
};

}  // namespace zerrow::engine
