#include "engine/testing/simulated_versions.h"

#include <algorithm>
#include <utility>

namespace zerrow::engine::testing {

using resource::RunId;
using resource::TaskId;

void SimulatedVersions::Merge(Versions& all, const Versions& some, const char* promise) const {
  for (const auto& [task, version] : some) {
    const auto known = all.emplace(task, version).first;
    verdict_.Expect(known->second == version, promise);
  }
}

SimulatedVersions::Versions SimulatedVersions::InputsOf(const RunTask& task, const Run& run) const {
  using enum RunTask::Kind;
  Versions versions;
  const auto add = [&](size_t node) {
    const TablePtr& table = run.table(node);
    if (table == nullptr) return;
    const auto known = tables_.find(table->message.id);
    if (known != tables_.end()) Merge(versions, known->second, "a task reads two versions");
  };
  if (task.kind == kPreview || task.kind == kExport) add(task.node);
  if (task.kind == kNode) {
    for (const PlanInput& input : run.plan().nodes[task.node].inputs) add(input.node);
  }
  return versions;
}

void SimulatedVersions::Vary(TaskId task, Versions& versions, bool again) {
  const auto last = last_.find(task);
  if (last == last_.end() || !again) last_[task] = ++count_;
  versions[task.index] = last_[task];
}

void SimulatedVersions::NoteTable(TaskId task, PublishedTable& table, Versions versions) {
  table.content_hash = std::to_string(task.index);
  for (const auto& [of, version] : versions) {
    table.content_hash += " " + std::to_string(of) + ":" + std::to_string(version);
  }
  tables_[table.message.id] = std::move(versions);
}

bool SimulatedVersions::Counts(const Made& made, const RunReport& report) const {
  using enum RunTask::Kind;
  if (made.what.kind == kNode) {
    return report.models[made.what.node].status == ModelStatus::kSuccess;
  }
  if (made.what.kind == kExport) {
    return std::ranges::find(report.outputs, made.what.path) != report.outputs.end();
  }
  const std::string& name = report.models[made.what.node].name;
  return made.what.kind == kPreview &&
         std::ranges::find(report.previews, name, &Preview::model) != report.previews.end();
}

void SimulatedVersions::CheckEnd(RunId run, const RunResult& result) {
  Versions all;
  for (auto made = made_.lower_bound({run, 1}); made != made_.end() && made->first.run == run;
       ++made) {
    if (!Counts(made->second, result.report)) continue;
    const auto& [what, versions] = made->second;
    Merge(all, versions, "a run ends with two versions");
    if (what.kind == RunTask::Kind::kExport) {
      verdict_.Expect(files_[{run, what.path}] == versions, "a file holds another version");
    }
    if (what.kind != RunTask::Kind::kNode) continue;
    const auto table = result.tables.find(result.report.models[what.node].name);
    if (table == result.tables.end()) continue;
    const auto kept = tables_.find(table->second->table().message.id);
    verdict_.Expect(kept != tables_.end() && kept->second == versions,
                    "a result is of another version");
  }
}

}  // namespace zerrow::engine::testing
