#include "sandbox/memory_sampler.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace zerrow::sandbox {

namespace {

constexpr int64_t kNoLimit = int64_t{1} << 60;
constexpr int64_t kLimitStep = 32 << 20;
constexpr int64_t kLimitNoise = 4 << 20;
constexpr int kPatienceSamples = 25;  // a fifth of a second

// A line such as "RssAnon:      1234 kB"; 0 if it isn't there, as in a zombie's.
int64_t StatusBytes(std::string_view text, std::string_view name) {
  const size_t at = text.find(name);
  if (at == std::string_view::npos) return 0;
  const size_t digits = text.find_first_of("0123456789", at + name.size());
  if (digits == std::string_view::npos) return 0;
  int64_t kib = 0;
  std::from_chars(text.data() + digits, text.data() + text.size(), kib);
  return kib * 1024;
}

base::UniqueFd OpenStatus(const std::string& process) {
  return base::UniqueFd(::open(("/proc/" + process + "/status").c_str(), O_RDONLY | O_CLOEXEC));
}

}  // namespace

int64_t AnonBytes(pid_t pid) {
  const base::UniqueFd status = OpenStatus(std::to_string(pid));
  char buffer[4096];
  const ssize_t got = status.valid() ? ::pread(status.get(), buffer, sizeof(buffer), 0) : 0;
  return got <= 0 ? 0 : StatusBytes({buffer, static_cast<size_t>(got)}, "\nRssAnon:");
}

MemorySampler::MemorySampler(std::function<int64_t()> segment_bytes)
    : segment_bytes_(std::move(segment_bytes)) {
  own_.status = OpenStatus("self");
  const auto files = CgroupFiles::OfThisProcess();
  if (files.ok()) surrounding_ = LimitedCgroups(*files);
}

MemorySampler MemorySampler::Make(std::function<int64_t()> segment_bytes) {
  auto cgroup = MemoryCgroup::Make();
  if (!cgroup.ok()) {
    MemorySampler sampler = MakeFromProc(std::move(segment_bytes));
    sampler.LoseCgroup(cgroup.status());
    return sampler;
  }
  MemorySampler sampler(std::move(segment_bytes));
  sampler.cgroup_ = std::move(*cgroup);
  sampler.method_ = "cgroup v" + std::to_string(sampler.cgroup_->version());
  return sampler;
}

MemorySampler MemorySampler::MakeFromProc(std::function<int64_t()> segment_bytes) {
  MemorySampler sampler(std::move(segment_bytes));
  sampler.method_ = "/proc";
  return sampler;
}

void MemorySampler::LoseCgroup(const arrow::Status& reason) {
  if (cgroup_ != nullptr) {
    // Nobody would notice any more that processes wait there.
    if (limit_bytes_) [[maybe_unused]]
      const arrow::Status lifted = cgroup_->Limit(kNoLimit);
    is_full_ = false;
    full_samples_ = 0;
    lost_cgroup_ = std::move(cgroup_);
  }
  method_ = "/proc, as there is no cgroup: " + reason.message();
}

void MemorySampler::AddProcess(pid_t pid) {
  if (pid <= 0) return;  // it had ended before its number could be read
  if (cgroup_ != nullptr) {
    const arrow::Status added = cgroup_->AddProcess(pid);
    // A process that is gone isn't the cgroup's fault; anything else is for good.
    if (!added.ok() && ::access(("/proc/" + std::to_string(pid)).c_str(), F_OK) == 0) {
      LoseCgroup(added);
    }
  }
  Process process;
  process.status = OpenStatus(std::to_string(pid));
  processes_.insert_or_assign(pid, std::move(process));
}

int64_t MemorySampler::RemoveProcess(pid_t pid) {
  const auto node = processes_.extract(pid);
  return node.empty() ? 0 : node.mapped().peak_bytes;
}

void MemorySampler::SampleProcess(Process& process) {
  char buffer[4096];
  process.anon_bytes = 0;
  if (!process.status.valid()) return;
  const ssize_t got = ::pread(process.status.get(), buffer, sizeof(buffer), 0);
  // Its zygote's or worker's end may never be told here: the descriptor doesn't wait for it.
  if (got <= 0) return process.status.reset();
  const std::string_view text(buffer, static_cast<size_t>(got));
  process.anon_bytes = StatusBytes(text, "\nRssAnon:");
  const int64_t all_bytes = process.anon_bytes + StatusBytes(text, "\nRssShmem:");
  process.peak_bytes = std::max(process.peak_bytes, all_bytes);
}

void MemorySampler::LimitTo(int64_t bytes, int64_t headroom_bytes) {
  limit_bytes_ = bytes;
  headroom_bytes_ = headroom_bytes;
  if (cgroup_ != nullptr) method_ += " with a hard limit";
}

// Lowered in steps, each of which the kernel can do at once by giving cache up.
void MemorySampler::AdjustLimit(const MemoryUsage& usage, int64_t outside_bytes) {
  if (!limit_bytes_) return;
  is_full_ = cgroup_->IsFull();
  full_samples_ = std::clamp(full_samples_ + (is_full_ ? 1 : -1), 0, 2 * kPatienceSamples);
  // What it lends them it can't take back, and what is charged elsewhere may grow meanwhile.
  const int64_t headroom = is_stuck() ? headroom_bytes_ / 2 : headroom_bytes_;
  // v2 kills if what can't be given up is more than the new limit.
  const int64_t margin = cgroup_->version() == 2 ? kLimitStep : 0;
  int64_t wanted = std::max(*limit_bytes_ - headroom - outside_bytes, usage.all_bytes() + margin);
  if (cgroup_limit_bytes_ > 0) wanted = std::max(wanted, cgroup_limit_bytes_ - kLimitStep);
  if (std::abs(wanted - cgroup_limit_bytes_) < kLimitNoise) return;
  const arrow::Status set = cgroup_->Limit(wanted);
  if (set.ok()) cgroup_limit_bytes_ = wanted;
}

void MemorySampler::SampleSurroundings() {
  surrounding_room_bytes_.reset();
  for (const std::string& cgroup : surrounding_) {
    const auto room = RoomIn(cgroup);
    if (!room.ok()) continue;
    surrounding_room_bytes_ = std::min(*room, surrounding_room_bytes_.value_or(*room));
  }
}

std::optional<double> MemorySampler::StalledShare() const {
  const bool own = cgroup_ != nullptr && cgroup_->version() == 2;
  return sandbox::StalledShare(own ? cgroup_->path() + "/memory.pressure"
                                   : "/proc/pressure/memory");
}

bool MemorySampler::is_stuck() const { return full_samples_ >= kPatienceSamples; }

int64_t MemorySampler::TimesFull() const {
  return cgroup_ != nullptr && limit_bytes_ ? cgroup_->TimesFull() : 0;
}

void MemorySampler::Sample() {
  SampleSurroundings();
  int64_t anon_bytes = 0;
  for (auto& [pid, process] : processes_) {
    SampleProcess(process);
    anon_bytes += process.anon_bytes;
  }
  int64_t shmem_bytes = segment_bytes_ ? segment_bytes_() : 0;
  SampleProcess(own_);  // it isn't in the cgroup
  if (cgroup_ != nullptr) {
    const auto usage = cgroup_->Usage();
    if (usage.ok()) {
      usage_ = *usage;
      const int64_t elsewhere = std::max<int64_t>(shmem_bytes - usage->shmem_bytes, 0);
      AdjustLimit(*usage, own_.anon_bytes + elsewhere);
      anon_bytes = usage->anon_bytes;
      // Memory that an earlier run touched first is charged to that one's cgroup, or its parent.
      shmem_bytes = std::max(shmem_bytes, usage->shmem_bytes);
    } else {
      LoseCgroup(usage.status());
    }
  }
  current_bytes_ = own_.anon_bytes + anon_bytes + shmem_bytes;
  peak_bytes_ = std::max(peak_bytes_, current_bytes_);
}

int64_t MemorySampler::anon_bytes(pid_t pid) const {
  const auto found = processes_.find(pid);
  return found == processes_.end() ? 0 : found->second.anon_bytes;
}

int64_t MemorySampler::peak_bytes(pid_t pid) const {
  const auto found = processes_.find(pid);
  return found == processes_.end() ? 0 : found->second.peak_bytes;
}

}  // namespace zerrow::sandbox
