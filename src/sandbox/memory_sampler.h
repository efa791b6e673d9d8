// How much memory a run uses, and its peak: sampled, as the kernel's own peaks count file cache.
//
// From a cgroup of the run where one can be made, else from /proc: the sum of RssAnon of the
// run's processes and of what the caller says its segments hold. The private memory of the process
// that samples is added: all of it, whatever else lives there. (RssAnon counts what a forked
// process still shares with its parent twice, so that is the upper end.) Each process's own peak is
// RssAnon + RssShmem. Sample() is explicit: call it at least every 10 ms and at each event. One
// thread at a time. Leaves nothing behind.
#pragma once

#include <arrow/result.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "sandbox/cgroup.h"

namespace zerrow::sandbox {

/// Anonymous memory of a process that is resident; 0: it is gone.
int64_t AnonBytes(pid_t pid);

class MemorySampler {
 public:
  /// `segment_bytes`, which may be null: memory behind the run's segments and chunks now. Called
  /// by Sample(); counted as far as the cgroup doesn't.
  /// Never fails: without a cgroup it reads /proc.
  static MemorySampler Make(std::function<int64_t()> segment_bytes);
  /// Reads /proc even where a cgroup could be had.
  static MemorySampler MakeFromProc(std::function<int64_t()> segment_bytes);

  /// "cgroup v1", "cgroup v2" or "/proc", and why not a cgroup.
  const std::string& method() const { return method_; }

  /// A process of the run, as early in its life as possible. In a cgroup its later children are
  /// counted with it; /proc counts only those that were added. One that is gone already is fine,
  /// and so is 0: a process whose number isn't known.
  void AddProcess(pid_t pid);
  /// Forgets the process; returns its own peak.
  int64_t RemoveProcess(pid_t pid);

  /// The kernel is to see to it that no more than that is used, as far as the cgroup reaches: less
  /// what is charged elsewhere, which Sample() looks at again. Nothing happens without a cgroup.
  /// The last `headroom_bytes` are left for what is charged elsewhere; half of them are given while
  /// processes have waited for some time: so that somebody whom others wait for isn't held up for
  /// ever.
  void LimitTo(int64_t bytes, int64_t headroom_bytes);

  void Sample();

  /// Processes have to wait since the limit is reached.
  bool is_full() const { return is_full_; }
  /// They have had to for some time, more often than not.
  bool is_stuck() const;
  /// MemoryCgroup::TimesFull, asked now; 0 without a cgroup that has a limit.
  int64_t TimesFull() const;

  int64_t current_bytes() const { return current_bytes_; }
  int64_t peak_bytes() const { return peak_bytes_; }
  int64_t peak_bytes(pid_t pid) const;
  /// Anonymous memory of one that was added, when it was last sampled.
  int64_t anon_bytes(pid_t pid) const;
  bool has_cgroup() const { return cgroup_ != nullptr; }
  /// What the cgroup said last; zeros without one.
  const MemoryUsage& usage() const { return usage_; }
  /// How much of the last ten seconds processes waited for memory, asked now: those in a cgroup of
  /// version 2, or else any of the machine. Nullopt: the kernel doesn't say.
  std::optional<double> StalledShare() const;
  /// What this process's own cgroups leave, whoever else is in them: where that is used up the
  /// kernel kills. Nullopt: none of them has a limit.
  std::optional<int64_t> surrounding_room_bytes() const { return surrounding_room_bytes_; }

 private:
  struct Process {
    base::UniqueFd status;  // /proc/PID/status; reads nothing once the process is reaped
    int64_t anon_bytes = 0;
    int64_t peak_bytes = 0;
  };
  static void SampleProcess(Process& process);
  void SampleSurroundings();
  void LoseCgroup(const arrow::Status& reason);

  explicit MemorySampler(std::function<int64_t()> segment_bytes);
  void AdjustLimit(const MemoryUsage& usage, int64_t outside_bytes);

  std::function<int64_t()> segment_bytes_;
  std::unique_ptr<MemoryCgroup> cgroup_;
  std::unique_ptr<MemoryCgroup> lost_cgroup_;  // processes may still be in it
  std::vector<std::string> surrounding_;       // cgroups with a limit
  std::optional<int64_t> surrounding_room_bytes_;
  std::string method_;
  Process own_;
  std::map<pid_t, Process> processes_;
  std::optional<int64_t> limit_bytes_;
  int64_t cgroup_limit_bytes_ = 0;  // as it was last set; 0: not yet
  int64_t headroom_bytes_ = 0;
  MemoryUsage usage_;
  bool is_full_ = false;
  int full_samples_ = 0;  // more than others, up to twice the patience
  int64_t current_bytes_ = 0;
  int64_t peak_bytes_ = 0;
};

}  // namespace zerrow::sandbox
