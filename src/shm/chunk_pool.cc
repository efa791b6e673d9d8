#include "shm/chunk_pool.h"

#include <utility>

namespace zerrow::shm {

ChunkPool::ChunkPool(std::unique_ptr<ChunkSource> source, PoolOptions options,
                     std::shared_ptr<DescriptorBudget> descriptors, base::TaskThread::Handle reaper)
    : source_(std::move(source)),
      descriptors_(std::move(descriptors)),
      reaper_(std::move(reaper)),
      policy_(options, source_->resizable()) {}

ChunkPool::~ChunkPool() {
  std::vector<Chunk> all;
  for (auto& [key, chunk] : free_) all.push_back(std::move(chunk));
  Free(std::move(all));
}

arrow::Result<Chunk> ChunkPool::Take(int64_t size_bytes) {
  std::optional<Chunk> found = TakeFree(size_bytes);
  if (!found) return Make(size_bytes);
  if (!PoolPolicy::Fits(found->size_bytes, size_bytes)) {
    ARROW_RETURN_NOT_OK(source_->Resize(*found, size_bytes));
  }
  return std::move(*found);
}

arrow::Result<Chunk> ChunkPool::TakeExactly(int64_t size_bytes) {
  std::optional<Chunk> found = TakeFree(size_bytes);
  if (found && found->size_bytes != size_bytes && !source_->resizable()) {
    Give(std::move(*found));
    found.reset();
  }
  if (!found) return Make(size_bytes);
  if (found->size_bytes != size_bytes) ARROW_RETURN_NOT_OK(source_->Resize(*found, size_bytes));
  return std::move(*found);
}

std::optional<Chunk> ChunkPool::TakeFree(int64_t size_bytes) {
  std::lock_guard lock(mutex_);
  const auto key = policy_.Take(size_bytes);
  if (!key) return std::nullopt;
  ++stats_.chunks_reused;
  return std::move(free_.extract(*key).mapped());
}

arrow::Result<Chunk> ChunkPool::Make(int64_t size_bytes) {
  DescriptorBudget::Share descriptors = descriptors_->Take(kDescriptorsPerChunk);
  while (!descriptors) {
    // Ended here and not by the reaper: the descriptors are there only after that.
    if (!TakeOldest()) {
      return arrow::Status::CapacityError("no descriptors are left for another chunk");
    }
    descriptors = descriptors_->Take(kDescriptorsPerChunk);
  }
  ARROW_ASSIGN_OR_RAISE(Chunk chunk, source_->Make(size_bytes));
  chunk.descriptors = std::move(descriptors);
  std::lock_guard lock(mutex_);
  ++stats_.chunks_made;
  return chunk;
}

std::optional<Chunk> ChunkPool::TakeOldest() {
  std::lock_guard lock(mutex_);
  std::vector<Chunk> oldest = Extract(policy_.Shrink(1));
  if (oldest.empty()) return std::nullopt;
  return std::move(oldest.front());
}

bool ChunkPool::KeepWayBack(Chunk& chunk) const {
  if (!chunk.readable.valid()) return true;  // one handle is both
  if (!chunk.spare_descriptor) chunk.spare_descriptor = descriptors_->TakeSpare(1);
  if (chunk.spare_descriptor && !descriptors_->scarce()) return true;
  chunk.writable.reset();
  chunk.spare_descriptor = {};
  return false;
}

arrow::Status ChunkPool::TryGive(Chunk& chunk, TimePoint now) {
  ARROW_RETURN_NOT_OK(source_->Reclaim(chunk));
  const int64_t backed_bytes = BackedBytes(chunk);
  std::vector<Chunk> excess;
  {
    std::lock_guard lock(mutex_);
    const PoolPolicy::Key key = next_key_++;
    const int64_t size_bytes = chunk.size_bytes;
    free_.emplace(key, std::move(chunk));
    excess = Extract(policy_.Add(key, size_bytes, backed_bytes, now));
  }
  Free(std::move(excess));
  return arrow::Status::OK();
}

void ChunkPool::Give(Chunk chunk, TimePoint now) {
  if (TryGive(chunk, now).ok()) return;
  {
    std::lock_guard lock(mutex_);
    ++stats_.chunks_dropped;
  }
  std::vector<Chunk> unusable;
  unusable.push_back(std::move(chunk));
  Free(std::move(unusable));
}

void ChunkPool::Tick(TimePoint now) {
  std::vector<Chunk> idle;
  {
    std::lock_guard lock(mutex_);
    idle = Extract(policy_.Expire(now));
  }
  Free(std::move(idle));
}

int64_t ChunkPool::Shrink(int64_t bytes) {
  std::vector<Chunk> oldest;
  int64_t freed_bytes = 0;
  {
    std::lock_guard lock(mutex_);
    const int64_t before = policy_.backed_bytes();
    oldest = Extract(policy_.Shrink(bytes));
    freed_bytes = before - policy_.backed_bytes();
  }
  Free(std::move(oldest));
  return freed_bytes;
}

PoolStats ChunkPool::stats() const {
  std::lock_guard lock(mutex_);
  PoolStats stats = stats_;
  stats.free_chunks = policy_.count();
  stats.free_bytes = policy_.backed_bytes();
  return stats;
}

std::vector<Chunk> ChunkPool::Extract(const std::vector<PoolPolicy::Key>& keys) {
  std::vector<Chunk> out;
  for (const PoolPolicy::Key key : keys) out.push_back(std::move(free_.extract(key).mapped()));
  stats_.chunks_dropped += static_cast<int64_t>(keys.size());
  return out;
}

void ChunkPool::Free(std::vector<Chunk> chunks) const {
  if (chunks.empty()) return;
  // Shared, as a task must be copyable.
  auto shared = std::make_shared<std::vector<Chunk>>(std::move(chunks));
  reaper_.Post([shared = std::move(shared)] { shared->clear(); });
}

}  // namespace zerrow::shm
