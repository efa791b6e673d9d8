// One run: what was asked for, its plan, the tables of its nodes, and the report that becomes of
// it.
//
// Plain state: no thread, no loop, no process, no clock of its own. The Dispatcher tells it what
// happened; it says what that means. What a worker answered is untrusted and checked here. One
// thread at a time.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "engine/answer.h"
#include "engine/environment.h"
#include "engine/plan.h"
#include "engine/published_table.h"
#include "engine/surroundings.h"
#include "resource/events.h"
#include "zerrow/run.h"

namespace zerrow::engine {

/// What a run is asked to do, checked and complete.
struct RunRequest {
  RunOptions options;                        // absolute paths, jobs > 0
  BackendKind backend = BackendKind::kCopy;  // not kAuto
  bool plan_only = false;
  bool hash_outputs = false;                        // tables may be made again: Run::IsHashed
  double import_timeout_s = 60;                     // of reading the project
  std::chrono::milliseconds start_timeout{60'000};  // ZygoteOptions, as the next
  std::chrono::milliseconds exit_timeout{10'000};
  std::set<std::string> libraries;  // worth importing before its workers are forked
  Surroundings surroundings;
};

/// A task of a run: reading the project, making an environment, a node of the plan, or something to
/// do with its table.
struct RunTask {
  /// kChecks is a gate: each expectation has ended well.
  enum class Kind { kDiscover, kEnvironment, kNode, kChecks, kPreview, kExport };
  Kind kind = Kind::kDiscover;
  size_t node = 0;         // of the plan; of kEnvironment the first one that is to run in it
  std::string path = {};   // of kExport
  size_t environment = 0;  // of the plan; of kEnvironment
};

/// What came of an attempt.
struct Outcome {
  /// The project as a plan, a table, a value (of an expectation, a preview, an export), why there
  /// is none of these, or what the engine itself couldn't do.
  std::variant<Failure, arrow::Status, PlanResult, TablePtr, nlohmann::json> what;
  double cpu_s = 0;
  double exit_s = 0;      // from the answer until the last of its processes is gone
  double exit_cpu_s = 0;  // of that, in the worker
  int64_t peak_memory_bytes = 0;
  // Of what it was charged with: its private memory, and output that wasn't published yet.
  std::optional<int64_t> charged_peak_bytes = {};
  bool lost = false;        // through no doing of the task: resource::TaskEnded
  bool for_memory = false;  // what was lost: it was refused memory, or killed for want of it
};

/// What is known of a run when all its tasks have ended.
struct RunUse {
  int64_t peak_memory_bytes = 0;  // of the engine and all that it started, since the run began
  std::optional<std::map<std::string, int64_t>> kernelzero = {};  // RunReport::kernelzero
};

class Run {
 public:
  Run(std::string name, RunRequest request, resource::Time began);

  const std::string& name() const { return report_.run_id; }
  const RunRequest& request() const { return request_; }
  const Plan& plan() const { return plan_; }
  Plan& plan() { return plan_; }
  const RunTask& task(size_t index) const { return tasks_[index]; }
  size_t task_count() const { return tasks_.size(); }
  /// Its worker says what its table's content_hash is, as it may be made again.
  bool IsHashed(const RunTask& task) const;
  /// Null: absent.
  const TablePtr& table(size_t node) const { return tables_[node]; }
  size_t TaskOf(size_t node) const { return first_node_ + node; }
  /// In which the task's function is called, once it is there; null: Zerrow's own.
  const PreparedEnvironment* EnvironmentOf(size_t task) const;
  /// The node's, whose lines and errors these are; empty before the first of them runs.
  const std::string& NameOf(size_t task) const;
  const std::vector<ModelReport>& models() const { return report_.models; }

  /// What the run begins with: reading the project.
  std::vector<resource::TaskSpec> FirstTasks();
  /// A file of the project begins to be imported.
  void OnImporting(std::string file) { importing_ = std::move(file); }
  /// The project was read. The tasks that follow; none if it has errors or only the plan was
  /// asked for.
  std::vector<resource::TaskSpec> OnPlanned(PlanResult planned);

  void OnStarted(size_t task, resource::Time now);
  /// The task's table is there; OnLeft follows, once its process has ended, instead of OnEnded.
  void OnPublished(size_t task, const TablePtr& table) { NoteTable(task, table); }
  void OnLeft(size_t task, const Outcome& outcome, resource::Time now);
  /// Takes what came of an attempt; the status that the Core is to know. What was wrong with it is
  /// reported once the task has finished: an attempt that was lost may be followed by another one.
  ModelStatus OnEnded(size_t task, Outcome outcome, resource::Time now);
  /// The Core has finished the task, and has the last word on its status. The report of a model,
  /// null for other tasks. `why`: the Core's own reason, where no attempt has one.
  const ModelReport* OnFinished(size_t task, ModelStatus status, const std::string& why = "");
  /// The table of the task is absent from now on.
  void OnReleased(size_t task);
  /// The task's table was made again, and is another one: the one that was noted last.
  void OnVaried(size_t task);
  /// What came of the task counts no more, and it runs again: it stems from the table of `cause`.
  /// Whether it is a model that had succeeded.
  bool OnRestarted(size_t task, size_t cause);
  /// It was restarted and hasn't begun again: what an attempt from before still brings counts no
  /// more, also if the run is cancelled meanwhile.
  bool IsOutdated(size_t task) const { return outdated_.contains(task); }
  void OnCancelled() { cancelled_ = true; }

  /// By model: what has succeeded of what its options keep.
  const std::map<std::string, size_t>& kept() const { return kept_; }
  const TablePtr& kept_table(size_t task) const { return kept_tables_.at(task); }

  /// By task: how long it waited for memory. `limit_bytes`: what the run could have at most.
  void NoteMemory(const std::map<size_t, MemoryWait>& waits, int64_t limit_bytes);
  /// The report, and with plan_only the plan. Non-OK: the engine couldn't even read the project.
  arrow::Status Finish(resource::Time now, RunUse use);
  RunReport& report() { return report_; }

 private:
  resource::TaskSpec SpecOf(const RunTask& task) const;
  void AddTasks();
  bool IsKept(const PlanNode& node) const;
  ModelStatus Take(size_t task, Outcome& outcome);
  ModelStatus OnTable(size_t task, const TablePtr& table);
  void NoteTable(size_t task, const TablePtr& table);
  void Keep(size_t task, const TablePtr& table);
  void Withdraw(const RunTask& task);
  void ReportVaried();
  ModelStatus OnValue(size_t task, const nlohmann::json& value);
  ModelStatus OnEnvironment(size_t task, const nlohmann::json& value);
  ModelStatus OnExpectation(ModelReport& report, size_t task, const nlohmann::json& value);
  ModelStatus Fail(size_t task, Failure failure);
  RunError Located(size_t task, RunError error) const;
  RunError TimeoutOf(size_t task) const;
  RunError ErrorOfCore(size_t task, const std::string& why) const;
  arrow::Status NotePreview(size_t node, const nlohmann::json& value);
  ModelReport* ReportOf(size_t task);

  const RunRequest request_;
  const resource::Time began_;
  Plan plan_;
  std::vector<RunTask> tasks_;
  size_t first_node_ = 1;                                         // the task of the plan's first
  std::vector<std::optional<PreparedEnvironment>> environments_;  // as the plan has them
  std::optional<size_t> checks_;                  // the gate among these, if files wait for it
  std::vector<resource::Time> started_;           // by task
  std::vector<std::optional<Failure>> failures_;  // by task: its last attempt's, until it finishes
  std::vector<TablePtr> tables_;                  // by node
  std::map<std::string, size_t> kept_;            // name -> task
  std::map<size_t, TablePtr> kept_tables_;        // by task
  std::string importing_;                         // the file that is being imported
  std::map<size_t, std::set<size_t>> varied_;     // by task: those that were restarted for it
  std::set<size_t> outdated_;                     // tasks
  std::map<std::string, size_t> outdated_files_;  // that weren't written again yet, with their node
  bool cancelled_ = false;
  arrow::Status failed_;  // the engine's own failure
  RunReport report_;
};

}  // namespace zerrow::engine
