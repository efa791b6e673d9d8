// For tests: what every source of chunks must pass, as a fixture with a parameter.
//
// A test file has TEST_P(Conformance, ...) and instantiates them for each source. One thread. Ends
// what it started.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "base/mapping.h"
#include "shm/shared_memory.h"
#include "shm/test_worker.h"

namespace zerrow::shm {

constexpr int64_t kMiB = 1 << 20;

class Conformance : public ::testing::TestWithParam<SharedMemoryOptions::Source> {
 protected:
  void SetUp() override {
    SharedMemoryOptions options;
    options.source = GetParam();
    options.pool.limit_bytes = 256 * kMiB;
    auto made = SharedMemory::Make(options);
    if (!made.ok() && GetParam() == SharedMemoryOptions::Source::kTmpfs) {
      GTEST_SKIP() << made.status().message();
    }
    ASSERT_TRUE(made.ok()) << made.status();
    memory_ = std::move(*made);
  }

  TestWorker AddWorker(uint64_t id) {
    return TestWorker(memory_->broker().AddWorker(id).ValueOrDie());
  }

  /// Publishes what worker `id` holds; it must be gone.
  arrow::Result<Publication> Publish(uint64_t id, const std::vector<Reference>& references) {
    return memory_->Publish(memory_->broker().TakeWorker(id), references);
  }

  /// A segment of `size_bytes` bytes of `fill`, made by a worker that is gone.
  std::shared_ptr<const Segment> MakeSegment(int64_t size_bytes, uint8_t fill, uint64_t id = 1) {
    Reference reference;
    {
      TestWorker worker = AddWorker(id);
      TestWorker::Area* area = worker.Grant(static_cast<uint64_t>(size_bytes));
      if (area == nullptr) return nullptr;
      std::memset(area->data(), fill, static_cast<size_t>(size_bytes));
      reference = {area->id, 0, size_bytes};
    }
    auto publication = Publish(id, {reference});
    EXPECT_TRUE(publication.ok()) << publication.status();
    if (!publication.ok() || publication->segments.size() != 1) return nullptr;
    return publication->segments[0];
  }

  static std::string Read(const Segment& segment, int64_t offset, int64_t length) {
    const auto fd = segment.Open().ValueOrDie();
    const auto mapping =
        base::Mapping::Map(fd.get(), segment.size_bytes(), base::Mapping::Access::kReadOnly)
            .ValueOrDie();
    return {reinterpret_cast<const char*>(mapping.data()) + offset, static_cast<size_t>(length)};
  }

  bool recycles() { return memory_->pool().source().recycles_published(); }

  bool huge() { return memory_->pool().source().huge_pages(); }

  std::unique_ptr<SharedMemory> memory_;
};

inline std::string SourceName(const ::testing::TestParamInfo<SharedMemoryOptions::Source>& info) {
  return info.param == SharedMemoryOptions::Source::kTmpfs ? "tmpfs" : "memfd";
}

}  // namespace zerrow::shm
