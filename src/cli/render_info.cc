// `zerrow info` as text and JSON.
#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/format.h"
#include "cli/render.h"
#include "cli/version.h"

namespace zerrow::cli {

using nlohmann::json;

namespace {

std::string YesNo(bool value, const Style& style) {
  return value ? style.Wrap(style.green(), "yes") : style.Wrap(style.yellow(), "no");
}

// The backend that `auto` takes: the first that is there.
std::string AutoBackend(const std::vector<engine::BackendInfo>& backends) {
  const auto best = std::find_if(backends.begin(), backends.end(),
                                 [](const auto& backend) { return backend.available; });
  return best == backends.end() ? "" : std::string(ToString(best->kind));
}

constexpr std::string_view kBoundary =
    "  Each function runs in a process of its own and gets only the tables that it was granted.\n"
    "  This is not yet a security boundary: run only code that you trust.\n";

}  // namespace

std::string RenderInfo(const MachineInfo& info, const Style& style) {
  const auto heading = [&](std::string_view text) { return style.Wrap(style.bold(), text) + "\n"; };
  std::string text = VersionLine() + fmt::format(", Python {}, {} cores\n\n",
                                                 info.zygote.python_version, info.cores);
  text += heading("Backends");
  for (const engine::BackendInfo& backend : info.backends) {
    const std::string name(ToString(backend.kind));
    text += fmt::format("  {:<10} {}{}  {}\n", name, YesNo(backend.available, style),
                        backend.available ? "" : " ", backend.detail);
  }
  text += fmt::format("  auto takes {}\n", AutoBackend(info.backends));
  text += fmt::format("  allocator shim: {}{}\n\n",
                      info.shim_path.empty() ? "not found" : info.shim_path,
                      info.zygote.shim ? ", loaded in workers" : "");
  if (!info.kernelzero.empty()) {
    text += heading("KernelZero since its module was loaded") + RenderKernelZero(info.kernelzero) +
            "\n";
  }
  text += heading("Memory");
  text += fmt::format("  limit            {} of {}\n", FormatLimit(info.memory.limit_bytes),
                      FormatBytes(info.usable_memory_bytes));
  text += fmt::format("  measured by      {}\n", info.memory.method);
  if (info.memory.stalled) {
    text += fmt::format("  stalled          {:.1f} % of the last ten seconds\n",
                        100 * *info.memory.stalled);
  }
  text += fmt::format("  eviction         {}{}\n\n", ToString(info.memory.eviction),
                      info.memory.spill_dir.empty() ? ", nothing can be written to disk"
                                                    : ", spills to " + info.memory.spill_dir);
  text += heading("Isolation of functions");
  text += fmt::format("  user namespace   {}\n", YesNo(info.zygote.user_namespace, style));
  text += fmt::format("  PID namespace    {}\n", YesNo(info.zygote.pid_namespace, style));
  text += fmt::format("  mount namespace  {}\n", YesNo(info.zygote.mount_namespace, style));
  return text + std::string(kBoundary);
}

json InfoJson(const MachineInfo& info) {
  json document = {{"versions", VersionJson()},
                   {"cores", info.cores},
                   {"backends", json::array()},
                   {"auto_backend", AutoBackend(info.backends)},
                   {"kernelzero", info.kernelzero.empty() ? json() : json(info.kernelzero)},
                   {"shim", {{"path", info.shim_path}, {"loaded", info.zygote.shim}}},
                   {"memory",
                    {{"limit", info.memory.limit_bytes ? json(*info.memory.limit_bytes) : json()},
                     {"usable", info.usable_memory_bytes},
                     {"method", info.memory.method},
                     {"hard_limit", info.memory.hard_limit},
                     {"stalled", nullptr},
                     {"eviction", ToString(info.memory.eviction)},
                     {"spill_dir", info.memory.spill_dir}}},
                   {"isolation",
                    {{"user_namespace", info.zygote.user_namespace},
                     {"pid_namespace", info.zygote.pid_namespace},
                     {"mount_namespace", info.zygote.mount_namespace},
                     {"security_boundary", false}}}};
  document["versions"]["python"] = info.zygote.python_version;
  for (const engine::BackendInfo& backend : info.backends) {
    document["backends"].push_back({{"name", ToString(backend.kind)},
                                    {"available", backend.available},
                                    {"detail", backend.detail}});
  }
  if (info.memory.stalled) document["memory"]["stalled"] = *info.memory.stalled;
  return document;
}

}  // namespace zerrow::cli
