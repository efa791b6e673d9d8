#include "sandbox/process_view.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string_view>
#include <system_error>

#include "base/fd.h"
#include "sandbox/cgroup.h"
#include "sandbox/read_file.h"

namespace zerrow::sandbox {

using arrow::Status;

namespace {

constexpr std::array kNamespaces = {"mnt", "pid", "user", "net", "ipc", "uts", "cgroup", "time"};
constexpr std::array kIdentity = {"Uid",    "Gid",        "Groups", "CapEff",
                                  "CapBnd", "NoNewPrivs", "Seccomp"};
constexpr std::array kLimits = {RLIMIT_AS,     RLIMIT_CORE,   RLIMIT_CPU,        RLIMIT_DATA,
                                RLIMIT_FSIZE,  RLIMIT_LOCKS,  RLIMIT_MEMLOCK,    RLIMIT_MSGQUEUE,
                                RLIMIT_NICE,   RLIMIT_NOFILE, RLIMIT_NPROC,      RLIMIT_RSS,
                                RLIMIT_RTPRIO, RLIMIT_RTTIME, RLIMIT_SIGPENDING, RLIMIT_STACK};

std::string Folder(pid_t pid) { return "/proc/" + std::to_string(pid); }

// "Name:\tvalue" by line.
std::map<std::string, std::string> Fields(const std::string& text) {
  std::map<std::string, std::string> fields;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    fields[line.substr(0, colon)] = begin == std::string::npos ? "" : line.substr(begin);
  }
  return fields;
}

Status ReadStatus(ProcessView& view) {
  ARROW_ASSIGN_OR_RAISE(const std::string text, ReadFile(Folder(view.pid) + "/status"));
  auto fields = Fields(text);
  for (const char* name : kIdentity) view.status[name] = fields[name];
  view.umask = static_cast<uint32_t>(std::strtoul(fields["Umask"].c_str(), nullptr, 8));
  return Status::OK();
}

Status ReadPlaces(ProcessView& view) {
  std::error_code error;
  for (const char* name : kNamespaces) {
    const std::string path = Folder(view.pid) + "/ns/" + name;
    view.namespaces[name] = std::filesystem::read_symlink(path, error).string();
    if (error && error != std::errc::no_such_file_or_directory) {
      return base::ErrnoStatus(error.value(), path);
    }
  }
  struct stat root {};
  if (::stat((Folder(view.pid) + "/root").c_str(), &root) != 0) {
    return base::ErrnoStatus(errno, Folder(view.pid) + "/root");
  }
  view.root = {root.st_dev, root.st_ino};
  ARROW_ASSIGN_OR_RAISE(const auto cgroups, CgroupFiles::OfProcess(view.pid));
  view.memory_cgroup = MemoryCgroupOf(cgroups);
  view.limited_cgroups = LimitedCgroups(cgroups);
  return Status::OK();
}

Status ReadScheduling(ProcessView& view) {
  errno = 0;
  view.niceness = ::getpriority(PRIO_PROCESS, static_cast<id_t>(view.pid));
  if (errno != 0) return base::ErrnoStatus(errno, "getpriority");
  cpu_set_t cpus;
  if (::sched_getaffinity(view.pid, sizeof(cpus), &cpus) != 0) {
    return base::ErrnoStatus(errno, "sched_getaffinity");
  }
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &cpus)) view.cpus.push_back(cpu);
  }
  return Status::OK();
}

Status ReadLimits(ProcessView& view) {
  for (const auto resource : kLimits) {
    rlimit limit{};
    if (::prlimit(view.pid, resource, nullptr, &limit) != 0) {
      return base::ErrnoStatus(errno, "prlimit");
    }
    view.limits[static_cast<int>(resource)] = {limit.rlim_cur, limit.rlim_max};
  }
  return Status::OK();
}

// Outside of any user namespace, where alone these capabilities count. Others than root's children
// don't keep them.
bool Has(const ProcessView& process, unsigned capability) {
  constexpr std::string_view kInitialUserNamespace = "user:[4026531837]";
  const auto uid = process.status.find("Uid");
  const auto effective = process.status.find("CapEff");
  const auto space = process.namespaces.find("user");
  return uid != process.status.end() && uid->second.starts_with("0\t") &&
         space != process.namespaces.end() && space->second == kInitialUserNamespace &&
         effective != process.status.end() &&
         (std::strtoull(effective->second.c_str(), nullptr, 16) >> capability & 1) != 0;
}

bool IsIn(const std::string& cgroup, const std::string& ancestor) {
  return cgroup == ancestor || cgroup.starts_with(ancestor + "/");
}

}  // namespace

arrow::Result<ProcessView> ProcessView::Of(pid_t pid) {
  if (pid <= 0) return Status::IOError("it isn't visible from here");
  ProcessView view;
  view.pid = pid;
  ARROW_RETURN_NOT_OK(ReadStatus(view));
  ARROW_RETURN_NOT_OK(ReadPlaces(view));
  ARROW_RETURN_NOT_OK(ReadScheduling(view));
  ARROW_RETURN_NOT_OK(ReadLimits(view));
  return view;
}

std::string WhyElsewhere(const ProcessView& client, const ProcessView& engine) {
  for (const auto& [name, where] : client.namespaces) {
    const auto found = engine.namespaces.find(name);
    if (found == engine.namespaces.end() || found->second != where) {
      return "it is in another " + name + " namespace";
    }
  }
  if (client.root != engine.root) return "it has another root folder";
  for (const auto& [name, value] : client.status) {
    const auto found = engine.status.find(name);
    if (found == engine.status.end() || found->second != value) {
      return "it runs with other rights (" + name + ")";
    }
  }
  for (const std::string& limited : client.limited_cgroups) {
    if (!IsIn(engine.memory_cgroup, limited)) {
      return "it is not under the memory limit of " + limited;
    }
  }
  if (client.niceness < engine.niceness && !Has(engine, CAP_SYS_NICE)) {
    return "it runs with a lower priority";
  }
  if (Has(engine, CAP_SYS_RESOURCE)) return "";
  for (const auto& [resource, limits] : client.limits) {
    const auto found = engine.limits.find(resource);
    if (found == engine.limits.end() || found->second.second < limits.second) {
      return "one of its resource limits is lower";
    }
  }
  return "";
}

int64_t ProportionalBytes(pid_t pid) {
  const auto text = ReadFile(Folder(pid) + "/smaps_rollup");
  if (!text.ok()) return 0;
  auto fields = Fields(*text);
  int64_t kib = 0;
  for (const char* name : {"Pss_Anon", "Pss_File"}) {
    kib += std::strtoll(fields[name].c_str(), nullptr, 10);
  }
  return kib * 1024;
}

}  // namespace zerrow::sandbox
