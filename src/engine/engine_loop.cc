#include "engine/engine_loop.h"

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <future>
#include <limits>
#include <utility>

#include "base/exceptions.h"
#include "base/machine.h"
#include "shm/kernelzero.h"

namespace zerrow::engine {

using arrow::Status;
using resource::RunId;
using std::chrono::milliseconds;

namespace {

// Memory must be sampled at least every 10 ms.
constexpr milliseconds kTick{8};
constexpr milliseconds kForever = std::chrono::hours(1);
// The kernel ends in time what was killed; beyond that something is broken, and goes with us.
constexpr std::chrono::seconds kStopPatience{5};
constexpr std::chrono::seconds kInspectPatience{5};
// Cached columns, each of which costs a descriptor.
constexpr size_t kFewestCached = 64;
constexpr size_t kMostCached = 1 << 16;
constexpr size_t kTablesTold = 20;
constexpr int64_t kMostFooterBytes = 64 << 20;

// As `auto` tries them.
constexpr std::array kByPreference = {BackendKind::kKernelZero, BackendKind::kMemfd,
                                      BackendKind::kCopy};

// Without a folder to write to nothing is gained by trying.
EvictionPolicy PolicyOf(EvictionPolicy wanted, bool can_spill) {
  if (can_spill) return wanted;
  if (wanted == EvictionPolicy::kAdaptive) return EvictionPolicy::kRollback;
  return wanted == EvictionPolicy::kSwap ? EvictionPolicy::kNone : wanted;
}

// It reads all of a table, also of one that merely refers to its inputs' memory: worth it where
// memory is short by intent, or where nothing but making tables again is left.
bool ShouldHash(EvictionPolicy policy, const EngineOptions& engine, const RunOptions& run) {
  const bool is_short = engine.memory.limit_bytes || run.memory_limit_bytes;
  return policy == EvictionPolicy::kRollback || (policy == EvictionPolicy::kAdaptive && is_short);
}

// Without a hash nobody would see that a table differs: none is dropped but those of sources.
void ForbidDropping(const engine::Run& run, std::vector<resource::TaskSpec>& tasks) {
  const size_t first = run.task_count() - tasks.size();
  for (size_t i = 0; i < tasks.size(); ++i) {
    const RunTask& task = run.task(first + i);
    if (task.kind != RunTask::Kind::kNode) continue;
    if (!run.plan().nodes[task.node].of_source()) tasks[i].deterministic = false;
  }
}

// Null: tables stay in memory, or are made again.
arrow::Result<std::shared_ptr<shm::SpillFolder>> MakeSpillFolder(const MemoryOptions& memory) {
  using enum EvictionPolicy;
  if (memory.eviction == kNone || memory.eviction == kRollback) return nullptr;
  const bool is_default = memory.spill_dir.empty();
  const std::string path = is_default ? DefaultSpillFolder() : memory.spill_dir;
  if (path.empty()) return nullptr;
  shm::SpillOptions options;
  if (memory.spill_limit_bytes) options.limit_bytes = *memory.spill_limit_bytes;
  auto folder = shm::SpillFolder::Make(path, options);
  // A home folder in memory, or that can't be written to, is no reason to run nothing.
  if (!folder.ok() && is_default) return nullptr;
  return folder;
}

}  // namespace

std::string DefaultSpillFolder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && cache[0] == '/') return std::string(cache) + "/zerrow/spill";
  const char* home = std::getenv("HOME");
  return home != nullptr && home[0] == '/' ? std::string(home) + "/.cache/zerrow/spill" : "";
}

int64_t DefaultMemoryLimit() {
  const int64_t usable_bytes = sandbox::UsableMemoryBytes();
  return usable_bytes - usable_bytes / 5;
}

arrow::Result<std::unique_ptr<Engine::Loop>> Engine::Loop::Make(const EngineOptions& options) {
  ARROW_ASSIGN_OR_RAISE(auto events, EventLoop::Make());
  ARROW_ASSIGN_OR_RAISE(auto spill, MakeSpillFolder(options.memory));
  std::unique_ptr<Loop> loop(new Loop(options, std::move(spill), std::move(events)));
  loop->thread_ = std::thread([raw = loop.get()] { raw->Work(); });
  return loop;
}

Engine::Loop::Loop(const EngineOptions& options, std::shared_ptr<shm::SpillFolder> spill,
                   std::unique_ptr<EventLoop> loop)
    : options_(options), spill_(std::move(spill)), loop_(std::move(loop)) {}

Engine::Loop::~Loop() {
  stopping_ = true;
  loop_->Call([] {});
  thread_.join();
}

resource::Time Engine::Loop::Now() const {
  return std::chrono::duration<resource::Time>(Clock::now() - began_).count();
}

void Engine::Loop::Add(RunId id, RunRequest request, std::optional<CancelToken> cancel,
                       std::unique_ptr<RunSink> sink) {
  struct Held {
    RunRequest request;
    std::optional<CancelToken> cancel;
    std::unique_ptr<RunSink> sink;
  };
  auto held = std::make_shared<Held>(Held{std::move(request), std::move(cancel), std::move(sink)});
  loop_->Call([this, id, held] {
    Begin(id, std::move(held->request), std::move(held->cancel), std::move(held->sink));
  });
}

void Engine::Loop::Cancel(RunId run) {
  loop_->Call([this, run] { dispatcher_->Cancel(run); });
}

void Engine::Loop::Resume(RunId run) {
  loop_->Call([this, run] { dispatcher_->Resume(run); });
}

template <typename T>
arrow::Result<T> Engine::Loop::Ask(std::function<T()> question) {
  auto promise = std::make_shared<std::promise<T>>();
  auto answer = promise->get_future();
  loop_->Call([promise, question] { promise->set_value(question()); });
  if (answer.wait_for(kInspectPatience) != std::future_status::ready) {
    return Status::IOError("the engine doesn't answer");
  }
  return answer.get();
}

arrow::Result<EngineStatus> Engine::Loop::Inspect() {
  return Ask<EngineStatus>([this] { return Describe(); });
}

arrow::Result<std::vector<CachedColumn>> Engine::Loop::ListCache() {
  return Ask<std::vector<CachedColumn>>([this] {
    std::vector<CachedColumn> columns;
    for (const auto& [key, entry] : performer_->scans().List()) {
      columns.push_back({key.file.path, key.first_group, entry.groups, key.column, entry.bytes,
                         entry.hits, entry.decode_s, entry.saved_s});
    }
    return columns;
  });
}

arrow::Result<int64_t> Engine::Loop::ClearCache() {
  return Ask<int64_t>([this] {
    const int64_t bytes = performer_->scans().cached_bytes();
    performer_->scans().Clear();
    return bytes;
  });
}

decache::Cache::Limits Engine::Loop::CacheLimits() const {
  decache::Cache::Limits limits;
  limits.bytes = options_.cache_bytes.value_or(std::min(memory_limit(), usable_bytes_) / 4);
  rlimit files = {};
  ::getrlimit(RLIMIT_NOFILE, &files);
  limits.entries = std::clamp<size_t>(files.rlim_cur / 4, kFewestCached, kMostCached);
  limits.footer_bytes = kMostFooterBytes;
  return limits;
}

EngineStatus::Memory Engine::Loop::DescribeMemory() const {
  const resource::Core& core = dispatcher_->core();
  const sandbox::MemorySampler& sampler = performer_->sampler();
  EngineStatus::Memory memory;
  if (core.budget().limited()) memory.limit_bytes = core.budget().limit_bytes;
  memory.reserve_bytes = core.budget().reserve_bytes;
  memory.used_bytes = sampler.current_bytes();
  memory.charged_bytes = core.charged_bytes();
  memory.committed_bytes = core.committed_bytes();
  memory.segment_bytes = core.ledger().use().memory_bytes;
  memory.backed_bytes = store_.BackedBytes() + live_memory_->reading_bytes();
  memory.spilled_bytes = store_.spilled_bytes();
  memory.anon_bytes = sampler.usage().anon_bytes;
  memory.shmem_bytes = sampler.usage().shmem_bytes;
  memory.method = sampler.method();
  memory.hard_limit = sampler.has_cgroup();
  memory.stalled = sampler.StalledShare();
  memory.eviction = PolicyOf(options_.memory.eviction, spill_ != nullptr);
  if (spill_) memory.spill_dir = spill_->path();
  if (history_) memory.history = history_->problem();
  for (auto& [run, model, bytes, disk_bytes] : dispatcher_->LargestTables(kTablesTold)) {
    memory.tables.push_back({std::move(run), std::move(model), bytes, disk_bytes});
  }
  if (const auto& blocked = core.blocked()) {
    memory.waiting_model = dispatcher_->NameOf(*blocked);
    memory.waiting_reason = core.ExplainWait(*blocked);
  }
  return memory;
}

EngineStatus Engine::Loop::Describe() const {
  EngineStatus status;
  status.uptime_s = Now();
  for (const Zygotes::Entry& entry : performer_->zygotes().entries()) {
    const auto& preload = entry.options.preload;
    status.zygotes.push_back(
        {entry.pool->zygote_pid(), entry.options.python, {preload.begin(), preload.end()}});
  }
  status.memory = DescribeMemory();
  status.workers = performer_->WorkerPids();
  status.table_bytes = performer_->TableBytes();
  status.cache_bytes = performer_->scans().cached_bytes();
  status.pool_bytes = memory_ ? memory_->pool().stats().free_bytes : 0;
  return status;
}

int64_t Engine::Loop::memory_limit() const {
  const int64_t wanted = options_.memory.limit_bytes.value_or(DefaultMemoryLimit());
  if (wanted == resource::Budget::kUnlimited) return wanted;
  // Beyond that the kernel, or whoever limits this engine, would end it first.
  return std::min(wanted, usable_bytes_ - usable_bytes_ / 20);
}

void Engine::Loop::MakePerformers() {
  LivePerformer::Options performing;
  performing.idle = options_.zygote_idle;
  performing.now = [this] { return Now(); };
  performing.cache = CacheLimits();
  performing.budget = resource::Budget::Of(memory_limit());
  performing.backend = [this](BackendKind kind) { return FindBackend(kind); };
  performing.spare_bytes = [this] {
    return (memory_ ? memory_->pool().stats().free_bytes : 0) + live_memory_->reading_bytes();
  };
  performing.on_free = [this](SegmentId segment) { live_memory_->Forget(segment); };
  performing.check_cancelled = [this] { CheckCancelled(); };
  performer_ = std::make_unique<LivePerformer>(*loop_, store_, std::move(performing));
  LiveMemory::Options remembering;
  remembering.limit_bytes = memory_limit();
  remembering.spill = spill_;
  remembering.memory = [this] { return memory_; };
  remembering.now = [this] { return Now(); };
  live_memory_ = std::make_unique<LiveMemory>(*loop_, store_, *performer_, std::move(remembering));
}

void Engine::Loop::MakeDispatcher() {
  if (History::IsWanted()) history_ = std::make_unique<History>(History::DefaultPath());
  estimates_ = std::make_unique<Estimates>(history_.get());
  Dispatcher::Options dispatching;
  dispatching.slots = options_.slots > 0 ? options_.slots : base::UsableCores();
  dispatching.now = [this] { return Now(); };
  // A result may outlive the engine, but then nobody counts it any more.
  dispatching.on_result_dropped = [this, weak = std::weak_ptr(loop_)](resource::TaskId task) {
    if (const auto loop = weak.lock()) {
      loop->Call([this, task] { dispatcher_->DropResult(task); });
    }
  };
  dispatching.budget = live_memory_->budget();
  dispatching.policy = PolicyOf(options_.memory.eviction, spill_ != nullptr);
  dispatching.memory = live_memory_.get();
  dispatching.estimate = [this](RunId /*id*/, const engine::Run& run, auto& tasks) {
    estimates_->Fill(run, tasks);
    if (!run.request().hash_outputs) ForbidDropping(run, tasks);
  };
  dispatching.on_taken = [this](const engine::Run& run, size_t task,
                                std::optional<int64_t> charged_peak_bytes) {
    estimates_->Note(run, task, charged_peak_bytes);
  };
  dispatching.on_varied = [this](const engine::Run& run, size_t task) {
    estimates_->NoteVarying(run, task);
  };
  dispatcher_ = std::make_unique<Dispatcher>(std::move(dispatching), *performer_);
  performer_->Attach(*dispatcher_);
  live_memory_->Attach(*dispatcher_);
}

void Engine::Loop::Work() {
  MakePerformers();
  MakeDispatcher();
  const Status status = base::CatchExceptions([this] { return Serve(); });
  live_memory_->StopTransfers();
  performer_.reset();
  loop_->Stop();  // what is being published needs the store
  dispatcher_->Abandon(status.ok() ? Status::IOError("the engine ended before the run did")
                                   : status.WithMessage("the engine failed: ", status.message()));
  dispatcher_.reset();
  live_memory_.reset();
  estimates_.reset();
  history_.reset();
}

Status Engine::Loop::Serve() {
  while (!stopping_) ARROW_RETURN_NOT_OK(Tick());
  dispatcher_->CancelAll();
  const auto deadline = Clock::now() + kStopPatience;
  while (!dispatcher_->idle() && Clock::now() < deadline) ARROW_RETURN_NOT_OK(Tick());
  return Status::OK();
}

Status Engine::Loop::Tick() {
  ARROW_RETURN_NOT_OK(loop_->RunOnce(WaitingTime()));
  dispatcher_->OnTime();
  Rest();
  if (Clock::now() - sampled_ < kTick) return Status::OK();
  sampled_ = Clock::now();
  performer_->OnTime();
  live_memory_->OnTime();
  std::erase_if(cancellations_, [this](const auto& entry) {
    if (dispatcher_->Find(entry.first) != nullptr) return false;
    loop_->Unwatch(entry.second.watch);
    return true;
  });
  return Status::OK();
}

// Nobody has wanted anything for a while: what is kept for the next run goes, but for a zygote.
void Engine::Loop::Rest() {
  const auto after = [&](milliseconds idle) -> std::optional<resource::Time> {
    if (idle.count() == 0) return std::nullopt;
    return Now() + std::chrono::duration<resource::Time>(idle).count();
  };
  if (!dispatcher_->idle()) {
    rest_at_ = after(options_.rest_after);
    clear_at_ = after(options_.zygote_idle);
    return;
  }
  if (clear_at_ && Now() >= *clear_at_) {
    clear_at_.reset();
    performer_->scans().Clear();
  }
  if (!rest_at_ || Now() < *rest_at_) return;
  rest_at_.reset();
  if (memory_) memory_->ReleaseIdle(std::numeric_limits<int64_t>::max());
  performer_->zygotes().KeepIdle(1);
  loop_->Post(
      EventLoop::Lane::kMemory, [] { ::malloc_trim(0); }, [] {});
}

milliseconds Engine::Loop::WaitingTime() const {
  const bool idle = dispatcher_->idle();
  milliseconds wait = idle ? kForever : kTick;
  const auto until = [&](std::optional<resource::Time> next) {
    if (!next) return;
    const std::chrono::duration<resource::Time> left(std::max(*next - Now(), 0.0));
    wait = std::min(wait, std::chrono::ceil<milliseconds>(left));
  };
  until(idle ? performer_->zygotes().next_deadline() : dispatcher_->core().next_deadline());
  if (idle) until(rest_at_);
  if (idle) until(clear_at_);
  return wait;
}

void Engine::Loop::Begin(RunId id, RunRequest request, std::optional<CancelToken> cancel,
                         std::unique_ptr<RunSink> sink) {
  Status status;
  if (request.plan_only) {
    request.backend = BackendKind::kCopy;
    status = MakeBackend(request.backend);
  } else {
    status = ChooseBackend(request.backend).Value(&request.backend);
  }
  if (status.ok() && cancel) status = WatchCancel(id, *std::move(cancel));
  if (stopping_ && status.ok()) status = Status::Cancelled("the engine is stopping");
  if (!status.ok()) return sink->Done(status);
  if (history_) history_->Refresh();
  resource::Budget budget;
  if (const auto limit = request.options.memory_limit_bytes) {
    budget = resource::Budget::Of(*limit);
  }
  const EvictionPolicy policy = PolicyOf(options_.memory.eviction, spill_ != nullptr);
  request.hash_outputs = ShouldHash(policy, options_, request.options);
  const int priority = request.options.priority;
  dispatcher_->Add(id, std::move(request), std::move(sink), budget, priority);
}

Status Engine::Loop::WatchCancel(RunId id, CancelToken token) {
  ARROW_ASSIGN_OR_RAISE(const auto watch, loop_->Watch(token.fd(), [this] { CheckCancelled(); }));
  cancellations_.emplace(id, Cancellation{std::move(token), watch});
  return Status::OK();
}

void Engine::Loop::CheckCancelled() {
  std::vector<RunId> cancelled;
  for (auto& [id, cancellation] : cancellations_) {
    if (!cancellation.token.cancelled()) continue;
    loop_->Unwatch(cancellation.watch);
    cancelled.push_back(id);
  }
  for (const RunId id : cancelled) {
    cancellations_.erase(id);
    dispatcher_->Cancel(id);
  }
}

Backend* Engine::Loop::FindBackend(BackendKind kind) const {
  const auto found = backends_.find(kind);
  return found == backends_.end() ? nullptr : found->second.get();
}

arrow::Result<BackendKind> Engine::Loop::ChooseBackend(BackendKind wanted) {
  if (wanted != BackendKind::kAuto) {
    const Status made = MakeBackend(wanted);
    if (made.ok()) return wanted;
    return Status::Invalid("the backend ", ToString(wanted), " isn't available: ", made.message());
  }
  for (const BackendKind kind : kByPreference) {
    if (MakeBackend(kind).ok()) return kind;
  }
  return Status::Invalid("no backend is available");
}

// Idempotent; why it isn't there.
Status Engine::Loop::MakeBackend(BackendKind kind) {
  if (FindBackend(kind) != nullptr) return Status::OK();
  const bool shares = kind == BackendKind::kMemfd || kind == BackendKind::kKernelZero;
  if (kind == BackendKind::kMemfd && options_.shim_path.empty()) {
    return Status::IOError("the allocator shim libzerrow_shim.so wasn't found");
  }
  if (kind == BackendKind::kKernelZero) {
    const shm::Capability module = shm::ProbeKernelZero();
    if (!module.available) return Status::IOError(module.detail);
  }
  if (shares && !memory_) {
    shm::SharedMemoryOptions sharing;
    sharing.ids = store_.ids();
    sharing.pool = shm::PoolOptions::ForMemory(std::min(usable_bytes_, memory_limit()));
    ARROW_ASSIGN_OR_RAISE(memory_, shm::SharedMemory::Make(std::move(sharing)));
  }
  switch (kind) {
    case BackendKind::kMemfd:
      backends_[kind] = MakeMemfdBackend(options_.shim_path, memory_, store_);
      break;
    case BackendKind::kKernelZero:
      backends_[kind] = MakeKernelZeroBackend(memory_, store_);
      break;
    case BackendKind::kCopy:
    case BackendKind::kFullCopy:
      backends_[kind] = MakeCopyBackend(kind, store_);
      break;
    case BackendKind::kAuto:
      return Status::Invalid("auto is no backend of its own");
  }
  return Status::OK();
}

}  // namespace zerrow::engine
