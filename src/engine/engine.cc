#include "engine/engine.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <utility>

#include "engine/engine_loop.h"
#include "engine/options.h"
#include "engine/run_queue.h"
#include "engine/zygote.h"
#include "shm/capabilities.h"
#include "shm/kernelzero.h"

namespace zerrow::engine {

using arrow::Status;
using resource::RunId;
using namespace std::chrono_literals;

namespace {

// The soft limit before this process had it raised. Users' functions get it back: what they hand
// to select() must be below 1024.
std::atomic<rlim_t> usual_descriptors{0};

// A table is a descriptor per segment, on both sides of each handover.
void AllowManyDescriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  usual_descriptors = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // without it large runs fail with a clear error
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

// What the environment says, null being this process's own.
arrow::Result<std::chrono::milliseconds> TimeoutOf(const Environment* environment,
                                                   const char* variable,
                                                   std::chrono::seconds otherwise) {
  std::string configured;
  if (environment == nullptr) {
    const char* own = std::getenv(variable);
    if (own != nullptr) configured = own;
  } else if (const auto found = environment->find(variable); found != environment->end()) {
    configured = found->second;
  }
  if (configured.empty()) return otherwise;
  char* end = nullptr;
  const long seconds = std::strtol(configured.c_str(), &end, 10);
  if (*end != '\0' || seconds < 1 || seconds > 1'000'000) {
    return Status::Invalid(variable, " must be a number of seconds, not ", configured);
  }
  return std::chrono::seconds(seconds);
}

Status CheckPython(const std::string& python) {
  if (python.find('/') == std::string::npos || ::access(python.c_str(), X_OK) == 0) {
    return Status::OK();
  }
  return Status::Invalid("the Python interpreter ", python, " can't be run");
}

constexpr auto kStartTimeout = "ZERROW_START_TIMEOUT_S";

Status SetTimeouts(const Environment* environment, RunRequest& request) {
  ARROW_ASSIGN_OR_RAISE(request.start_timeout, TimeoutOf(environment, kStartTimeout, 60s));
  ARROW_ASSIGN_OR_RAISE(request.exit_timeout, TimeoutOf(environment, "ZERROW_EXIT_TIMEOUT_S", 10s));
  ARROW_ASSIGN_OR_RAISE(const auto import, TimeoutOf(environment, "ZERROW_IMPORT_TIMEOUT_S", 60s));
  request.import_timeout_s = std::chrono::duration<double>(import).count();
  return Status::OK();
}

// What the zygote shall import. Reading a project doesn't need what its functions import.
std::set<std::string> LibrariesFor(const RunRequest& request, const EngineOptions& engine) {
  std::set<std::string> libraries = GuessLibraries(request.options.project_dir);
  std::set<std::string> own = OwnLibraries();
  if (request.plan_only) {
    std::erase_if(libraries, [&own](const std::string& name) { return !own.contains(name); });
  } else if (engine.zygote_idle.count() > 0) {
    libraries.merge(own);  // one that outlives the run shall suit other projects too
  }
  if (request.options.output_dir) libraries.insert("pyarrow.parquet");
  if (request.options.query) libraries.insert({"datafusion", "sqlglot"});
  return libraries;
}

arrow::Result<RunRequest> CheckSpec(RunSpec& spec, const EngineOptions& engine) {
  RunRequest request;
  ARROW_ASSIGN_OR_RAISE(request.options, CompleteOptions(std::move(spec.options)));
  request.backend = request.options.backend;
  request.plan_only = spec.plan_only;
  request.surroundings = spec.surroundings ? *std::move(spec.surroundings)
                                           : Surroundings{.python_path = engine.python_path};
  Surroundings& surroundings = request.surroundings;
  if (surroundings.python.empty()) surroundings.python = engine.python;
  ARROW_RETURN_NOT_OK(CheckPython(surroundings.python));
  if (surroundings.descriptors == 0) surroundings.descriptors = usual_descriptors;
  Environment* environment = surroundings.environment ? &*surroundings.environment : nullptr;
  ARROW_RETURN_NOT_OK(SetTimeouts(environment, request));
  if (environment != nullptr) surroundings.late_environment = TakeLate(*environment);
  request.libraries = LibrariesFor(request, engine);
  return request;
}

}  // namespace

arrow::Result<std::unique_ptr<Engine>> Engine::Make(EngineOptions options) {
  if (options.python.empty()) {
    const char* configured = std::getenv("ZERROW_PYTHON");
    options.python = configured != nullptr && *configured != '\0' ? configured : "python3";
  }
  ARROW_RETURN_NOT_OK(CheckPython(options.python));
  if (!options.shim_path.empty() && ::access(options.shim_path.c_str(), R_OK) != 0) {
    return Status::Invalid("the allocator shim ", options.shim_path, " can't be read");
  }
  AllowManyDescriptors();
  ARROW_ASSIGN_OR_RAISE(auto loop, Loop::Make(options));
  return std::unique_ptr<Engine>(new Engine(std::move(options), std::move(loop)));
}

Engine::Engine(EngineOptions options, std::unique_ptr<Loop> loop)
    : options_(std::move(options)), loop_(std::move(loop)) {}
Engine::~Engine() = default;

RunId Engine::Submit(RunSpec spec, std::unique_ptr<RunSink> sink) {
  const RunId id = loop_->NextId();
  auto request = CheckSpec(spec, options_);
  if (request.ok()) {
    loop_->Add(id, *std::move(request), std::move(spec.cancel), std::move(sink));
  } else {
    sink->Done(request.status());
  }
  return id;
}

void Engine::Cancel(RunId run) { loop_->Cancel(run); }

void Engine::Resume(RunId run) { loop_->Resume(run); }

arrow::Result<RunResult> Engine::Run(const RunOptions& options, RunObserver& observer,
                                     const CancelToken& cancel) {
  ARROW_ASSIGN_OR_RAISE(const auto queue, RunQueue::Make());
  RunSpec spec;
  spec.options = options;
  spec.cancel = cancel;
  return Wait(Submit(std::move(spec), RunQueue::Sink(queue)), *queue, observer);
}

arrow::Result<Explanation> Engine::Explain(const RunOptions& options, const CancelToken& cancel) {
  ARROW_ASSIGN_OR_RAISE(const auto queue, RunQueue::Make());
  RunSpec spec;
  spec.options = options;
  spec.plan_only = true;
  spec.cancel = cancel;
  RunObserver silent;
  ARROW_ASSIGN_OR_RAISE(RunResult result,
                        Wait(Submit(std::move(spec), RunQueue::Sink(queue)), *queue, silent));
  return std::move(result.explanation);
}

arrow::Result<RunResult> Engine::Wait(RunId run, RunQueue& queue, RunObserver& observer) {
  queue.OnRoom([this, run] { Resume(run); });
  while (true) {
    auto item = queue.Take(std::chrono::hours(1));
    if (!item) continue;
    if (auto* done = std::get_if<RunQueue::Done>(&*item)) return std::move(*done);
    Tell(observer, std::get<RunEvent>(*item));
  }
}

std::vector<BackendInfo> Engine::DescribeBackends() const {
  std::vector<BackendInfo> backends = {
      DescribeKernelZero(),
      DescribeMemfd(options_),
      {BackendKind::kCopy, true, "Arrow IPC streams in shared memory, mapped by their readers"},
      {BackendKind::kFullCopy, true,
       "Arrow IPC streams in shared memory, copied by their readers"}};
  // With iterators, as clang 14 can't compile the ranges' version.
  std::stable_partition(backends.begin(), backends.end(),
                        [](const BackendInfo& backend) { return backend.available; });
  return backends;
}

arrow::Result<EngineStatus> Engine::Inspect() const { return loop_->Inspect(); }
arrow::Result<std::vector<CachedColumn>> Engine::ListCache() const { return loop_->ListCache(); }
arrow::Result<int64_t> Engine::ClearCache() { return loop_->ClearCache(); }

arrow::Result<ZygoteInfo> Engine::Probe() const {
  ARROW_ASSIGN_OR_RAISE(const auto loop, EventLoop::Make());
  ZygoteOptions options;
  options.python = options_.python;
  options.python_path = options_.python_path;
  options.shim_path = options_.shim_path;
  ARROW_ASSIGN_OR_RAISE(const auto workers, WorkerPool::Make(*loop, options));
  ARROW_ASSIGN_OR_RAISE(const auto patience, TimeoutOf(nullptr, kStartTimeout, 60s));
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!workers->ready() && !workers->lost()) {
    ARROW_RETURN_NOT_OK(loop->RunOnce(std::chrono::milliseconds(100)));
    if (std::chrono::steady_clock::now() > deadline) return Status::IOError("the zygote hangs");
  }
  if (workers->lost()) return Status::IOError(workers->why_lost());
  return *workers->ready();
}

}  // namespace zerrow::engine
