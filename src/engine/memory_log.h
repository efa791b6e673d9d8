// What a run's report says of memory: which tables went and why, what waited, and, where that was
// asked for, each decision in words.
//
// Bounded, whatever happens. A plain value; one thread at a time.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "resource/events.h"
#include "zerrow/run.h"

namespace zerrow::engine {

class MemoryLog {
 public:
  using NameOf = std::function<std::string(resource::TaskId)>;
  static constexpr size_t kMaxEvictions = 10'000;
  static constexpr size_t kMaxEvents = 10'000;

  /// `explain`: keep every decision, not only evictions. `began`: of the run.
  MemoryLog(bool explain, resource::Time began) : explain_(explain), began_(began) {}

  /// Whether it is about memory at all.
  static bool Concerns(const resource::Decision& decision);
  /// A decision that concerns memory, of this run or about what all runs share.
  void Note(const resource::Decision& decision, const NameOf& name_of, resource::Time now);
  /// Of the last seconds processes waited for memory so much of the time, from 0 to 1.
  void NoteStall(double share, resource::Time now);
  /// The task could start but for memory; until the same of EndWait.
  void BeginWait(const std::string& model, size_t task, std::string reason, resource::Time now);
  void EndWait(resource::Time now);

  /// By task: how long it has waited.
  const std::map<size_t, MemoryWait>& waits() const { return waits_; }
  /// Adds all but the waits.
  void Report(RunReport& report) &&;

 private:
  struct Waiting {
    size_t task = 0;
    std::string model;
    resource::Time since = 0;
  };
  /// One more of the same decision about another segment of the same table.
  bool Extends(const resource::Decision& decision, resource::Time now) const;
  void Say(std::string what, resource::Time now);

  bool explain_;
  resource::Time began_;
  std::vector<EvictionReport> evictions_;
  int64_t evicted_bytes_ = 0;
  std::vector<MemoryEvent> events_;
  std::map<size_t, MemoryWait> waits_;
  std::optional<Waiting> waiting_;
  std::optional<resource::Decision> last_;  // that was noted, with the bytes of those it extends
  resource::Time last_at_ = 0;
};

}  // namespace zerrow::engine
