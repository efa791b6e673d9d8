#include "engine/backend.h"

namespace zerrow::engine {

namespace {

class CopyGrant final : public Grant {
 public:
  explicit CopyGrant(shm::SegmentStore& store) : ids_(store.ids()), reaper_(store.reaper()) {}

  arrow::Result<Publication> Publish(OutputAnswer output, Segments inputs) override {
    return PublishFile(std::move(output), *ids_, reaper_);
  }

 private:
  const std::shared_ptr<shm::SegmentIds> ids_;
  const base::TaskThread& reaper_;
};

class CopyBackend final : public Backend {
 public:
  CopyBackend(BackendKind kind, shm::SegmentStore& store) : kind_(kind), store_(store) {}

  BackendKind kind() const override { return kind_; }
  void Configure(ZygoteOptions& zygote) const override {}
  arrow::Result<std::unique_ptr<Grant>> MakeGrant() override {
    return std::make_unique<CopyGrant>(store_);
  }

 private:
  const BackendKind kind_;
  shm::SegmentStore& store_;
};

}  // namespace

std::unique_ptr<Backend> MakeCopyBackend(BackendKind kind, shm::SegmentStore& store) {
  return std::make_unique<CopyBackend>(kind, store);
}

}  // namespace zerrow::engine
