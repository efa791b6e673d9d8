#include "shm/shared_memory.h"

#include <algorithm>

namespace zerrow::shm {

namespace {

arrow::Result<std::unique_ptr<ChunkSource>> MakeSource(SharedMemoryOptions::Source kind) {
  if (kind == SharedMemoryOptions::Source::kMemfd) return MakeMemfdSource();
  auto tmpfs = MakeTmpfsSource();
  if (!tmpfs.ok() && kind == SharedMemoryOptions::Source::kBest) return MakeMemfdSource();
  return tmpfs;
}

}  // namespace

arrow::Result<std::unique_ptr<SharedMemory>> SharedMemory::Make(SharedMemoryOptions options) {
  ARROW_ASSIGN_OR_RAISE(auto source, MakeSource(options.source));
  std::unique_ptr<SharedMemory> memory(new SharedMemory());
  memory->ids_ = options.ids ? options.ids : std::make_shared<SegmentIds>();
  memory->reaper_ = std::make_unique<Reaper>();
  memory->pool_ =
      std::make_shared<ChunkPool>(std::move(source), options.pool, memory->reaper_->handle());
  ARROW_ASSIGN_OR_RAISE(memory->broker_,
                        ChunkBroker::Make(memory->pool_, memory->ids_, options.broker));
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
