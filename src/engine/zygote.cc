#include "engine/zygote.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

namespace zerrow::engine {

namespace fs = std::filesystem;
using base::ChildProcess;
using base::UniqueFd;

namespace {

constexpr int kZygoteChannelFd = 3;

std::string Joined(const std::set<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ",") + name;
  return list;
}

void Prepend(std::string& list, const std::string& item, char separator = ':') {
  list = list.empty() ? item : item + separator + list;
}

// Preloads the shim and makes allocators ask it for what they need when they need it.
void SetShim(const std::string& path, Environment& variables) {
  Prepend(variables["LD_PRELOAD"], path);
  // pyarrow's other allocators get their memory in ways that the shim doesn't see.
  variables["ARROW_DEFAULT_MEMORY_POOL"] = "system";
  // mimalloc (in DataFusion) would reserve 1 GiB while it is imported, before the shim is awake,
  // and serve the workers from that. 32 MiB is the least it takes.
  variables["MIMALLOC_ARENA_RESERVE"] = "32MiB";
  // jemalloc (in polars) would map ever larger pieces than it was asked for and keep them: sizes
  // that fit nobody else's chunks. What the user has set comes later, so that it holds.
  Prepend(variables["_RJEM_MALLOC_CONF"], "retain:false", ',');
}

// Makes allocators begin large buffers with a page: what shares its page with others KernelZero
// copies (docs/decisions/0006-kernelzero-in-workers.md). What the user has set holds.
void SetWholePages(Environment& variables) {
  // pyarrow's default as of today; its other allocators begin anywhere in a page.
  variables.emplace("ARROW_DEFAULT_MEMORY_POOL", "mimalloc");
  // jemalloc (in polars) would begin at a random place of the first page. And it would get huge
  // pages only where one needn't ask for them, as pyarrow's mimalloc does.
  Prepend(variables["_RJEM_MALLOC_CONF"], "cache_oblivious:false,thp:always", ',');
}

// What the zygote gives itself before it does anything else.
std::string AttributesText(const ProcessAttributes& attributes) {
  nlohmann::json text = nlohmann::json::object();
  if (attributes.umask) text["umask"] = *attributes.umask;
  if (attributes.niceness) text["niceness"] = *attributes.niceness;
  if (!attributes.cpus.empty()) text["cpus"] = attributes.cpus;
  for (const auto& [number, limit] : attributes.limits) {
    text["limits"].push_back({number, limit.first, limit.second});
  }
  return text.dump();
}

std::vector<std::string> ZygoteEnvironment(const ZygoteOptions& options) {
  auto variables = options.environment.value_or(OwnEnvironment());
  for (auto path = options.python_path.rbegin(); path != options.python_path.rend(); ++path) {
    Prepend(variables["PYTHONPATH"], *path);
  }
  if (!options.shim_path.empty()) SetShim(options.shim_path, variables);
  if (options.whole_pages) SetWholePages(variables);
  variables["ZERROW_ZYGOTE_FD"] = std::to_string(kZygoteChannelFd);
  variables["ZERROW_PRELOAD"] = Joined(options.preload);
  variables["ZERROW_DESCRIPTORS"] = std::to_string(options.descriptors);
  if (options.attributes != ProcessAttributes{}) {
    variables["ZERROW_ATTRIBUTES"] = AttributesText(options.attributes);
  }
  std::vector<std::string> environment;
  for (const auto& [name, value] : variables) environment.push_back(name + "=" + value);
  return environment;
}

}  // namespace

arrow::Result<Zygote> StartZygote(const ZygoteOptions& options) {
  ARROW_ASSIGN_OR_RAISE(auto channels, base::Channel::MakePair());
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return base::ErrnoStatus(errno, "pipe");
  UniqueFd output(pipe_fds[0]);
  const UniqueFd output_writer(pipe_fds[1]);
  ::fcntl(output.get(), F_SETFL, O_NONBLOCK);
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null.valid()) return base::ErrnoStatus(errno, "opening /dev/null");
  ChildProcess::Options child;
  // -P: a file random.py in the user's folder must not become the zygote's random module.
  child.arguments = {options.python, "-P", "-m", "zerrow._worker.zygote"};
  child.environment = ZygoteEnvironment(options);
  child.new_session = true;  // Ctrl-C in a terminal is for the engine's process
  child.fds = {{null.get(), 0},
               {output_writer.get(), 1},
               {output_writer.get(), 2},
               {channels.second.fd(), kZygoteChannelFd}};
  ARROW_ASSIGN_OR_RAISE(ChildProcess process, ChildProcess::Spawn(child));
  return Zygote{std::move(process), std::move(channels.first), std::move(output)};
}

namespace {

// What Zerrow's own readers of SQL and of files need.
constexpr std::string_view kExpressions = "sqlglot";
constexpr std::string_view kParquet = "pyarrow.parquet";

constexpr std::array<std::string_view, 8> kKnownLibraries = {
    "pyarrow", kParquet, "numpy", "pandas", "polars", "duckdb", "datafusion", kExpressions};
constexpr size_t kMaxScannedFiles = 1000;
constexpr size_t kMaxScannedBytes = 256 * 1024;  // of each file

bool IsScanned(const fs::path& path) {
  return path.extension() == ".py" || path.extension() == ".sql" || path.extension() == ".yml";
}

// "import x", "import x as y", "import x, y" and "from x import y", at any indentation.
void AddImports(std::string_view line, std::set<std::string_view>& found) {
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  const bool from = line.starts_with("from ");
  if (!from && !line.starts_with("import ")) return;
  for (const std::string_view library : kKnownLibraries) {
    const size_t at = line.find(library);
    if (at == std::string_view::npos || (from && at != 5)) continue;
    const char before = line[at - 1];
    const char after = at + library.size() < line.size() ? line[at + library.size()] : ' ';
    const bool whole = (before == ' ' || before == ',') &&
                       std::string_view(" .,;#\r").find(after) != std::string_view::npos;
    if (whole) found.insert(library);
  }
}

bool Has(std::string_view line, std::string_view text) {
  return line.find(text) != std::string_view::npos;
}

// `filter=`, `filter = ` or `"filter": `, but no function or method of that name.
bool SetsFilter(std::string_view line) {
  constexpr std::string_view kFilter = "filter";
  for (size_t at = line.find(kFilter); at != line.npos; at = line.find(kFilter, at + 1)) {
    const size_t next = line.find_first_not_of(" '\"", at + kFilter.size());
    if (next != line.npos && (line[next] == '=' || line[next] == ':')) return true;
  }
  return false;
}

void ScanFile(const fs::path& path, std::set<std::string_view>& found) {
  std::ifstream file(path);
  std::string line;
  size_t bytes = 0;
  const bool python = path.extension() == ".py";
  const bool settings = path.extension() == ".yml";
  if (path.extension() == ".sql") found.insert({"datafusion", kExpressions});
  while (bytes < kMaxScannedBytes && std::getline(file, line)) {
    bytes += line.size() + 1;
    if (python) AddImports(line, found);
    if (!python && Has(line, "duckdb")) found.insert("duckdb");
    if (python && SetsFilter(line)) found.insert({"datafusion", kExpressions});
    // Of the operators those that take conditions or values.
    if (settings && (Has(line, "condition") || Has(line, "columns"))) {
      found.insert({"datafusion", kExpressions});
    }
    if (settings && Has(line, "sources")) found.insert(kParquet);
  }
}

}  // namespace

std::set<std::string> GuessLibraries(const std::string& project_dir) {
  std::set<std::string_view> found;
  std::error_code error;
  size_t files = 0;
  fs::recursive_directory_iterator entry(project_dir, fs::directory_options::skip_permission_denied,
                                         error);
  for (; !error && entry != fs::end(entry) && files < kMaxScannedFiles; entry.increment(error)) {
    const fs::path& path = entry->path();
    if (path.filename().native().starts_with(".") && entry->is_directory(error)) {
      entry.disable_recursion_pending();
    } else if (IsScanned(path) && entry->is_regular_file(error)) {
      ++files;
      ScanFile(path, found);
    }
  }
  return {found.begin(), found.end()};
}

std::set<std::string> OwnLibraries() { return {std::string(kExpressions), std::string(kParquet)}; }

}  // namespace zerrow::engine
