#include "sandbox/cgroup.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/machine.h"
#include "sandbox/read_file.h"

namespace zerrow::sandbox {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kPatience{2000};
constexpr std::string_view kPrefix = "zerrow-";  // then the engine's pid, then a number

bool HasItem(std::string_view list, std::string_view item) {
  while (!list.empty()) {
    const size_t end = std::min(list.find_first_of(", \n"), list.size());
    if (list.substr(0, end) == item) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

struct Hierarchy {
  int version = 0;
  std::string mount_point;
  std::string own_path;  // of this process's cgroup, in the file system
};

// Joins what /proc/self/mountinfo says of a mount (where it is, and which cgroup it shows there)
// with this process's cgroup in that hierarchy.
std::optional<std::string> OwnPath(const CgroupFiles& files, const std::string& root,
                                   const std::string& mount_point, int version) {
  std::istringstream lines(files.cgroup);
  for (std::string line; std::getline(lines, line);) {  // 4:memory:/a/b, or 0::/a/b
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (version == 1 ? !HasItem(controllers, "memory") : !controllers.empty()) continue;
    std::string path = line.substr(second + 1);
    if (root != "/") {
      if (!path.starts_with(root)) continue;
      path.erase(0, root.size());
    }
    while (path.ends_with('/')) path.pop_back();
    return mount_point + path;
  }
  return std::nullopt;
}

std::vector<Hierarchy> FindHierarchies(const CgroupFiles& files) {
  std::vector<Hierarchy> found;
  std::istringstream lines(files.mountinfo);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string skipped, root, mount_point, type, device, options;
    words >> skipped >> skipped >> skipped >> root >> mount_point;
    for (std::string word; words >> word && word != "-";) {
    }
    words >> type >> device >> options;
    const int version = type == "cgroup2" ? 2 : type == "cgroup" ? 1 : 0;
    if (version == 0 || (version == 1 && !HasItem(options, "memory"))) continue;
    if (auto own = OwnPath(files, root, mount_point, version)) {
      found.push_back({version, mount_point, std::move(*own)});
    }
  }
  return found;
}

// Where a child could be made. In v2 a cgroup with processes of its own can't hand the memory
// controller down, so that a sibling is the other possibility.
std::vector<Hierarchy> FindParents(const CgroupFiles& files) {
  std::vector<Hierarchy> parents;
  for (const Hierarchy& hierarchy : FindHierarchies(files)) {
    if (hierarchy.version == 1) {
      parents.push_back(hierarchy);
      continue;
    }
    for (const std::string& path :
         {hierarchy.own_path, fs::path(hierarchy.own_path).parent_path().string()}) {
      const auto handed_down = ReadFile(path + "/cgroup.subtree_control");
      if (handed_down.ok() && HasItem(*handed_down, "memory"))
        parents.push_back({2, hierarchy.mount_point, path});
    }
  }
  return parents;
}

// Of v2's limit: within the last of so many parts of it processes are slowed down.
constexpr int64_t kThrottledShare = 32;

// Those of engines that were killed.
void RemoveAbandoned(const std::string& parent) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(parent, ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix)) continue;
    pid_t pid = 0;
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), pid);
    if (pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH) ::rmdir(entry.path().c_str());
  }
}

arrow::Result<int64_t> Field(std::string_view text, std::string_view name) {
  for (size_t at = text.find(name); at != std::string_view::npos; at = text.find(name, at + 1)) {
    const size_t end = at + name.size();
    if ((at != 0 && text[at - 1] != '\n') || end >= text.size() || text[end] != ' ') continue;
    int64_t value = 0;
    const auto parsed = std::from_chars(text.data() + end + 1, text.data() + text.size(), value);
    if (parsed.ec == std::errc()) return value;
  }
  return arrow::Status::IOError("memory.stat without ", name);
}

// Of a file that holds nothing but a number; nullopt if it isn't there or says "max".
std::optional<int64_t> Number(const std::string& path) {
  const auto text = ReadFile(path);
  int64_t value = 0;
  if (!text.ok()) return std::nullopt;
  const auto parsed = std::from_chars(text->data(), text->data() + text->size(), value);
  return parsed.ec == std::errc() ? std::optional(value) : std::nullopt;
}

// The process's own cgroup and those above it, as far as they are mounted.
std::vector<fs::path> WithAncestors(const Hierarchy& hierarchy) {
  std::vector<fs::path> paths;
  fs::path path = hierarchy.own_path;
  while (path.string().size() >= hierarchy.mount_point.size() && path.has_relative_path()) {
    paths.push_back(path);
    path = path.parent_path();
  }
  return paths;
}

// v1's kernel says itself what the cgroups above allow, those that aren't visible here too.
std::vector<int64_t> LimitsIn(const Hierarchy& hierarchy) {
  std::vector<int64_t> limits;
  if (hierarchy.version == 1) {
    const auto text = ReadFile(hierarchy.own_path + "/memory.stat");
    const auto limit = text.ok() ? Field(*text, "hierarchical_memory_limit") : text.status();
    if (limit.ok()) limits.push_back(*limit);
    return limits;
  }
  for (const fs::path& path : WithAncestors(hierarchy)) {
    for (const char* name : {"memory.max", "memory.high"}) {
      if (const auto limit = Number(path / name)) limits.push_back(*limit);
    }
  }
  return limits;
}

// v1 has no word for "no limit" but a number beyond all memory.
bool HasLimit(const fs::path& path, int version) {
  if (version == 2) return Number(path / "memory.max") || Number(path / "memory.high");
  const auto limit = Number(path / "memory.limit_in_bytes");
  return limit && *limit < base::MachineMemoryBytes();
}

// Of a cgroup, with its children, of the version.
arrow::Result<MemoryUsage> UsageOf(const fs::path& path, int version) {
  const bool first = version == 1;
  ARROW_ASSIGN_OR_RAISE(const std::string text, ReadFile(path / "memory.stat"));
  MemoryUsage usage;
  ARROW_ASSIGN_OR_RAISE(usage.anon_bytes, Field(text, first ? "total_rss" : "anon"));
  ARROW_ASSIGN_OR_RAISE(usage.shmem_bytes, Field(text, first ? "total_shmem" : "shmem"));
  ARROW_ASSIGN_OR_RAISE(const int64_t cached, Field(text, first ? "total_cache" : "file"));
  const auto all = Number(path / (first ? "memory.usage_in_bytes" : "memory.current"));
  if (all) usage.kernel_bytes = std::max<int64_t>(*all - usage.anon_bytes - cached, 0);
  return usage;
}

}  // namespace

int64_t UsableMemoryBytes() {
  const int64_t machine = base::MachineMemoryBytes();
  const auto files = CgroupFiles::OfThisProcess();
  return files.ok() ? std::min(machine, MemoryLimitBytes(*files).value_or(machine)) : machine;
}

std::optional<int64_t> MemoryLimitBytes(const CgroupFiles& files) {
  std::optional<int64_t> least;
  for (const Hierarchy& hierarchy : FindHierarchies(files)) {
    for (const int64_t limit : LimitsIn(hierarchy)) least = std::min(limit, least.value_or(limit));
  }
  return least;
}

std::vector<std::string> LimitedCgroups(const CgroupFiles& files) {
  std::vector<std::string> limited;
  for (const Hierarchy& hierarchy : FindHierarchies(files)) {
    for (const fs::path& path : WithAncestors(hierarchy)) {
      if (HasLimit(path, hierarchy.version)) limited.push_back(path);
    }
  }
  return limited;
}

arrow::Result<int64_t> RoomIn(const std::string& limited_cgroup) {
  const fs::path path = limited_cgroup;
  const auto first = Number(path / "memory.limit_in_bytes");
  const auto hard = first ? first : Number(path / "memory.max");
  const auto soft = Number(path / "memory.high");
  if (!hard && !soft) return arrow::Status::IOError(limited_cgroup, " has no limit");
  ARROW_ASSIGN_OR_RAISE(const MemoryUsage usage, UsageOf(path, first ? 1 : 2));
  return std::min(hard.value_or(INT64_MAX), soft.value_or(INT64_MAX)) - usage.all_bytes();
}

std::optional<double> StalledShare(const std::string& pressure_file) {
  constexpr std::string_view kBegin = "some avg10=";
  const auto text = ReadFile(pressure_file);
  if (!text.ok() || !text->starts_with(kBegin)) return std::nullopt;
  double percent = 0;
  const auto parsed =
      std::from_chars(text->data() + kBegin.size(), text->data() + text->size(), percent);
  return parsed.ec == std::errc() ? std::optional(percent / 100) : std::nullopt;
}

std::string MemoryCgroupOf(const CgroupFiles& files) {
  const auto hierarchies = FindHierarchies(files);
  return hierarchies.empty() ? "" : hierarchies.front().own_path;
}

arrow::Result<CgroupFiles> CgroupFiles::OfThisProcess() { return OfProcess(::getpid()); }

arrow::Result<CgroupFiles> CgroupFiles::OfProcess(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  CgroupFiles files;
  ARROW_ASSIGN_OR_RAISE(files.cgroup, ReadFile(folder + "/cgroup"));
  ARROW_ASSIGN_OR_RAISE(files.mountinfo, ReadFile(folder + "/mountinfo"));
  return files;
}

arrow::Result<std::unique_ptr<MemoryCgroup>> MemoryCgroup::Make() {
  ARROW_ASSIGN_OR_RAISE(const CgroupFiles files, CgroupFiles::OfThisProcess());
  return Make(files);
}

arrow::Result<std::unique_ptr<MemoryCgroup>> MemoryCgroup::Make(const CgroupFiles& files) {
  static std::atomic<int> next_number{0};
  arrow::Status refused =
      arrow::Status::IOError("no memory controller is mounted for this process");
  for (const Hierarchy& parent : FindParents(files)) {
    RemoveAbandoned(parent.own_path);
    const std::string path = parent.own_path + "/" + std::string(kPrefix) +
                             std::to_string(::getpid()) + "-" + std::to_string(next_number++);
    if (::mkdir(path.c_str(), 0755) != 0) {
      refused = base::ErrnoStatus(errno, "making a cgroup in " + parent.own_path);
      continue;
    }
    std::unique_ptr<MemoryCgroup> cgroup(new MemoryCgroup(parent.version, path));
    const auto usage = cgroup->Usage();
    refused = usage.status();
    if (!usage.ok()) continue;
    auto janitor = Janitor::Start(path);
    if (janitor.ok()) cgroup->janitor_.emplace(std::move(*janitor));
    return cgroup;
  }
  return refused;
}

MemoryCgroup::~MemoryCgroup() {
  // Processes may need a moment to leave: those that just died, and those whose parents did.
  std::chrono::milliseconds pause{1};
  for (auto waited = pause; ::rmdir(path_.c_str()) != 0 && errno == EBUSY; waited += pause) {
    if (waited > kPatience) return;
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::milliseconds(20));
  }
}

bool MemoryCgroup::Holds(pid_t pid) const {
  const auto cgroups = ReadFile("/proc/" + std::to_string(pid) + "/cgroup");
  const std::string line_end = "/" + fs::path(path_).filename().string() + "\n";
  return cgroups.ok() && cgroups->find(line_end) != std::string::npos;
}

arrow::Status MemoryCgroup::AddProcess(pid_t pid) {
  // To the kernel 0 is whoever writes it: this process would be in the way of the cgroup's removal.
  if (pid <= 0) return arrow::Status::Invalid("a process without a number");
  if (Holds(pid)) return arrow::Status::OK();
  const std::string path = path_ + "/cgroup.procs";
  const base::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return base::ErrnoStatus(errno, path);
  return base::WriteAll(fd.get(), std::to_string(pid));
}

arrow::Status MemoryCgroup::Limit(int64_t bytes) {
  const auto set = [this](const char* file, int64_t value) {
    const std::string path = path_ + "/" + file;
    const base::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    return fd.valid() ? base::WriteAll(fd.get(), std::to_string(value))
                      : base::ErrnoStatus(errno, path);
  };
  if (version_ == 2) {
    ARROW_RETURN_NOT_OK(set("memory.high", bytes - bytes / kThrottledShare));
    return set("memory.max", bytes);
  }
  ARROW_RETURN_NOT_OK(set("memory.oom_control", 1));
  return set("memory.limit_in_bytes", bytes);
}

bool MemoryCgroup::IsFull() const {
  if (version_ == 1) {
    const auto text = ReadFile(path_ + "/memory.oom_control");
    const auto waits = text.ok() ? Field(*text, "under_oom") : text.status();
    return waits.ok() && *waits != 0;
  }
  // Where cache is what there is too much of, nobody is held up for long.
  const auto high = Number(path_ + "/memory.high");
  const auto usage = Usage();
  return high && usage.ok() && usage->all_bytes() >= *high;
}

int64_t MemoryCgroup::TimesFull() const {
  if (version_ == 1) return Number(path_ + "/memory.failcnt").value_or(0);
  const auto text = ReadFile(path_ + "/memory.events");
  const auto times = text.ok() ? Field(*text, "max") : text.status();
  return times.ok() ? *times : 0;
}

arrow::Result<MemoryUsage> MemoryCgroup::Usage() const { return UsageOf(path_, version_); }

}  // namespace zerrow::sandbox
