// One client of the engine: says who it may be, runs what it wants, one run at a time.
//
// Has a thread of its own, so that a client which doesn't read holds up nobody else. What it sends
// is untrusted. When it goes, whatever way, its run is cancelled; the tables that it was given stay
// as they are until then. Made and destroyed by the Server's thread; the rest is thread-safe.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/channel.h"
#include "engine/engine.h"
#include "engine/run_queue.h"
#include "server/protocol.h"

namespace zerrow::server {

/// What sessions share. The functions may be called from any thread.
struct SessionHost {
  std::string version;
  engine::Engine* engine = nullptr;          // outlives the sessions' threads
  std::function<nlohmann::json()> describe;  // StatusReport's document
  std::function<int64_t()> stop;             // asks the server to end; how many runs that cancels
  std::function<void()> on_ended;            // a session has ended and can be destroyed
  std::atomic<bool> stopping{false};         // no run is begun any more
};

/// What is known of a run from its news.
struct RunProgress {
  std::string project_dir;
  size_t total = 0;  // models; 0: the project is being read
  std::set<std::string> finished;
  std::set<std::string> running;
  std::chrono::steady_clock::time_point began = std::chrono::steady_clock::now();
};

class Session {
 public:
  /// `host` outlives it. `client` is the connected process, 0 if it isn't visible from here.
  /// `refusal` is why its runs aren't done; empty: nothing is known against it yet.
  Session(const SessionHost& host, base::UniqueFd socket, pid_t client, std::string refusal);
  /// Waits for its thread, which Close makes end.
  ~Session() { Join(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  bool ended() const { return ended_; }
  bool has_run() const { return running_; }
  /// The engine is going: cancels the run, whose end is still told.
  void CancelRun() const;
  /// Nothing more is told or heard.
  void Close() const;
  void Join();
  /// Of the run; null: there is none.
  nlohmann::json Describe() const;

 private:
  void Serve();
  bool Greet();
  bool Answer(const Request& request, std::vector<base::UniqueFd> fds);
  arrow::Result<std::optional<base::Message>> Receive(std::chrono::milliseconds patience);
  bool AwaitReader() const;
  bool Send(const Reply& reply, std::span<const int> fds = {});
  bool Fail(arrow::Status status) { return Send(Failed{std::move(status)}); }

  arrow::Result<engine::RunSpec> SpecOf(const Wanted& wanted,
                                        const std::vector<base::UniqueFd>& fds) const;
  bool Run(const Wanted& wanted, const std::vector<base::UniqueFd>& fds);
  bool Follow(engine::RunQueue& queue, bool plan_only);
  bool HearMeanwhile();
  bool Tell(engine::RunEvent event);
  bool TellEnd(engine::RunQueue::Done done, bool plan_only);
  bool TellTable(const std::string& model, const engine::ResultTable& table);
  void Note(const engine::RunEvent& event);

  const SessionHost& host_;
  base::Channel channel_;
  const pid_t client_;
  const base::UniqueFd client_end_;  // a pidfd; invalid: unknown
  const std::string refusal_;
  std::atomic<bool> ended_{false};
  std::atomic<bool> running_{false};     // it has a run, or is about to
  std::atomic<resource::RunId> run_{0};  // 0: none
  // Held for the client until it goes.
  std::vector<std::shared_ptr<const engine::ResultTable>> tables_;
  mutable std::mutex mutex_;  // of what follows
  std::optional<RunProgress> progress_;
  std::thread thread_;  // the last: it uses all of it
};

}  // namespace zerrow::server
