#include "shm/spill_file.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "shm/file_hold.h"
#include "shm/publish.h"
#include "shm/trim.h"

namespace zerrow::shm {

namespace {

using base::Mapping;

// Whole huge pages of a mapping where all of one is data; a page that is data in part would else
// take its whole size.
void AskForHugePages(const Mapping& mapping, const std::vector<ByteRange>& ranges) {
  for (const ByteRange& range : ranges) {
    const int64_t begin = WholeHugePages(range.offset);
    const int64_t end = (range.offset + range.length) / kHugePageBytes * kHugePageBytes;
    if (begin >= end) continue;
    ::madvise(mapping.data() + begin, static_cast<size_t>(end - begin), MADV_HUGEPAGE);
  }
}

// The huge pages that are data in part.
std::vector<ByteRange> BrokenPages(const std::vector<ByteRange>& ranges) {
  std::vector<ByteRange> broken;
  const auto add = [&](int64_t at) {
    const int64_t page = at / kHugePageBytes * kHugePageBytes;
    if (page == at || (!broken.empty() && broken.back().offset == page)) return;
    broken.push_back({page, kHugePageBytes});
  };
  for (const ByteRange& range : ranges) {
    add(range.offset);
    add(range.offset + range.length);
  }
  return broken;
}

// For reading into: a child that is forked meanwhile must not keep it from being frozen.
arrow::Result<Mapping> MapFresh(int fd, int64_t size_bytes) {
  ARROW_ASSIGN_OR_RAISE(Mapping mapping, Mapping::Map(fd, size_bytes, Mapping::Access::kReadWrite));
  ::madvise(mapping.data(), static_cast<size_t>(size_bytes), MADV_DONTFORK);
  return mapping;
}

// A process that was being spawned while the chunk was open for writing has it until its exec.
arrow::Status FreezeWhenClosed(const ChunkSource& source, Chunk& chunk) {
  constexpr int kTries = 1000;
  arrow::Status status = source.Freeze(chunk).status();
  for (int i = 1; i < kTries && status.IsIOError(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    status = source.Freeze(chunk).status();
  }
  return status;
}

}  // namespace

arrow::Result<SpillFile> SpillFile::Write(const std::shared_ptr<SpillFolder>& folder,
                                          const Segment& segment, const std::stop_token& stop) {
  SpillFile file(segment.id(), segment.size_bytes());
  ARROW_ASSIGN_OR_RAISE(base::UniqueFd source, segment.Open());
  ARROW_ASSIGN_OR_RAISE(file.ranges_, DataRanges(source.get(), segment.size_bytes()));
  file.pieces_ = CutPieces(file.ranges_);
  if (file.pieces_.empty()) return file;
  const int64_t bytes = file.pieces_.back().file_offset + file.pieces_.back().bytes;
  ARROW_ASSIGN_OR_RAISE(file.space_, folder->Take(bytes));
  ARROW_ASSIGN_OR_RAISE(file.descriptor_, folder->TakeDescriptor());
  ARROW_ASSIGN_OR_RAISE(file.fd_, folder->MakeFile(bytes));
  file.direct_ = folder->direct();
  Memory memory{std::move(source), {}};
  if (segment.huge()) {
    ARROW_ASSIGN_OR_RAISE(memory.mapping, Mapping::Map(memory.fd.get(), segment.size_bytes(),
                                                       Mapping::Access::kReadOnly));
  }
  ARROW_ASSIGN_OR_RAISE(file.checksums_, file.Move(memory, SpillDirection::kWrite, stop));
  // File systems may write through the cache even if they were asked not to.
  ARROW_RETURN_NOT_OK(DropCache(file.fd_.get(), 0, bytes));
  return file;
}

arrow::Result<std::vector<uint64_t>> SpillFile::Move(const Memory& memory, SpillDirection direction,
                                                     const std::stop_token& stop) const {
  std::vector<uint64_t> checksums(pieces_.size());
  std::vector<SpillBuffer> buffers;
  for (size_t i = 0; i < kSpillThreads; ++i) buffers.emplace_back(nullptr, &std::free);
  ARROW_RETURN_NOT_OK(ForEachPiece(pieces_.size(), stop, [&](size_t index, size_t thread) {
    const SpillPiece& piece = pieces_[index];
    if (memory.mapping.data() != nullptr) {
      ARROW_ASSIGN_OR_RAISE(checksums[index],
                            MoveMapped(fd_.get(), memory.mapping.data(), piece, direction));
    } else {
      SpillBuffer& buffer = buffers[thread];
      if (!buffer) buffer = MakeSpillBuffer();
      if (!buffer) return arrow::Status::OutOfMemory("no memory for a buffer of a spilled segment");
      ARROW_ASSIGN_OR_RAISE(checksums[index],
                            MoveCopied(fd_.get(), memory.fd.get(), buffer.get(), piece, direction));
    }
    return direct_ ? arrow::Status::OK() : DropCache(fd_.get(), piece.file_offset, piece.bytes);
  }));
  return checksums;
}

arrow::Status SpillFile::Fill(const Memory& memory, const std::stop_token& stop) const {
  ARROW_ASSIGN_OR_RAISE(const auto checksums, Move(memory, SpillDirection::kRead, stop));
  if (checksums == checksums_) return arrow::Status::OK();
  return arrow::Status::IOError(
      "the disk returned other bytes of a spilled segment than were "
      "written to it");
}

arrow::Result<std::shared_ptr<const Segment>> SpillFile::Load(
    const std::shared_ptr<ChunkPool>& pool, const base::TaskThread& reaper,
    const std::stop_token& stop) const {
  if (fd_.valid()) {
    ARROW_ASSIGN_OR_RAISE(const int64_t length, base::FileSize(fd_.get()));
    if (length < bytes()) {
      return arrow::Status::IOError("a spilled segment's file has ", length, " bytes, not ",
                                    bytes());
    }
  }
  const bool fits = size_bytes_ % kHugePageBytes == 0 || (pool && pool->source().resizable());
  if (pool == nullptr || size_bytes_ < kHugePageBytes || !fits) return LoadMemfd(reaper, stop);
  return LoadChunk(pool, reaper, stop);
}

arrow::Result<std::shared_ptr<const Segment>> SpillFile::LoadChunk(
    const std::shared_ptr<ChunkPool>& pool, const base::TaskThread& reaper,
    const std::stop_token& stop) const {
  ARROW_ASSIGN_OR_RAISE(Chunk chunk, pool->TakeExactly(size_bytes_));
  arrow::Status status = FillChunk(chunk, pool->source(), stop);
  if (status.ok()) status = FreezeWhenClosed(pool->source(), chunk);
  if (status.ok()) return AdoptChunk(id_, std::move(chunk), pool, reaper);
  chunk.size_bytes = WholeHugePages(chunk.size_bytes);
  pool->Give(std::move(chunk));
  return status;
}

arrow::Status SpillFile::FillChunk(Chunk& chunk, const ChunkSource& source,
                                   const std::stop_token& stop) const {
  Memory memory;
  ARROW_ASSIGN_OR_RAISE(memory.fd, source.OpenForWriting(chunk));
  if (chunk.dirty) {
    std::vector<Reference> references;
    for (const auto& [offset, length] : ranges_) {
      references.push_back({id_, offset, std::min(length, size_bytes_ - offset)});
    }
    ARROW_ASSIGN_OR_RAISE(const auto holes, UncoveredRanges(references, size_bytes_));
    ARROW_RETURN_NOT_OK(Punch(memory.fd.get(), holes));
  }
  if (source.huge_pages()) {
    ARROW_ASSIGN_OR_RAISE(memory.mapping, MapFresh(memory.fd.get(), size_bytes_));
    memory.fd.reset();
    AskForHugePages(memory.mapping, ranges_);
    chunk.broken = BrokenPages(ranges_);
  }
  return Fill(memory, stop);
}

arrow::Result<std::shared_ptr<const Segment>> SpillFile::LoadMemfd(
    const base::TaskThread& reaper, const std::stop_token& stop) const {
  ARROW_ASSIGN_OR_RAISE(base::UniqueFd file, LoadFile(stop));
  return Segment::FromMemfd(id_, std::move(file), size_bytes_, reaper);
}

arrow::Result<base::UniqueFd> SpillFile::LoadFile(const std::stop_token& stop) const {
  Memory memory;
  ARROW_ASSIGN_OR_RAISE(memory.fd, base::MakeMemfd("zerrow-loaded", size_bytes_));
  ARROW_RETURN_NOT_OK(Fill(memory, stop));
  ARROW_RETURN_NOT_OK(base::SealMemfd(memory.fd.get()));
  // By a descriptor for writing a reader could still put memory behind the holes.
  return Reopen(memory.fd.get(), O_RDONLY);
}

}  // namespace zerrow::shm
