// When a worker that hasn't ended has let go of its output, by what the kernel says.
#include "engine/backend.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "shm/test_worker.h"
#include "sipc/writer.h"

namespace zerrow::engine {
namespace {

constexpr int64_t kSize = 4 << 20;
using Source = shm::SharedMemoryOptions::Source;

class SettledTest : public ::testing::TestWithParam<Source> {
 protected:
  void SetUp() override {
    shm::SharedMemoryOptions options;
    options.source = GetParam();
    options.ids = store_.ids();
    auto memory = shm::SharedMemory::Make(std::move(options));
    if (!memory.ok()) GTEST_SKIP() << memory.status().message();
    memory_ = std::move(*memory);
    backend_ = MakeMemfdBackend("", memory_, store_);
    grant_ = backend_->MakeGrant().ValueOrDie();
    worker_.emplace(grant_->TakeSocket());
    area_ = worker_->Grant(kSize);
    ASSERT_NE(area_, nullptr);
    std::memset(area_->data(), 'x', kSize);
  }

  /// A table over the worker's chunk.
  OutputAnswer Output() {
    const auto buffer = std::make_shared<arrow::Buffer>(area_->data(), kSize);
    const auto data = arrow::ArrayData::Make(arrow::int8(), kSize, {nullptr, buffer}, 0);
    const auto table = arrow::Table::Make(arrow::schema({arrow::field("x", arrow::int8())}),
                                          {arrow::MakeArray(data)});
    sipc::AddressMap addresses;
    addresses.Add(area_->id, area_->data(), kSize);
    OutputAnswer output;
    output.message = sipc::EncodeToMemfd("test", *table, addresses).ValueOrDie().fd;
    return output;
  }
  void LetGo() {
    area_->mapping = {};
    area_->fd.reset();
  }

  shm::SegmentStore store_;
  std::shared_ptr<shm::SharedMemory> memory_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Grant> grant_;
  std::optional<shm::TestWorker> worker_;
  shm::TestWorker::Area* area_ = nullptr;
};

TEST_P(SettledTest, OnceNobodyHoldsItsMemory) {
  const OutputAnswer output = Output();
  base::UniqueFd again = base::Duplicate(area_->fd.get()).ValueOrDie();
  EXPECT_FALSE(grant_->IsSettled(output)) << "mapped";
  area_->fd.reset();
  again.reset();
  EXPECT_FALSE(grant_->IsSettled(output)) << "mapped, without a descriptor";
  area_->mapping = {};
  EXPECT_TRUE(grant_->IsSettled(output));
}

TEST_P(SettledTest, AndNotWhileADescriptorIsOpen) {
  const OutputAnswer output = Output();
  base::UniqueFd again = base::Duplicate(area_->fd.get()).ValueOrDie();
  LetGo();
  EXPECT_FALSE(grant_->IsSettled(output));
  again.reset();
  EXPECT_TRUE(grant_->IsSettled(output));
}

TEST_P(SettledTest, AndNotWhileAForkedProcessHoldsIt) {
  const OutputAnswer output = Output();
  shm::TestSignal forked;
  shm::TestProcess child([&] {
    forked.Signal();
    ::pause();
    return 0;
  });
  ASSERT_TRUE(forked.Wait());
  LetGo();
  EXPECT_FALSE(grant_->IsSettled(output));
  child.Kill();
  EXPECT_TRUE(grant_->IsSettled(output));
}

TEST_P(SettledTest, ThenItGetsNothingMoreAndIsPublished) {
  OutputAnswer output = Output();
  LetGo();
  ASSERT_TRUE(grant_->IsSettled(output));
  EXPECT_EQ(worker_->Grant(kSize), nullptr);
  EXPECT_FALSE(worker_->Send({}));
  const Publication publication = grant_->Publish(std::move(output), {}).ValueOrDie();
  EXPECT_EQ(publication.table->rows, kSize);
  EXPECT_EQ(publication.table->bytes.new_bytes, kSize);
}

// The worker has lied: its end is awaited, and then all is well.
TEST_P(SettledTest, WhatWasHeldIsPublishedLater) {
  OutputAnswer output = Output();
  EXPECT_FALSE(grant_->IsSettled(output));
  EXPECT_EQ(worker_->Grant(kSize), nullptr);
  LetGo();
  EXPECT_EQ(grant_->Publish(std::move(output), {}).ValueOrDie().table->bytes.new_bytes, kSize);
}

TEST_P(SettledTest, AFileThatIsntSealedIsNot) {
  OutputAnswer output = Output();
  LetGo();
  output.message = base::MakeMemfd("test", 4096).ValueOrDie();
  EXPECT_FALSE(grant_->IsSettled(output));
  const auto copying = MakeCopyBackend(BackendKind::kCopy, store_)->MakeGrant().ValueOrDie();
  EXPECT_FALSE(copying->IsSettled(output));
  ASSERT_TRUE(base::SealMemfd(output.message.get()).ok());
  EXPECT_TRUE(copying->IsSettled(output));
  output.moved = base::MakeMemfd("test", 4096).ValueOrDie();
  EXPECT_FALSE(MakeKernelZeroBackend(memory_, store_)->MakeGrant().ValueOrDie()->IsSettled(output));
}

INSTANTIATE_TEST_SUITE_P(Sources, SettledTest, ::testing::Values(Source::kTmpfs, Source::kMemfd),
                         [](const auto& source) {
                           return source.param == Source::kTmpfs ? "tmpfs" : "memfd";
                         });

}  // namespace
}  // namespace zerrow::engine
