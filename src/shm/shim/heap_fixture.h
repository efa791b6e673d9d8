// What the heap's tests share: a heap with a broker of its own, in this process.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <memory>
#include <vector>

#include "shm/shim/heap.h"
#include "shm/shim/test_broker.h"

namespace zerrow::shim {

constexpr size_t kMiB = size_t{1} << 20;

class HeapTest : public ::testing::Test {
 protected:
  HeapTest() : heap_(std::make_unique<Heap>()) {
    EXPECT_EQ(heap_->Start(broker_->TakeSocket()), 0);
  }
  ~HeapTest() override { GiveBackRange(); }

  // A heap lives as long as its process and keeps its terabyte of addresses. Many tests' worth of
  // them is more than there is, above all beside a sanitizer's.
  void GiveBackRange() {
    const Heap::Span range = heap_->Clip(0, size_t{1} << 47);
    ASSERT_GT(range.end, range.begin);
    ::munmap(reinterpret_cast<void*>(range.begin), range.end - range.begin);
  }

  uint8_t* Allocate(size_t size, bool zeroed = false) {
    return static_cast<uint8_t*>(heap_->Allocate(size, 16, zeroed));
  }
  uint8_t* Map(size_t size) { return static_cast<uint8_t*>(heap_->Map(size, kPageBytes)); }
  static uintptr_t At(const void* p) { return reinterpret_cast<uintptr_t>(p); }
  static bool AllZero(const uint8_t* p, size_t size) {
    for (size_t i = 0; i < size; ++i) {
      if (p[i] != 0) return false;
    }
    return true;
  }
  std::vector<zerrow_shim_range> List(bool partial) {
    std::vector<zerrow_shim_range> ranges(64);
    ranges.resize(heap_->ListRanges(partial, ranges.data(), ranges.size()));
    return ranges;
  }

  std::unique_ptr<TestBroker> broker_ = std::make_unique<TestBroker>();
  std::unique_ptr<Heap> heap_;
};

}  // namespace zerrow::shim
