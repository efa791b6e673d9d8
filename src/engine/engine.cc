#include "engine/engine.h"

#include <arrow/util/utf8.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "engine/event_loop.h"
#include "engine/run_loop.h"
#include "engine/worker_pool.h"
#include "shm/capabilities.h"
#include "shm/kernelzero.h"
#include "shm/shared_memory.h"

namespace zerrow::engine {

namespace fs = std::filesystem;
using arrow::Status;

struct Engine::State {
  EngineOptions options;
  std::vector<BackendInfo> backends;
  std::shared_ptr<shm::SharedMemory> memory;  // once a run needed it
};

namespace {

// A table is a descriptor per segment, on both sides of each handover.
void AllowManyDescriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // without it large runs fail with a clear error
}

int UsableCores() {
  cpu_set_t cores;
  if (::sched_getaffinity(0, sizeof(cores), &cores) != 0) return 1;
  return std::max(1, CPU_COUNT(&cores));
}

BackendInfo DescribeMemfd(const EngineOptions& options) {
  BackendInfo info{BackendKind::kMemfd, false, ""};
  if (options.shim_path.empty()) {
    info.detail = "the allocator shim libzerrow_shim.so wasn't found";
    return info;
  }
  const shm::Capabilities machine = shm::Probe();
  info.available = machine.memfd_sealing.available;
  if (!info.available) {
    info.detail = machine.memfd_sealing.detail;
  } else if (machine.private_tmpfs.available) {
    info.detail = "recycled chunks in a private tmpfs; " + machine.huge_pages.detail;
  } else {
    info.detail = "sealed memfds; no private tmpfs: " + machine.private_tmpfs.detail;
  }
  return info;
}

BackendInfo DescribeKernelZero() {
  const shm::Capability found = shm::ProbeKernelZero();
  return {BackendKind::kKernelZero, found.available, found.detail};
}

bool SharesMemory(BackendKind backend) {
  return backend == BackendKind::kMemfd || backend == BackendKind::kKernelZero;
}

// With iterators, as clang 14 can't compile the ranges' version.
void AvailableFirst(std::vector<BackendInfo>& backends) {
  std::stable_partition(backends.begin(), backends.end(),
                        [](const BackendInfo& backend) { return backend.available; });
}

std::vector<BackendInfo> DescribeBackends(const EngineOptions& options) {
  std::vector<BackendInfo> backends = {
      DescribeKernelZero(),
      DescribeMemfd(options),
      {BackendKind::kCopy, true, "Arrow IPC streams in shared memory, mapped by their readers"},
      {BackendKind::kFullCopy, true,
       "Arrow IPC streams in shared memory, copied by their readers"}};
  AvailableFirst(backends);
  return backends;
}

arrow::Result<BackendKind> ChooseBackend(const std::vector<BackendInfo>& backends,
                                         BackendKind wanted) {
  if (wanted == BackendKind::kAuto) return backends.front().kind;
  for (const BackendInfo& backend : backends) {
    if (backend.kind != wanted) continue;
    if (backend.available) return wanted;
    return Status::Invalid("the backend ", ToString(wanted), " isn't available: ", backend.detail);
  }
  return Status::Invalid("there is no backend ", ToString(wanted));
}

void NoteUnavailable(std::vector<BackendInfo>& backends, BackendKind kind, const Status& why) {
  for (BackendInfo& backend : backends) {
    if (backend.kind != kind) continue;
    backend.available = false;
    backend.detail = why.message();
  }
  AvailableFirst(backends);
}

// Workers are told paths in JSON.
Status CheckPath(std::string_view what, const std::string& path) {
  arrow::util::InitializeUTF8();
  return arrow::util::ValidateUTF8(path)
             ? Status::OK()
             : Status::Invalid("the ", what, "'s path isn't UTF-8; rename it");
}

arrow::Result<RunOptions> CheckOptions(RunOptions options) {
  std::error_code error;
  options.project_dir = fs::absolute(options.project_dir, error).lexically_normal().string();
  if (error || !fs::is_directory(options.project_dir, error)) {
    return Status::Invalid("the project folder ", options.project_dir, " doesn't exist");
  }
  ARROW_RETURN_NOT_OK(CheckPath("project folder", options.project_dir));
  if (options.jobs < 0) return Status::Invalid("jobs must be positive");
  if (options.jobs == 0) options.jobs = UsableCores();
  if (options.output_dir) {
    options.output_dir = fs::absolute(*options.output_dir, error).lexically_normal().string();
    ARROW_RETURN_NOT_OK(CheckPath("output folder", *options.output_dir));
    fs::create_directories(*options.output_dir, error);
    if (error || !fs::is_directory(*options.output_dir, error)) {
      return Status::Invalid("the output folder ", *options.output_dir, " can't be made",
                             error ? ": " + error.message() : "");
    }
  }
  return options;
}

// What the environment says if the option is unset.
Status SetTimeout(std::chrono::milliseconds& timeout, const char* variable) {
  if (timeout.count() != 0) return Status::OK();
  timeout = std::chrono::seconds(60);
  const char* configured = std::getenv(variable);
  if (configured == nullptr || *configured == '\0') return Status::OK();
  char* end = nullptr;
  const long seconds = std::strtol(configured, &end, 10);
  if (*end != '\0' || seconds < 1 || seconds > 1'000'000) {
    return Status::Invalid(variable, " must be a number of seconds, not ", configured);
  }
  timeout = std::chrono::seconds(seconds);
  return Status::OK();
}

// Without a backend: for a zygote whose workers publish nothing.
ZygoteOptions ZygoteOptionsFor(const EngineOptions& engine, const std::string& preload,
                               std::optional<BackendKind> backend) {
  return {engine.python, backend == BackendKind::kMemfd ? engine.shim_path : "", engine.python_path,
          preload, backend == BackendKind::kKernelZero};
}

}  // namespace

arrow::Result<std::unique_ptr<Engine>> Engine::Make(EngineOptions options) {
  if (options.python.empty()) {
    const char* configured = std::getenv("ZERROW_PYTHON");
    options.python = configured != nullptr && *configured != '\0' ? configured : "python3";
  }
  if (options.python.find('/') != std::string::npos &&
      ::access(options.python.c_str(), X_OK) != 0) {
    return Status::Invalid("the Python interpreter ", options.python, " can't be run");
  }
  if (!options.shim_path.empty() && ::access(options.shim_path.c_str(), R_OK) != 0) {
    return Status::Invalid("the allocator shim ", options.shim_path, " can't be read");
  }
  ARROW_RETURN_NOT_OK(SetTimeout(options.start_timeout, "ZERROW_START_TIMEOUT_S"));
  ARROW_RETURN_NOT_OK(SetTimeout(options.import_timeout, "ZERROW_IMPORT_TIMEOUT_S"));
  AllowManyDescriptors();
  auto state = std::make_unique<State>();
  state->backends = DescribeBackends(options);
  state->options = std::move(options);
  return std::unique_ptr<Engine>(new Engine(std::move(state)));
}

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Engine::~Engine() = default;

const std::vector<BackendInfo>& Engine::backends() const { return state_->backends; }

arrow::Result<ZygoteInfo> Engine::Probe() {
  ARROW_ASSIGN_OR_RAISE(const auto loop, EventLoop::Make());
  std::optional<ZygoteInfo> info;
  Status lost;
  ARROW_ASSIGN_OR_RAISE(const auto workers,
                        WorkerPool::Make(
                            *loop, ZygoteOptionsFor(state_->options, "", BackendKind::kMemfd),
                            [&](const ZygoteInfo& ready) { info = ready; },
                            [&](const std::string& why) { lost = Status::IOError(why); }));
  const auto deadline = std::chrono::steady_clock::now() + state_->options.start_timeout;
  while (!info && lost.ok()) {
    ARROW_RETURN_NOT_OK(loop->RunOnce(std::chrono::milliseconds(100)));
    if (std::chrono::steady_clock::now() > deadline) return Status::IOError("the zygote hangs");
  }
  if (!info) return lost.WithMessage(lost.message(), "\n", workers->zygote_output());
  return *info;
}

arrow::Result<RunResult> Engine::Run(const RunOptions& options, RunObserver& observer,
                                     const CancelToken& cancel) {
  RunSettings settings;
  ARROW_ASSIGN_OR_RAISE(settings.options, CheckOptions(options));
  ARROW_ASSIGN_OR_RAISE(settings.backend, ChooseBackend(state_->backends, options.backend));
  if (SharesMemory(settings.backend) && !state_->memory) {
    auto memory = shm::SharedMemory::Make();
    if (!memory.ok()) NoteUnavailable(state_->backends, settings.backend, memory.status());
    if (memory.ok()) state_->memory = std::move(*memory);
    // Another one if any will do, else the error.
    ARROW_ASSIGN_OR_RAISE(settings.backend, ChooseBackend(state_->backends, options.backend));
  }
  settings.zygote = ZygoteOptionsFor(state_->options, GuessLibraries(settings.options.project_dir),
                                     settings.backend);
  settings.start_timeout = state_->options.start_timeout;
  settings.import_timeout = state_->options.import_timeout;
  auto memory = SharesMemory(settings.backend) ? state_->memory : nullptr;
  return RunLoop(std::move(settings), std::move(memory), observer, cancel).Run();
}

arrow::Result<Explanation> Engine::Explain(const RunOptions& options, const CancelToken& cancel) {
  RunSettings settings;
  ARROW_ASSIGN_OR_RAISE(settings.options, CheckOptions(options));
  settings.zygote = ZygoteOptionsFor(state_->options, "", std::nullopt);
  settings.start_timeout = state_->options.start_timeout;
  settings.import_timeout = state_->options.import_timeout;
  settings.plan_only = true;
  RunObserver silent;
  return RunLoop(std::move(settings), nullptr, silent, cancel).Explain();
}

}  // namespace zerrow::engine
