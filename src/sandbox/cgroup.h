// A memory cgroup for a run, v1 or v2: the only place in Zerrow that reads cgroups.
//
// A child (v2: or a sibling) of the cgroup that this process is in; removed again by the
// destructor, when its processes are gone, and by a janitor if this process is killed. Without
// /bin/sh an empty cgroup stays then; the next Make removes such. One thread at a time.
#pragma once

#include <arrow/result.h>
#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sandbox/janitor.h"

namespace zerrow::sandbox {

/// How a process sees its cgroups, as /proc tells it.
struct CgroupFiles {
  std::string cgroup;     // /proc/self/cgroup
  std::string mountinfo;  // /proc/self/mountinfo

  static arrow::Result<CgroupFiles> OfThisProcess();
  /// IOError: it is gone, or not to be seen from here.
  static arrow::Result<CgroupFiles> OfProcess(pid_t pid);
};

/// The memory cgroups that a process is in and that have a limit, innermost first, each as a
/// folder. Those above what is visible here are missing.
std::vector<std::string> LimitedCgroups(const CgroupFiles& files);
/// The folder of the memory cgroup that a process is in; empty: there is none.
std::string MemoryCgroupOf(const CgroupFiles& files);

/// Memory that this process can use: the machine's, or less if a memory cgroup above it has a
/// limit.
int64_t UsableMemoryBytes();

/// The least limit of the memory cgroups that a process is in. Nullopt: there is none.
std::optional<int64_t> MemoryLimitBytes(const CgroupFiles& files);

/// What is left to a cgroup that has a limit, if it gives all its cache of files up. IOError.
arrow::Result<int64_t> RoomIn(const std::string& limited_cgroup);

/// How much of the last ten seconds some process waited for memory, from 0 to 1, as a file such as
/// /proc/pressure/memory says. Nullopt: the kernel doesn't.
std::optional<double> StalledShare(const std::string& pressure_file);

/// Without the cache of files.
struct MemoryUsage {
  int64_t anon_bytes = 0;    // v1 calls it rss
  int64_t shmem_bytes = 0;   // memfds, tmpfs, shared anonymous memory
  int64_t kernel_bytes = 0;  // page tables, sockets and so on

  int64_t all_bytes() const { return anon_bytes + shmem_bytes + kernel_bytes; }
};

class MemoryCgroup {
 public:
  /// IOError with what refused: no memory controller here, or no permission.
  static arrow::Result<std::unique_ptr<MemoryCgroup>> Make();
  static arrow::Result<std::unique_ptr<MemoryCgroup>> Make(const CgroupFiles& files);
  ~MemoryCgroup();
  MemoryCgroup(const MemoryCgroup&) = delete;
  MemoryCgroup& operator=(const MemoryCgroup&) = delete;

  int version() const { return version_; }
  const std::string& path() const { return path_; }

  /// Its memory is charged here from now on, its children are born here. One that is here already
  /// costs little; moving one takes the kernel about 10 ms. IOError; Invalid: no process's number.
  arrow::Status AddProcess(pid_t pid);

  /// What is charged here now. IOError.
  arrow::Result<MemoryUsage> Usage() const;

  /// From now on the kernel lets no more than `bytes` be used here, file cache included, which it
  /// gives up for that. Who would need more waits: v1 until there is room, as nobody is killed for
  /// want of it; v2 for a while from a thirty-second below on, and is killed at `bytes`. Takes as
  /// long as the kernel needs to give cache up. IOError: it can't be that low now; no permission.
  arrow::Status Limit(int64_t bytes);
  /// Somebody waits for room.
  bool IsFull() const;
  /// How often the limit was met since the cgroup was made: cache had to be given up, somebody
  /// waited, or was refused what can't wait (a fork, a write).
  int64_t TimesFull() const;

 private:
  MemoryCgroup(int version, std::string path) : version_(version), path_(std::move(path)) {}
  bool Holds(pid_t pid) const;

  int version_;
  std::string path_;
  std::optional<Janitor> janitor_;
};

}  // namespace zerrow::sandbox
