// One worker as its pool knows it: its channel, what it prints, what it answered.
//
// Takes messages and lines when told that there are some and calls the handlers; the pool watches
// descriptors, knows the zygote and says when it has ended. What a worker sends is untrusted. On
// the loop's thread.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/channel.h"
#include "base/json.h"
#include "engine/event_loop.h"
#include "engine/line_splitter.h"
#include "resource/events.h"

namespace zerrow::engine {

/// The longest answers, as JSON text: of a function, where only an error's traceback is long; of a
/// preview; a project's description, of ten thousand models and more. Workers know the same limits
/// (docs/formats/worker_protocol.md).
inline constexpr int64_t kMaxAnswerBytes = 4 << 20;
inline constexpr size_t kMaxAnswerValues = 1000;  // of a function
inline constexpr int64_t kMaxPreviewBytes = 16 << 20;
inline constexpr int64_t kMaxDescriptionBytes = base::Channel::kMaxBodyBytes;

/// How a worker ended.
struct WorkerEnd {
  std::optional<base::Message> message;  // its answer, if it gave one and on_left didn't get it
  bool left = false;                     // on_left got it
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
  /// Columns that it has decoded, before its answer. Null: it may not send any; only a source may.
  std::function<void(base::Message decoded)> on_decoded;
  int64_t max_answer_bytes = kMaxAnswerBytes;
  base::JsonLimits answer_limits = {.values = kMaxAnswerValues};
  /// It has answered and says that nothing of the user's runs in its process any more and that it
  /// has let go of all memory that it was given: it is about to exit. on_ended follows. Not for a
  /// large answer.
  std::function<void(base::Message answer)> on_left;
  std::function<void(WorkerEnd end)> on_ended;
};

/// Descriptors of this process that a worker's stdin, stdout and stderr are.
struct Terminal {
  int in = 0;
  int out = 1;
  int err = 2;
};

/// For a worker that needs the project of a run: forked from a process that has imported it, where
/// there is one. `first`: it reads the project, and may leave that process behind.
struct RunImport {
  resource::RunId run = 0;
  bool first = false;

  friend bool operator==(const RunImport&, const RunImport&) = default;
};

struct Worker {
  enum class Taken { kMessage, kNothing, kEnd };
  struct Output {
    base::UniqueFd pipe;
    EventLoop::WatchId watch = 0;
    std::unique_ptr<LineSplitter> lines;
  };

  /// It waits for a task, and nobody listens to it.
  Worker(base::Channel task_channel, std::optional<RunImport> import);

  bool has_answered() const { return answer || large_answer; }
  bool waits_for(const std::optional<RunImport>& project) const {
    return waits && !killed && import == project;
  }
  Output& output(int stream) { return outputs[static_cast<size_t>(stream - 1)]; }

  void OnForked() const;
  /// kEnd: the channel is at its end, or `error` says why nothing of it is taken any more.
  Taken TakeMessage();
  /// False: the pipe is at its end.
  bool ReadOutput(int stream);
  /// It is gone: what it has sent and printed and nobody has taken yet.
  void TakeRest();
  void Kill();

  base::Channel channel;
  std::optional<RunImport> import;
  bool waits = true;  // for a task
  EventLoop::WatchId channel_watch = 0;
  std::array<Output, 2> outputs;         // 1 and 2
  std::vector<base::UniqueFd> fork_fds;  // the worker's ends, until its fork was asked for
  base::UniqueFd pidfd;                  // once forked
  WorkerHandlers handlers;
  std::optional<base::Message> answer;
  std::optional<base::UnparsedMessage> large_answer;  // instead of it
  std::chrono::steady_clock::time_point answered;
  // Since when the zygote owes something: its fork, then nothing, then its end.
  std::optional<std::chrono::steady_clock::time_point> owed_since;
  bool left = false;  // its answer went to on_left
  bool killed = false;
  bool paused = false;
  bool lost = false;  // with the process that it was forked from
  std::string error;

 private:
  void TakeParsed(base::Message message);
  void TakeLeave(base::UnparsedMessage message);

  int importing_ = 0;
};

/// nullopt: nothing there now. Empty: end of file.
std::optional<std::string_view> ReadSome(int fd, std::array<char, 64 * 1024>& buffer);

/// Kills the process if it lives.
void SendKill(const base::UniqueFd& pidfd);

}  // namespace zerrow::engine
