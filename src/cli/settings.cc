#include "cli/settings.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/byte_size.h"

namespace zerrow::cli {

using arrow::Status;

namespace {

constexpr int64_t kMaxSeconds = 1'000'000'000;
// With which some editors begin a text in UTF-8.
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

Status SetSeconds(std::chrono::seconds& setting, std::string_view value) {
  int64_t seconds = 0;
  const auto parsed = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size() || seconds < 1 ||
      seconds > kMaxSeconds) {
    return Status::Invalid("is a whole number of seconds, not '", value, "'");
  }
  setting = std::chrono::seconds(seconds);
  return Status::OK();
}

Status SetSize(std::optional<int64_t>& setting, const std::string& value,
               arrow::Result<int64_t> (*parse)(std::string_view) = base::ParseBytes) {
  const auto bytes = parse(value);
  if (!bytes.ok()) return Status::Invalid("is a size such as \"2GiB\", not '", value, "'");
  setting = *bytes;
  return Status::OK();
}

Status SetMemory(engine::MemoryOptions& memory, std::string_view name, const std::string& value) {
  if (name == "memory_limit") return SetSize(memory.limit_bytes, value, ParseMemoryLimit);
  if (name == "spill_limit") return SetSize(memory.spill_limit_bytes, value);
  if (name == "spill_dir") {
    if (value.empty() || value[0] != '/') {
      return Status::Invalid("is an absolute path, not '", value, "'");
    }
    memory.spill_dir = value;
    return Status::OK();
  }
  const auto policy = ParseEvictionPolicy(value);
  if (!policy) return Status::Invalid("is adaptive, swap, rollback or none, not '", value, "'");
  memory.eviction = *policy;
  return Status::OK();
}

Status Set(Settings& settings, std::string_view name, const std::string& value) {
  if (name == "rest_after_s") return SetSeconds(settings.rest_after, value);
  if (name == "zygotes_end_after_s") return SetSeconds(settings.zygotes_end_after, value);
  if (name == "cache_size") return SetSize(settings.cache_bytes, value);
  if (name == "memory_limit" || name == "spill_limit" || name == "spill_dir" ||
      name == "eviction") {
    return SetMemory(settings.memory, name, value);
  }
  if (name != "engine") {
    return Status::Invalid(
        "isn't a setting: there are cache_size, engine, eviction, memory_limit, rest_after_s, "
        "spill_dir, spill_limit, zygotes_end_after_s");
  }
  settings.engine = ParseEngineChoice(value);
  return settings.engine ? Status::OK()
                         : Status::Invalid("is auto, own or resident, not '", value, "'");
}

}  // namespace

engine::MemoryOptions MemoryOptionsOf(const Arguments& arguments, const Settings& settings,
                                      std::optional<int64_t> limit_bytes) {
  engine::MemoryOptions memory = settings.memory;
  if (limit_bytes) memory.limit_bytes = limit_bytes;
  if (arguments.eviction) memory.eviction = *arguments.eviction;
  if (arguments.spill_dir) memory.spill_dir = *arguments.spill_dir;
  if (arguments.spill_limit_bytes) memory.spill_limit_bytes = arguments.spill_limit_bytes;
  return memory;
}

std::string SettingsPath() {
  const char* config = std::getenv("XDG_CONFIG_HOME");
  if (config != nullptr && config[0] == '/') return std::string(config) + "/zerrow/config.toml";
  const char* home = std::getenv("HOME");
  return home != nullptr && home[0] == '/' ? std::string(home) + "/.config/zerrow/config.toml" : "";
}

arrow::Result<Settings> ReadSettings(const std::string& path) {
  Settings settings;
  std::error_code error;
  if (path.empty() || !std::filesystem::exists(path, error)) return settings;
  // A pipe would have to be waited for, a folder reads as if it were empty.
  if (std::filesystem::is_directory(path, error) || std::filesystem::is_fifo(path, error)) {
    return Status::Invalid(path, " isn't a file");
  }
  std::ifstream file(path);
  if (!file) return Status::Invalid(path, " can't be read");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  std::istringstream lines(text);
  std::vector<CLI::ConfigItem> items;
  try {
    items = CLI::ConfigTOML().from_config(lines);
  } catch (const CLI::Error& problem) {
    return Status::Invalid(path, ": ", problem.what());
  }
  std::set<std::string> seen;
  for (const CLI::ConfigItem& item : items) {
    const std::string value = item.inputs.empty() ? "" : item.inputs.front();
    // One that is set twice in a row comes as a list.
    const bool once = seen.insert(item.fullname()).second && item.inputs.size() <= 1;
    const Status set = once ? Set(settings, item.fullname(), value)
                            : Status::Invalid("takes one value, and has several");
    if (!set.ok()) return Status::Invalid(path, ": ", item.fullname(), " ", set.message());
  }
  return settings;
}

}  // namespace zerrow::cli
