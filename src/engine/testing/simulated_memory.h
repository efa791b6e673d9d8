// Memory as the dice say: attempts whose heaps grow to something else than was expected of them,
// and a disk that is slow, fails, or is full.
//
// It checks what it is told to do (that nothing goes which is read, or of which there is no copy)
// and, after each event, that memory is charged as it is there. One thread at a time.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/dispatcher.h"
#include "engine/memory_performer.h"
#include "engine/testing/agenda.h"
#include "engine/testing/simulated_store.h"

namespace zerrow::engine::testing {

class SimulatedMemory final : public MemoryPerformer {
 public:
  struct Rates {
    double unit_bytes = 0;  // heaps are up to a thousand times that
    double unknown = 0;     // how often nothing is expected of a task
    double wrong = 0;       // how often something wrong is
    double varies = 0;      // how often a task isn't deterministic, and says so
    double lies = 0;        // how often one says that it is, and isn't
    double disk_bytes_per_s = 1e9;
    int64_t disk_bytes = 0;  // how much of it is free
    double write_fails = 0;
    double read_fails = 0;
  };
  /// All outlive it.
  SimulatedMemory(Agenda& agenda, Random& random, Verdict& verdict, SimulatedStore& store,
                  const Rates& rates)
      : agenda_(agenda), random_(random), verdict_(verdict), store_(store), rates_(rates) {}
  void Attach(Dispatcher& dispatcher, std::function<void(SegmentId)> uncache) {
    dispatcher_ = &dispatcher;
    uncache_ = std::move(uncache);
  }

  /// Dispatcher::Options::estimate.
  void Estimate(resource::RunId run, const Run& of, std::vector<resource::TaskSpec>& specs);

  void Freeze(resource::TaskId task, int attempt, bool frozen) override;
  void SwapOut(SegmentId segment) override;
  void Unload(SegmentId segment) override;
  void SwapIn(SegmentId segment) override;
  void Uncache(SegmentId segment) override;

  // Of attempts, by whoever simulates them.
  void Begin(resource::TaskId task, int attempt, int64_t input_bytes);
  /// Its table takes over what it has of memory that `table` holds.
  void Publish(resource::TaskId task, const PublishedTable& table);
  void End(resource::TaskId task) { heaps_.erase(task); }
  /// It is frozen: `what` it does next happens once it goes on.
  bool Suspends(resource::TaskId task, std::function<void()> what);

  int64_t heap_bytes() const;
  bool IsFrozen(resource::TaskId task) const;
  /// Whether it isn't deterministic, whatever it says.
  bool Varies(resource::TaskId task) const { return varying_.contains(task); }
  /// The most that an attempt of it has needed so far, inputs included.
  int64_t NeedOf(resource::TaskId task) const;
  /// The largest heap that it has had.
  int64_t LargestHeapOf(resource::TaskId task) const;
  /// What has come into memory by no decision, since the last call.
  int64_t TakeGrowth() { return std::exchange(growth_, 0); }
  /// As above, for whoever makes segments.
  void NoteGrowth(int64_t bytes) { growth_ += bytes; }
  const std::map<std::string, size_t>& counts() const { return counts_; }
  size_t CountOf(const std::string& what) const {
    const auto count = counts_.find(what);
    return count == counts_.end() ? 0 : count->second;
  }

 private:
  struct Heap {
    int attempt = 1;
    uint64_t serial = 0;
    int64_t bytes = 0;
    int64_t peak_bytes = 0;
    int64_t input_bytes = 0;
    bool frozen = false;
    resource::Time frozen_since = 0;
    std::vector<std::function<void()>> suspended;
  };
  int64_t RandomPeak();
  void Grow(resource::TaskId task, uint64_t serial);
  double Seconds(int64_t bytes);

  Agenda& agenda_;
  Random& random_;
  Verdict& verdict_;
  SimulatedStore& store_;
  const Rates rates_;
  Dispatcher* dispatcher_ = nullptr;
  std::function<void(SegmentId)> uncache_;
  std::map<resource::TaskId, Heap> heaps_;
  std::map<resource::TaskId, int64_t> peaks_;
  std::set<resource::TaskId> varying_;
  std::map<resource::TaskId, int64_t> needs_;
  std::map<resource::TaskId, int64_t> largest_;
  std::map<std::string, size_t> counts_;
  int64_t growth_ = 0;
  uint64_t last_serial_ = 0;
};

}  // namespace zerrow::engine::testing
