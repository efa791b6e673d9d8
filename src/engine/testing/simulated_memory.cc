#include "engine/testing/simulated_memory.h"

#include <algorithm>
#include <utility>

namespace zerrow::engine::testing {

using resource::RunId;
using resource::TaskId;
using resource::TaskSpec;

namespace {

// What a process does just when it is frozen may still be heard of.
constexpr double kFreezeTakesS = 0.01;

}  // namespace

int64_t SimulatedMemory::RandomPeak() {
  if (random_.Chance(0.2)) return 0;
  const double scale = random_.Chance(0.3) ? 1000 : 100;
  return static_cast<int64_t>(rates_.unit_bytes * scale * random_.Unit());
}

void SimulatedMemory::Estimate(RunId run, const Run& of, std::vector<TaskSpec>& specs) {
  const size_t first = of.task_count() - specs.size();
  for (size_t i = 0; i < specs.size(); ++i) {
    const int64_t peak = peaks_[{run, first + i}] = RandomPeak();
    resource::Expectation& expected = specs[i].expected;
    specs[i].deterministic = !random_.Chance(rates_.varies);
    const bool lies = of.IsHashed(of.task(first + i)) && random_.Chance(rates_.lies);
    if (lies || !specs[i].deterministic) varying_.insert({run, first + i});
    if (random_.Chance(rates_.unknown)) continue;
    const double factor = random_.Chance(rates_.wrong) ? 3 * random_.Unit() : 1;
    expected.private_bytes = static_cast<int64_t>(factor * static_cast<double>(peak));
    expected.run_s = 0.5 * random_.Unit();
  }
}

void SimulatedMemory::Begin(TaskId task, int attempt, int64_t input_bytes) {
  Heap& heap = heaps_[task] = {};
  heap.attempt = attempt;
  heap.serial = ++last_serial_;
  heap.peak_bytes = peaks_[task];
  heap.input_bytes = input_bytes;
  needs_[task] = std::max(needs_[task], input_bytes);
  for (size_t steps = random_.Below(4); steps > 0; --steps) {
    agenda_.In(0.3 * random_.Unit(), [this, task, serial = heap.serial] { Grow(task, serial); });
  }
}

void SimulatedMemory::Grow(TaskId task, uint64_t serial) {
  const auto found = heaps_.find(task);
  if (found == heaps_.end() || found->second.serial != serial) return;
  Heap& heap = found->second;
  if (heap.frozen) {
    heap.suspended.push_back([this, task, serial] { Grow(task, serial); });
    return;
  }
  // Most of it at once, or some, or some is freed again.
  const auto left = static_cast<double>(heap.peak_bytes - heap.bytes);
  auto more = static_cast<int64_t>(left * (random_.Chance(0.4) ? 1 : random_.Unit()));
  if (random_.Chance(0.1)) more = -heap.bytes / 2;
  heap.bytes += more;
  growth_ += std::max<int64_t>(more, 0);
  needs_[task] = std::max(needs_[task], heap.input_bytes + heap.bytes);
  largest_[task] = std::max(largest_[task], heap.bytes);
  ++counts_["heap grown"];
  dispatcher_->OnMeasured(task, heap.attempt, heap.bytes);
}

void SimulatedMemory::Publish(TaskId task, const PublishedTable& table) {
  const auto found = heaps_.find(task);
  if (found == heaps_.end()) return;
  int64_t bytes = 0;
  for (const auto& segment : table.AllSegments()) {
    if (!dispatcher_->core().ledger().Knows(segment.id)) bytes += segment.bytes;
  }
  Heap& heap = found->second;
  needs_[task] = std::max(needs_[task], heap.input_bytes + std::max(heap.bytes, bytes));
  heap.bytes = std::max<int64_t>(heap.bytes - bytes, 0);
}

bool SimulatedMemory::Suspends(TaskId task, std::function<void()> what) {
  const auto found = heaps_.find(task);
  if (found == heaps_.end() || !found->second.frozen) return false;
  if (agenda_.now() < found->second.frozen_since + kFreezeTakesS) return false;
  found->second.suspended.push_back(std::move(what));
  return true;
}

void SimulatedMemory::Freeze(TaskId task, int attempt, bool frozen) {
  const auto found = heaps_.find(task);
  // It may have ended by now, which is about to be told.
  if (found == heaps_.end()) return;
  verdict_.Expect(found->second.attempt == attempt, "another attempt is frozen than runs");
  Heap& heap = found->second;
  verdict_.Expect(heap.frozen != frozen, "frozen twice, or not at all");
  ++counts_[frozen ? "frozen" : "thawed"];
  heap.frozen = frozen;
  heap.frozen_since = agenda_.now();
  if (frozen) return;
  for (auto& what : std::exchange(heap.suspended, {})) {
    agenda_.In(0.1 * random_.Unit(), std::move(what));
  }
}

double SimulatedMemory::Seconds(int64_t bytes) {
  const double hiccup = random_.Chance(0.05) ? 20 : 1;
  return hiccup * static_cast<double>(bytes) / rates_.disk_bytes_per_s;
}

void SimulatedMemory::SwapOut(SegmentId id) {
  const auto segment = store_.segments.find(id);
  if (segment == store_.segments.end()) return verdict_.Expect(false, "what is gone is swapped");
  const SimulatedSegment& what = segment->second;
  verdict_.Expect(what.readable && !what.on_disk, "swapped, but it isn't in memory alone");
  verdict_.Expect(what.readers == 0, "swapped while it is read");
  verdict_.Expect(what.in_hands == 0, "a result is swapped");
  const double took = Seconds(what.bytes);
  agenda_.In(took, [this, id, took] {
    using Result = resource::SegmentSwappedOut::Result;
    const auto written = store_.segments.find(id);
    Result result = Result::kDone;
    if (random_.Chance(rates_.write_fails)) result = Result::kFailed;
    if (written != store_.segments.end()) {
      const int64_t bytes = written->second.bytes;
      if (store_.disk_bytes + bytes > rates_.disk_bytes) result = Result::kDiskFull;
      if (result == Result::kDone) {
        written->second.on_disk = true;
        store_.disk_bytes += bytes;
      }
      ++counts_[result == Result::kDone       ? "swapped out"
                : result == Result::kDiskFull ? "disk full"
                                              : "write failed"];
    }
    dispatcher_->OnSwappedOut({id, result, took});
  });
}

void SimulatedMemory::Unload(SegmentId id) {
  const auto segment = store_.segments.find(id);
  if (segment == store_.segments.end()) return verdict_.Expect(false, "what is gone is unloaded");
  SimulatedSegment& what = segment->second;
  verdict_.Expect(what.on_disk && what.in_memory, "unloaded, but it has no copy");
  verdict_.Expect(what.readers == 0, "unloaded while it is read");
  verdict_.Expect(what.in_hands == 0, "a result is unloaded");
  what.in_memory = what.readable = false;
  store_.memory_bytes -= what.bytes;
  ++counts_["unloaded"];
}

void SimulatedMemory::SwapIn(SegmentId id) {
  const auto segment = store_.segments.find(id);
  if (segment == store_.segments.end()) return verdict_.Expect(false, "what is gone is read back");
  SimulatedSegment& what = segment->second;
  verdict_.Expect(what.on_disk && !what.in_memory, "read back, but it is there");
  what.in_memory = true;
  store_.memory_bytes += what.bytes;
  const double took = Seconds(what.bytes);
  const bool ok = !random_.Chance(rates_.read_fails);
  agenda_.In(took, [this, id, took, ok] {
    const auto read = store_.segments.find(id);
    if (read != store_.segments.end()) {
      ++counts_[ok ? "swapped in" : "read failed"];
      read->second.readable = read->second.in_memory = ok;
      if (!ok) store_.memory_bytes -= read->second.bytes;
    }
    dispatcher_->OnSwappedIn({id, ok, took});
  });
}

void SimulatedMemory::Uncache(SegmentId segment) {
  ++counts_["uncached"];
  uncache_(segment);
}

int64_t SimulatedMemory::heap_bytes() const {
  int64_t bytes = 0;
  for (const auto& [task, heap] : heaps_) bytes += heap.bytes;
  return bytes;
}

bool SimulatedMemory::IsFrozen(TaskId task) const {
  const auto found = heaps_.find(task);
  return found != heaps_.end() && found->second.frozen;
}

int64_t SimulatedMemory::NeedOf(TaskId task) const {
  const auto found = needs_.find(task);
  return found == needs_.end() ? 0 : found->second;
}

int64_t SimulatedMemory::LargestHeapOf(TaskId task) const {
  const auto found = largest_.find(task);
  return found == largest_.end() ? 0 : found->second;
}

}  // namespace zerrow::engine::testing
