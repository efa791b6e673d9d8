#include <utility>

#include "engine/backend.h"

namespace zerrow::engine {

namespace {

class KernelZeroGrant final : public Grant {
 public:
  KernelZeroGrant(std::shared_ptr<shm::SharedMemory> memory, shm::SegmentStore& store)
      : memory_(std::move(memory)),
        ids_(store.ids()),
        reaper_(store.reaper()),
        segment_(ids_->Next()) {}

  void Describe(nlohmann::json& task) const override { task["segment"] = segment_; }

  arrow::Result<Publication> Publish(OutputAnswer output, Segments inputs) override {
    if (output.format == PublishedTable::Format::kArrowFile) {
      return PublishFile(std::move(output), *ids_, reaper_);
    }
    return PublishReferences(std::move(output), {std::move(inputs), {}, segment_}, *ids_, reaper_,
                             *memory_);
  }

 private:
  const std::shared_ptr<shm::SharedMemory> memory_;
  const std::shared_ptr<shm::SegmentIds> ids_;
  const base::TaskThread& reaper_;
  const SegmentId segment_;  // for what the worker moves itself
};

class KernelZeroBackend final : public Backend {
 public:
  KernelZeroBackend(std::shared_ptr<shm::SharedMemory> memory, shm::SegmentStore& store)
      : memory_(std::move(memory)), store_(store) {}

  BackendKind kind() const override { return BackendKind::kKernelZero; }
  void Configure(ZygoteOptions& zygote) const override { zygote.whole_pages = true; }
  arrow::Result<std::unique_ptr<Grant>> MakeGrant() override {
    return std::make_unique<KernelZeroGrant>(memory_, store_);
  }

 private:
  const std::shared_ptr<shm::SharedMemory> memory_;
  shm::SegmentStore& store_;
};

}  // namespace

std::unique_ptr<Backend> MakeKernelZeroBackend(std::shared_ptr<shm::SharedMemory> memory,
                                               shm::SegmentStore& store) {
  return std::make_unique<KernelZeroBackend>(std::move(memory), store);
}

}  // namespace zerrow::engine
