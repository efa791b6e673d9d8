// Which versions of tables simulated attempts have read, directly or not, and whether what is left
// of a run stems from one version of each.
//
// Only tasks that vary have versions: all others make the same of the same. One thread at a time.
#pragma once

#include <map>
#include <string>

#include "engine/run.h"
#include "engine/run_sink.h"
#include "engine/testing/agenda.h"

namespace zerrow::engine::testing {

class SimulatedVersions {
 public:
  /// By task of a run: the number of its publication.
  using Versions = std::map<size_t, uint64_t>;

  /// `verdict` outlives it.
  explicit SimulatedVersions(Verdict& verdict) : verdict_(verdict) {}

  /// What stands behind the task's inputs.
  Versions InputsOf(const RunTask& task, const Run& run) const;
  /// The next version, or the one before, of a task that varies.
  void Vary(resource::TaskId task, Versions& versions, bool again);
  /// What the table says, for whoever compares.
  void NoteTable(resource::TaskId task, PublishedTable& table, Versions versions);
  /// A file was written, whether anybody wants to know or not.
  void NoteFile(resource::RunId run, const std::string& path, const Versions& versions) {
    files_[{run, path}] = versions;
  }
  /// What the task has answered counts.
  void NoteAnswer(resource::TaskId task, const RunTask& what, const Versions& versions) {
    made_[task] = {what, versions};
  }
  void Forget(SegmentId message) { tables_.erase(message); }
  void CheckEnd(resource::RunId run, const RunResult& result);

 private:
  struct Made {
    RunTask what;
    Versions versions;
  };
  void Merge(Versions& all, const Versions& some, const char* promise) const;
  bool Counts(const Made& made, const RunReport& report) const;

  Verdict& verdict_;
  std::map<SegmentId, Versions> tables_;  // by the segment of its message
  std::map<resource::TaskId, Made> made_;
  std::map<std::pair<resource::RunId, std::string>, Versions> files_;
  std::map<resource::TaskId, uint64_t> last_;
  uint64_t count_ = 0;
};

}  // namespace zerrow::engine::testing
