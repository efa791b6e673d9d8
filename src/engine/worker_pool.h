// A zygote and its workers, one for each task, from start to reaped end.
//
// Speaks docs/formats/worker_protocol.md. Everything happens on the loop's thread; handlers are
// called from it; a large answer is parsed on its second thread. What workers send is untrusted,
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
#include "engine/line_splitter.h"
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

/// The longest answers, as JSON text: of a function, where only an error's traceback is long; of a
/// preview; a project's description, of ten thousand models and more. Workers know the same limits
/// (docs/formats/worker_protocol.md).
inline constexpr int64_t kMaxAnswerBytes = 4 << 20;
inline constexpr int64_t kMaxPreviewBytes = 16 << 20;
inline constexpr int64_t kMaxDescriptionBytes = base::Channel::kMaxBodyBytes;

/// How a worker ended.
struct WorkerEnd {
  std::optional<base::Message> message;  // its answer, if it gave one
  int wait_status = 0;
  double cpu_s = 0;
  int64_t max_rss_bytes = 0;
  double exit_s = 0;       // from its answer to its end
  bool hung = false;       // it had answered and was killed since it didn't end
  std::string error;       // of the machinery: it couldn't be forked, the zygote died, bad message
  bool lost = false;       // the process that it was forked from is gone, and the worker with it
  bool was_ready = false;  // that zygote
};

struct WorkerHandlers {
  /// The worker lives; `pid` is its number in the engine's namespace, 0 if unknown.
  std::function<void(pid_t pid)> on_forked;
  std::function<void(int stream, std::string_view line)> on_line;
  /// The worker begins to import the project's `file`. Null: it may not say so; only discovery may.
  std::function<void(std::string file)> on_importing;
  int64_t max_answer_bytes = kMaxAnswerBytes;
  std::function<void(WorkerEnd end)> on_ended;
};

/// For a worker that needs the project of a run: forked from a process that has imported it, where
/// there is one. `first`: it reads the project, and may leave that process behind.
struct RunImport {
  resource::RunId run = 0;
  bool first = false;
};

class WorkerPool {
 public:
  /// Starts the zygote and watches it. IOError.
  static arrow::Result<std::unique_ptr<WorkerPool>> Make(EventLoop& loop,
                                                         const ZygoteOptions& options);
  ~WorkerPool();

  /// Forks a worker and hands it `task` with `task_fds` (borrowed) and, for backends with shared
  /// chunks, its end of a broker's socket. May be called before the zygote is ready. IOError if
  /// the zygote is gone.
  arrow::Result<WorkerId> Start(const nlohmann::json& task, std::span<const int> task_fds,
                                base::UniqueFd broker, WorkerHandlers handlers,
                                std::optional<RunImport> import = std::nullopt);

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
  /// It has workers, or forked one that has read a run's project: others of it will follow.
  bool is_needed() const { return !workers_.empty() || !runs_.empty(); }
  /// How long the zygote hasn't done what was asked of it since it was ready: forked a worker, or
  /// ended one that was killed.
  std::chrono::steady_clock::duration LongestWait() const;
  /// Leaves what the worker prints in its pipes, or takes it again.
  void Pause(WorkerId id, bool paused);

  pid_t zygote_pid() const { return zygote_.process.pid(); }

 private:
  struct Worker;

  WorkerPool(EventLoop& loop, Zygote zygote);
  enum class Taken { kMessage, kNothing, kEnd };
  arrow::Status Watch();
  arrow::Status WatchWorker(WorkerId id, Worker& worker);
  Taken TakeMessage(Worker& worker);
  void TakeParsed(Worker& worker, base::Message message);
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
  // Asked for, but the zygote's socket was full: it is busy.
  std::deque<WorkerId> unsent_forks_;
  std::set<resource::RunId> runs_;  // that may have a process which has imported their project
  std::set<resource::RunId> unsent_ends_;
  std::optional<ZygoteInfo> info_;
  std::chrono::steady_clock::time_point ready_at_;
  std::string lost_;
};

}  // namespace zerrow::engine
