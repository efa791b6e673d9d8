// The processes of one run: its zygote, and a worker for each task, from start to reaped end.
//
// Speaks docs/formats/worker_protocol.md. Everything happens on the loop's thread; handlers are
// called from it. What workers send is untrusted and only taken apart by the handler. A worker's
// end is told once, after its whole process tree is gone and all that it printed was delivered.
// Destruction ends the zygote and with it every worker. If the engine is killed the kernel's
// parent-death signals do the same.
#pragma once

#include <arrow/result.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/channel.h"
#include "engine/engine.h"
#include "engine/event_loop.h"
#include "engine/line_splitter.h"
#include "engine/zygote.h"

namespace zerrow::engine {

using WorkerId = int64_t;

/// How a worker ended.
struct WorkerEnd {
  std::optional<base::Message> message;  // its answer, if it gave one
  int wait_status = 0;
  double cpu_s = 0;
  int64_t max_rss_bytes = 0;
  double exit_s = 0;     // from its answer to its end
  bool stopped = false;  // killed because its time was up; whoever did that sets it
  std::string error;     // of the machinery: it couldn't be forked, the zygote died, bad message
};

struct WorkerHandlers {
  /// The worker lives; `pid` is its number in the engine's namespace, 0 if unknown.
  std::function<void(pid_t pid)> on_forked;
  std::function<void(int stream, std::string_view line)> on_line;
  /// The worker begins to import the project's `file`; only of discovery.
  std::function<void(std::string file)> on_importing;
  std::function<void(WorkerEnd end)> on_ended;
};

class WorkerPool {
 public:
  /// Starts the zygote and watches it. `on_ready` is called once it has said so, `on_lost` once
  /// if it dies or misbehaves, after the end of each worker was told.
  static arrow::Result<std::unique_ptr<WorkerPool>> Make(
      EventLoop& loop, const ZygoteOptions& options,
      std::function<void(const ZygoteInfo&)> on_ready,
      std::function<void(const std::string& why)> on_lost);
  ~WorkerPool();

  /// Forks a worker and hands it `task` with `task_fds` (borrowed) and, for backends with shared
  /// chunks, its end of a broker's socket. May be called before the zygote is ready. IOError if
  /// the zygote is gone.
  arrow::Result<WorkerId> Start(const nlohmann::json& task, std::span<const int> task_fds,
                                base::UniqueFd broker, WorkerHandlers handlers);

  /// Kills the worker with all its descendants; on_ended follows.
  void Kill(WorkerId id);

  /// The workers that live although they answered longer than `limit` ago.
  std::vector<WorkerId> Overstaying(std::chrono::milliseconds limit) const;

  /// Ends everything: for a zygote that doesn't do what it is told.
  void Abandon(const std::string& why) { LoseZygote(why); }

  /// The zygote is gone, and every worker with it.
  bool lost() const { return lost_; }
  pid_t zygote_pid() const { return zygote_.process.pid(); }
  /// What the zygote printed last: why it failed, if it did.
  const std::string& zygote_output() const { return zygote_output_; }

 private:
  struct Worker;

  WorkerPool(EventLoop& loop, Zygote zygote);
  enum class Taken { kMessage, kNothing, kEnd };
  arrow::Status Watch();
  arrow::Status WatchWorker(WorkerId id, Worker& worker);
  Taken TakeMessage(Worker& worker);
  void Forget(WorkerId id);
  void KillWorkersAndWait();
  void AwaitZygotesProcesses() const;
  void OnZygoteMessage();
  void OnReady(const nlohmann::json& body);
  void OnForked(WorkerId id, std::vector<base::UniqueFd> fds);
  void OnExited(WorkerId id, const nlohmann::json& body);
  void OnWorkerMessage(WorkerId id);
  void ReadOutput(Worker& worker, int stream);
  void ReadZygoteOutput();
  void LoseZygote(const std::string& why);
  void End(WorkerId id, int wait_status, double cpu_s, int64_t max_rss_bytes, std::string error);

  EventLoop& loop_;
  Zygote zygote_;
  std::string zygote_output_;
  std::vector<EventLoop::WatchId> watches_;
  std::map<WorkerId, std::unique_ptr<Worker>> workers_;
  WorkerId next_id_ = 1;
  bool ready_ = false;
  bool lost_ = false;
  std::function<void(const ZygoteInfo&)> on_ready_;
  std::function<void(const std::string&)> on_lost_;
};

}  // namespace zerrow::engine
