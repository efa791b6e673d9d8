#include "resource/eviction.h"

#include <algorithm>

namespace zerrow {

std::string_view ToString(EvictionPolicy policy) {
  switch (policy) {
    case EvictionPolicy::kNone:
      return "none";
    case EvictionPolicy::kSwap:
      return "swap";
    case EvictionPolicy::kRollback:
      return "rollback";
    case EvictionPolicy::kAdaptive:
      return "adaptive";
  }
  return "unknown";
}

std::optional<EvictionPolicy> ParseEvictionPolicy(std::string_view name) {
  using enum EvictionPolicy;
  for (const EvictionPolicy policy : {kNone, kSwap, kRollback, kAdaptive}) {
    if (ToString(policy) == name) return policy;
  }
  return std::nullopt;
}

}  // namespace zerrow

namespace zerrow::resource {

namespace {

// Of each eviction, whatever its size: a seek, a fork. Among tables that cost next to nothing the
// larger ones go.
constexpr double kOverheadS = 1e-3;

// Of what was believed, after one more measurement.
constexpr double kKept = 0.7;

}  // namespace

void DiskSpeed::Note(double& bytes_per_s, int64_t bytes, double took_s) {
  // What is small or took no time says nothing.
  if (bytes <= 0 || took_s <= 0) return;
  bytes_per_s = kKept * bytes_per_s + (1 - kKept) * static_cast<double>(bytes) / took_s;
}

double DiskSpeed::RestoreSeconds(int64_t unwritten_bytes, int64_t copied_bytes) const {
  return static_cast<double>(unwritten_bytes) / write_bytes_per_s_ +
         static_cast<double>(unwritten_bytes + copied_bytes) / read_bytes_per_s_;
}

std::optional<Eviction> Weigh(EvictionPolicy policy, const Candidate& candidate,
                              const DiskSpeed& disk) {
  using enum EvictionPolicy;
  const Idle& idle = candidate.idle;
  std::optional<Eviction> best;
  const auto consider = [&](Eviction::How how, int64_t freed_bytes, double restore_s) {
    if (freed_bytes <= 0 || restore_s == kNever) return;
    const double score = (restore_s + kOverheadS) /
                         (static_cast<double>(freed_bytes) * std::max(candidate.steps, 1));
    if (best && best->score <= score) return;
    best = Eviction{candidate.table, how, freed_bytes, restore_s, score};
  };
  if (policy == kSwap || policy == kAdaptive) {
    consider(Eviction::How::kSwap, idle.unwritten_bytes + idle.copied_bytes,
             disk.RestoreSeconds(idle.unwritten_bytes, idle.copied_bytes));
  }
  if (policy == kRollback || policy == kAdaptive) {
    consider(Eviction::How::kRollback, idle.exclusive_bytes, candidate.remake_s);
  }
  return best;
}

std::optional<Eviction> Choose(EvictionPolicy policy, std::span<const Candidate> candidates,
                               const DiskSpeed& disk, double max_restore_s) {
  std::optional<Eviction> best;
  for (const Candidate& candidate : candidates) {
    const auto eviction = Weigh(policy, candidate, disk);
    if (!eviction || eviction->restore_s > max_restore_s) continue;
    if (!best || eviction->score < best->score) best = eviction;
  }
  return best;
}

}  // namespace zerrow::resource
