#include "decache/claims.h"

#include <arrow/util/logging.h>

#include <algorithm>
#include <utility>

#include <arrow/util/logging.h>

namespace zerrow::decache {

bool Claims::IsFree(const Columns& columns) const {
  return std::ranges::all_of(columns, [&](const auto& wanted) {
    const auto taken = taken_.find(wanted.first);
    if (taken == taken_.end()) return true;
    return std::ranges::none_of(
        wanted.second, [&](const std::string& column) { return taken->second.contains(column); });
  });
}

bool Claims::Claim(ScanId scan, Columns columns) {
  ARROW_CHECK(!held_.contains(scan)) << "a scan claims while it holds an earlier claim";
  const auto waits = std::ranges::find(waiting_, scan, &Waiting::scan);
  if (!IsFree(columns)) {
    if (waits == waiting_.end()) {
      waiting_.push_back({scan, std::move(columns)});
    } else {
      waits->columns = std::move(columns);
    }
    return false;
  }
  if (waits != waiting_.end()) waiting_.erase(waits);
  for (const auto& [file, names] : columns) taken_[file].insert(names.begin(), names.end());
  held_.emplace(scan, std::move(columns));
  return true;
}

std::vector<ScanId> Claims::Release(ScanId scan) {
  std::erase_if(waiting_, [&](const Waiting& waiting) { return waiting.scan == scan; });
  const auto held = held_.find(scan);
  if (held == held_.end()) return {};
  for (const auto& [file, names] : held->second) {
    const auto taken = taken_.find(file);
    if (taken == taken_.end()) continue;
    for (const std::string& name : names) taken->second.erase(name);
    if (taken->second.empty()) taken_.erase(taken);
  }
  held_.erase(held);
  std::vector<ScanId> free;
  for (const Waiting& waiting : waiting_) {
    if (IsFree(waiting.columns)) free.push_back(waiting.scan);
  }
  return free;
}

}  // namespace zerrow::decache
