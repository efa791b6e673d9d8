// A run as whoever asked for it sees it: a slow reader that checks that the story makes sense.
//
// The Story outlives the sink, which the engine destroys. One thread at a time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "engine/run.h"
#include "engine/run_sink.h"
#include "engine/testing/agenda.h"

namespace zerrow::engine::testing {

struct Story {
  RunRequest request;
  double slowness = 0;   // how often it says that it has enough
  bool limited = false;  // in memory: what can't fit fails before it starts
  bool cancelled = false;
  int done = 0;
  bool paused = false;
  bool planned = false;
  std::map<std::string, bool> started;
  std::map<std::string, ModelStatus> finished;
  std::set<std::string> ended_well;  // whatever became of them later
  std::map<std::string, std::shared_ptr<const ResultTable>> tables;
};

class CheckingSink final : public RunSink {
 public:
  /// `resume`: it takes lines again. `done`: the story is complete, before the tables are.
  struct Calls {
    std::function<void()> resume;
    std::function<bool()> broke_down;  // the engine couldn't read the project
    std::function<void(const ModelReport&)> finished;
    std::function<void(const RunResult&)> done;
  };
  CheckingSink(Agenda& agenda, Random& random, Verdict& verdict, std::shared_ptr<Story> story,
               Calls calls);

  bool Offer(RunEvent event) override;
  void Done(arrow::Result<RunResult> result) override;

 private:
  void On(const Planned& event);
  void On(const ModelStarted& event);
  void On(const MemoryMeasured& event);
  void On(const ModelFinished& event);
  void On(const OutputLine& event);
  void CheckReport(const RunResult& result);
  void CheckModel(const RunResult& result, size_t node);
  void CheckStatus(const RunResult& result);
  void CheckWritten(const RunResult& result);

  Agenda& agenda_;
  Random& random_;
  Verdict& verdict_;
  const std::shared_ptr<Story> story_;
  const Calls calls_;
};

}  // namespace zerrow::engine::testing
