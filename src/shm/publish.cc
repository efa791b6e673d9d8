#include "shm/publish.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "shm/trim.h"

namespace zerrow::shm {

namespace {

double ThreadCpuSeconds() {
  timespec now;
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::span<const Reference> ReferencesTo(SegmentId id, std::span<const Reference> references) {
  // Not ranges::equal_range: clang 14 can't compile its result.
  const auto begin = std::ranges::lower_bound(references, id, {}, &Reference::segment);
  const auto end = std::ranges::upper_bound(references, id, {}, &Reference::segment);
  return {begin, end};
}

arrow::Status TrimChunk(const ChunkSource& source, GrantedChunk& granted,
                        std::span<const Reference> references, Publication& out) {
  const double start_s = ThreadCpuSeconds();
  const int64_t size_bytes = granted.chunk.size_bytes;
  ARROW_ASSIGN_OR_RAISE(const auto uncovered, UncoveredRanges(references, size_bytes));
  const int64_t before_bytes = BackedBytes(granted.chunk);
  ARROW_ASSIGN_OR_RAISE(const base::UniqueFd fd, source.OpenForWriting(granted.chunk));
  TrimPlan plan = PlanTrim(uncovered, size_bytes, source.huge_pages());
  ARROW_RETURN_NOT_OK(Trim(fd.get(), plan));
  granted.chunk.broken = std::move(plan.broken);
  const int64_t after_bytes = BackedBytes(granted.chunk);
  out.trimmed_bytes += before_bytes - after_bytes;
  out.backed_bytes += after_bytes;
  for (const Reference& reference : references) out.referenced_bytes += reference.length;
  out.trim_cpu_s += ThreadCpuSeconds() - start_s;
  return arrow::Status::OK();
}

// What brings a published chunk back to its pool, if that still exists. Null: it can't come back.
Segment::Disposal Recycle(Chunk& chunk, const std::shared_ptr<ChunkPool>& pool) {
  if (!pool->source().recycles_published() || !pool->KeepWayBack(chunk)) return nullptr;
  return [weak = std::weak_ptr(pool)](Chunk chunk) {
    chunk.size_bytes = WholeHugePages(chunk.size_bytes);
    if (const auto pool = weak.lock()) pool->Give(std::move(chunk));
  };
}

arrow::Status PublishOne(GrantedChunk& granted, std::span<const Reference> references,
                         const std::shared_ptr<ChunkPool>& pool, const base::TaskThread& reaper,
                         Publication& out) {
  ARROW_RETURN_NOT_OK(TrimChunk(pool->source(), granted, references, out));
  const double start_s = ThreadCpuSeconds();
  ARROW_RETURN_NOT_OK(pool->source().Freeze(granted.chunk).status());
  out.segments.push_back(AdoptChunk(granted.id, std::move(granted.chunk), pool, reaper));
  out.freeze_cpu_s += ThreadCpuSeconds() - start_s;
  return arrow::Status::OK();
}

}  // namespace

std::shared_ptr<const Segment> AdoptChunk(SegmentId id, Chunk chunk,
                                          const std::shared_ptr<ChunkPool>& pool,
                                          const base::TaskThread& reaper) {
  Segment::Disposal disposal = Recycle(chunk, pool);
  return Segment::Adopt(id, std::move(chunk), pool->source().huge_pages(), reaper,
                        std::move(disposal));
}

arrow::Result<Publication> Publish(std::vector<GrantedChunk> chunks,
                                   std::span<const Reference> references,
                                   const std::shared_ptr<ChunkPool>& pool,
                                   const base::TaskThread& reaper) {
  std::ranges::sort(chunks, {}, &GrantedChunk::id);
  arrow::Status status;
  if (!std::ranges::is_sorted(references, {}, &Reference::segment)) {
    status = arrow::Status::Invalid("references that are not sorted");
  }
  Publication out;
  for (GrantedChunk& granted : chunks) {
    const auto to_it = ReferencesTo(granted.id, references);
    if (status.ok() && !to_it.empty()) status = PublishOne(granted, to_it, pool, reaper, out);
    // Unreferenced, or not publishable.
    const bool published = !out.segments.empty() && out.segments.back()->id() == granted.id;
    if (!published) pool->Give(std::move(granted.chunk));
  }
  ARROW_RETURN_NOT_OK(status);
  return out;
}

}  // namespace zerrow::shm
