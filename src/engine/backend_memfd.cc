#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "engine/backend.h"

namespace zerrow::engine {

namespace {

class MemfdGrant final : public Grant {
 public:
  MemfdGrant(uint64_t worker, base::UniqueFd socket, std::shared_ptr<shm::SharedMemory> memory,
             shm::SegmentStore& store)
      : worker_(worker),
        socket_(std::move(socket)),
        memory_(std::move(memory)),
        ids_(store.ids()),
        reaper_(store.reaper()) {}

  // Without references all chunks go back to the pool, on the reaper's thread: it takes time.
  ~MemfdGrant() override {
    TakeChunks();
    auto chunks = std::make_shared<std::vector<shm::GrantedChunk>>(std::move(chunks_));
    if (chunks->empty()) return;
    reaper_.Post([chunks, memory = memory_] {
      [[maybe_unused]] const auto given = memory->Publish(std::move(*chunks), {});
    });
  }

  base::UniqueFd TakeSocket() override { return std::move(socket_); }

  int64_t BackedBytes() const override { return memory_->broker().BackedBytes(worker_); }

  bool IsSettled(const OutputAnswer& output) override {
    TakeChunks();
    return Grant::IsSettled(output) && std::ranges::all_of(chunks_, [this](const auto& granted) {
             return memory_->pool().source().CheckUnused(granted.chunk).ok();
           });
  }

  void Discard() override {
    TakeChunks();
    for (const auto& [id, chunk] : chunks_) {
      const auto fd = memory_->pool().source().OpenForWriting(chunk);
      const ByteRange all = {0, chunk.size_bytes};
      // What can't be given back now is when the worker is gone.
      if (fd.ok()) [[maybe_unused]]
        const auto punched = shm::Punch(fd->get(), {&all, 1});
    }
  }

  arrow::Result<Publication> Publish(OutputAnswer output, Segments inputs) override {
    // What the allocator doesn't reach is copied, as a whole file if the worker chose so.
    if (output.format == PublishedTable::Format::kArrowFile) {
      return PublishFile(std::move(output), *ids_, reaper_);
    }
    TakeChunks();
    return PublishReferences(std::move(output), {std::move(inputs), std::move(chunks_), 0}, *ids_,
                             reaper_, *memory_);
  }

 private:
  // The broker gives them once, and from then on no more of them to the worker.
  void TakeChunks() {
    auto taken = memory_->broker().TakeWorker(worker_);
    std::ranges::move(taken, std::back_inserter(chunks_));
  }

  const uint64_t worker_;
  base::UniqueFd socket_;
  std::vector<shm::GrantedChunk> chunks_;  // taken back from the worker
  const std::shared_ptr<shm::SharedMemory> memory_;
  const std::shared_ptr<shm::SegmentIds> ids_;
  const base::TaskThread& reaper_;
};

class MemfdBackend final : public Backend {
 public:
  MemfdBackend(std::string shim_path, std::shared_ptr<shm::SharedMemory> memory,
               shm::SegmentStore& store)
      : shim_path_(std::move(shim_path)), memory_(std::move(memory)), store_(store) {}

  BackendKind kind() const override { return BackendKind::kMemfd; }
  void Configure(ZygoteOptions& zygote) const override { zygote.shim_path = shim_path_; }

  arrow::Result<std::unique_ptr<Grant>> MakeGrant() override {
    const uint64_t worker = next_worker_++;
    ARROW_ASSIGN_OR_RAISE(base::UniqueFd socket, memory_->broker().AddWorker(worker));
    return std::make_unique<MemfdGrant>(worker, std::move(socket), memory_, store_);
  }

 private:
  const std::string shim_path_;
  const std::shared_ptr<shm::SharedMemory> memory_;
  shm::SegmentStore& store_;
  uint64_t next_worker_ = 1;  // what the broker knows a worker by
};

}  // namespace

std::unique_ptr<Backend> MakeMemfdBackend(std::string shim_path,
                                          std::shared_ptr<shm::SharedMemory> memory,
                                          shm::SegmentStore& store) {
  return std::make_unique<MemfdBackend>(std::move(shim_path), std::move(memory), store);
}

}  // namespace zerrow::engine
