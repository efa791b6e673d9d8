#include "engine/run_sink.h"

namespace zerrow::engine {

void Tell(RunObserver& observer, const RunEvent& event) {
  struct Teller {
    void operator()(const Planned& planned) const { observer.OnPlanned(planned.models); }
    void operator()(const ModelStarted& started) const {
      observer.OnModelStarted(started.model, started.expected_s);
    }
    void operator()(const MemoryMeasured& measured) const {
      observer.OnMemoryMeasured(measured.models);
    }
    void operator()(const ModelFinished& ended) const { observer.OnModelFinished(ended.report); }
    void operator()(const OutputLine& line) const {
      observer.OnOutputLine(line.model, line.stream, line.line);
    }
    RunObserver& observer;
  };
  std::visit(Teller{observer}, event);
}

}  // namespace zerrow::engine
