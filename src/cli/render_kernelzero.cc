// What the kernel module has done, of `zerrow info` and of a run's report.
#include <fmt/core.h>

#include <string>
#include <string_view>

#include "cli/format.h"
#include "cli/render.h"

namespace zerrow::cli {

std::string RenderKernelZero(const std::map<std::string, int64_t>& counters) {
  constexpr int64_t kPageBytes = 4096;
  constexpr std::string_view kCopied = "copied_";
  const auto bytes = [&](const std::string& name) {
    const auto found = counters.find(name);
    return found == counters.end() ? 0 : found->second * kPageBytes;
  };
  int64_t copied = 0;
  std::string reasons;
  for (const auto& [name, pages] : counters) {
    if (!name.starts_with(kCopied) || pages == 0) continue;
    copied += pages * kPageBytes;
    reasons += fmt::format("{}{} {}", reasons.empty() ? ": " : ", ", name.substr(kCopied.size()),
                           FormatBytes(pages * kPageBytes));
  }
  return fmt::format("  moved            {}, {} of it swapped out\n  copied           {}{}\n",
                     FormatBytes(bytes("moved")), FormatBytes(bytes("swapped")),
                     FormatBytes(copied), reasons);
}

}  // namespace zerrow::cli
