// A Performer without processes or memory: workers that answer, print, fail, die, hang, are lost or
// publish before they end as the dice say, and a store that knows who reads what.
//
// It checks what it is told to do (that inputs are there, that nothing is freed while it is read,
// that runs keep to their jobs) and tells the Verdict. It also brings news that nobody waits for
// any more: the end of an attempt twice, or of one that never was. One thread at a time.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/dispatcher.h"
#include "engine/testing/agenda.h"
#include "engine/testing/simulated_memory.h"
#include "engine/testing/simulated_store.h"
#include "engine/testing/simulated_versions.h"

namespace zerrow::engine::testing {

class SimulatedPerformer final : public Performer {
 public:
  /// How often an attempt ends in each way; else it answers well.
  struct Rates {
    double fails = 0;
    double dies = 0;
    double is_lost = 0;
    double hangs = 0;    // if it has a timeout
    double engine = 0;   // the engine itself couldn't do it
    double answers = 0;  // with something else than was asked for
    double repeats = 0;  // tells its end again, later
    double leaves = 0;   // publishes its table some time before its end, if it answers well
    double caches = 0;   // a cache keeps a segment of its table, for a while
  };
  /// All outlive it. `slots` are the Core's. `memory`: null if nothing is limited.
  SimulatedPerformer(Agenda& agenda, Random& random, Verdict& verdict, SimulatedStore& store,
                     SimulatedMemory* memory, Rates rates, int slots);

  void Attach(Dispatcher& dispatcher) { dispatcher_ = &dispatcher; }
  /// Before the run is added: what reading its project will give, and its jobs.
  void Expect(resource::RunId run, Description project, int jobs);

  void Start(resource::TaskId task, int attempt, const Run& run) override;
  void Stop(resource::TaskId task, int attempt) override;
  void Free(SegmentId segment) override;
  void Shrink(SegmentId segment, std::vector<ByteRange> used) override;
  std::shared_ptr<const ResultTable> Hand(const TablePtr& table,
                                          std::function<void()> on_drop) override;
  void Pause(resource::RunId run, bool paused) override;
  RunUse EndRun(resource::RunId run) override;

  /// Attempts, but for those that have published.
  size_t running() const;
  /// Of the run, or of all: attempts that could use more memory at once.
  bool HasGrowing(resource::Scope scope) const {
    return std::ranges::any_of(attempts_, [&](const auto& entry) {
      const auto& [task, attempt] = entry;
      return (!scope || task.run == *scope) && attempt.table == nullptr && !attempt.stopped &&
             !memory_->IsFrozen(task);
    });
  }
  /// The cache has forgotten the segment, as it was told.
  void Uncache(SegmentId segment);
  /// How often each kind of thing happened.
  const std::map<std::string, size_t>& counts() const { return counts_; }
  /// What is left of the run stems from one version of each table.
  void CheckVersions(resource::RunId run, const RunResult& result) {
    versions_.CheckEnd(run, result);
  }
  /// Whether an attempt of the task answered as it was asked to.
  bool AnsweredWell(resource::TaskId task) const { return well_.contains(task); }
  /// Whether the engine failed to read the project, in the last attempt.
  bool BrokeDown(resource::RunId run) const { return broken_.contains(run); }

 private:
  enum class Fate { kAnswer, kFail, kDie, kLost, kHang, kEngine, kWrong };
  /// What somebody reads of segments; several times if several do.
  using Uses = std::multimap<SegmentId, std::vector<ByteRange>>;
  struct Attempt {
    int number = 1;
    uint64_t serial = 0;  // among all attempts
    const Run* run = nullptr;
    Fate fate = Fate::kAnswer;
    std::set<SegmentId> reads;
    Uses uses;
    SimulatedVersions::Versions versions;  // that it has read
    size_t lines = 0;                      // still to print
    bool blocked = false;                  // printing: nobody takes it
    bool stopped = false;
    TablePtr table;  // that it has published: it is about to end
  };
  struct ActiveRun {
    Description project;
    int jobs = 1;
    int running = 0;
    bool paused = false;
    bool checked = false;  // its expectations have ended well
  };

  Fate RandomFate(resource::TaskId task, const Run& run);
  Uses InputsOf(resource::TaskId task, const Run& run);
  void CheckStart(resource::TaskId task, int attempt, const Run& run);
  void Later(resource::TaskId task, const Attempt& attempt,
             void (SimulatedPerformer::*what)(resource::TaskId, Attempt&));
  void Begin(resource::TaskId task, Attempt& attempt);
  void Step(resource::TaskId task, Attempt& attempt);
  bool Publish(resource::TaskId task, Attempt& attempt);
  void StopReading(Attempt& attempt);
  void Leave(resource::TaskId task, Attempt& attempt);
  void Die(resource::TaskId task, Attempt& attempt);
  void End(resource::TaskId task, Fate fate);
  void Note(resource::TaskId task, const Attempt& attempt, Fate fate);
  Outcome OutcomeOf(resource::TaskId task, Attempt& attempt, Fate fate);
  Outcome Answer(resource::TaskId task, Attempt& attempt);
  nlohmann::json RandomPreview();
  PublishedTable MakeTable(const Uses& inputs);
  TablePtr TableOf(resource::TaskId task, Attempt& attempt);
  void NoteVersions(resource::TaskId task, const Attempt& attempt, Fate fate);
  std::vector<ByteRange> PartsOf(const std::vector<ByteRange>& ranges);
  resource::SegmentBytes NewSegment();
  void Cache(const resource::SegmentBytes& segment);
  void TakeOutOfHands(SegmentId segment, const std::vector<ByteRange>& used);
  void Repeat(resource::TaskId task, int attempt, Outcome outcome);

  Agenda& agenda_;
  Random& random_;
  Verdict& verdict_;
  SimulatedStore& store_;
  SimulatedStore::Segments& segments_;  // the store's
  SimulatedMemory* const memory_;
  const Rates rates_;
  const int slots_;
  Dispatcher* dispatcher_ = nullptr;
  std::map<resource::RunId, ActiveRun> runs_;
  std::map<resource::TaskId, Attempt> attempts_;
  std::map<resource::TaskId, int> tried_;    // attempts so far
  std::map<resource::TaskId, int> refused_;  // of these, memory
  std::set<resource::TaskId> lost_;          // whose last attempt was lost
  std::set<resource::TaskId> well_;          // of which an attempt answered well
  std::set<resource::RunId> read_;           // whose projects were, in time
  std::set<resource::RunId> broken_;         // BrokeDown
  Uses in_hands_;                            // of results, and of the cache
  std::set<SegmentId> cached_;
  std::set<SegmentId> repeated_;  // may be freed again
  std::map<std::string, size_t> counts_;
  SimulatedVersions versions_;
  SegmentId last_segment_ = 0;
  uint64_t last_serial_ = 0;
  int most_slots_ = 0;
};

}  // namespace zerrow::engine::testing
