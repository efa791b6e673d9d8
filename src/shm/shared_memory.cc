#include "shm/shared_memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <thread>

namespace zerrow::shm {

namespace {

arrow::Result<std::unique_ptr<ChunkSource>> MakeSource(SharedMemoryOptions::Source kind) {
  if (kind == SharedMemoryOptions::Source::kMemfd) return MakeMemfdSource();
  auto tmpfs = MakeTmpfsSource();
  if (!tmpfs.ok() && kind == SharedMemoryOptions::Source::kBest) return MakeMemfdSource();
  return tmpfs;
}

// By now the engine has raised the limit as far as it may.
int64_t UsableDescriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  std::error_code ignored;
  const std::filesystem::directory_iterator all("/proc/self/fd", ignored);
  const auto open = std::distance(begin(all), end(all));
  // A worker's sockets and pipes, its pidfd and those of its children for a moment, its output's
  // message: and there are about as many workers as cores.
  const int64_t reserve = 64 + 16 * int64_t{std::thread::hardware_concurrency()};
  const auto most = static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, 1 << 30));
  return DescriptorBudget::Capacity(most, open, reserve);
}

}  // namespace

arrow::Result<std::unique_ptr<SharedMemory>> SharedMemory::Make(SharedMemoryOptions options) {
  ARROW_ASSIGN_OR_RAISE(auto source, MakeSource(options.source));
  std::unique_ptr<SharedMemory> memory(new SharedMemory());
  memory->ids_ = options.ids ? options.ids : std::make_shared<SegmentIds>();
  memory->reaper_ = std::make_unique<base::TaskThread>();
  memory->descriptors_ =
      DescriptorBudget::Make(options.descriptors > 0 ? options.descriptors : UsableDescriptors());
  memory->pool_ = std::make_shared<ChunkPool>(std::move(source), options.pool, memory->descriptors_,
                                              memory->reaper_->handle());
  if (options.broker.worker_limit_chunks == 0) {
    options.broker.worker_limit_chunks =
        std::max<int64_t>(1, memory->descriptors_->capacity() / kDescriptorsPerChunk / 2);
  }
  ARROW_ASSIGN_OR_RAISE(
      memory->broker_,
      ChunkBroker::Make(memory->pool_, memory->ids_, memory->reaper_->handle(), options.broker));
  // Often enough that idle memory goes at most half as late again as was asked.
  const auto interval = std::clamp<std::chrono::milliseconds>(
      options.pool.idle / 2, std::chrono::milliseconds(10), std::chrono::seconds(5));
  memory->reaper_->Every(interval, [weak = std::weak_ptr(memory->pool_)] {
    if (const auto pool = weak.lock()) pool->Tick(std::chrono::steady_clock::now());
  });
  return memory;
}

SharedMemory::~SharedMemory() = default;

arrow::Result<Publication> SharedMemory::Publish(std::vector<GrantedChunk> chunks,
                                                 std::span<const Reference> references) {
  return shm::Publish(std::move(chunks), references, pool_, *reaper_);
}

arrow::Result<std::shared_ptr<const Segment>> SharedMemory::PublishMemfd(SegmentId id,
                                                                         base::UniqueFd fd,
                                                                         int64_t size_bytes) {
  return Segment::FromMemfd(id, std::move(fd), size_bytes, *reaper_);
}

}  // namespace zerrow::shm
