#include "engine/testing/checking_sink.h"

#include <algorithm>
#include <utility>

namespace zerrow::engine::testing {

CheckingSink::CheckingSink(Agenda& agenda, Random& random, Verdict& verdict,
                           std::shared_ptr<Story> story, Calls calls)
    : agenda_(agenda),
      random_(random),
      verdict_(verdict),
      story_(std::move(story)),
      calls_(std::move(calls)) {}

bool CheckingSink::Offer(RunEvent event) {
  verdict_.Expect(story_->done == 0, "news after the end");
  std::visit([this](const auto& what) { On(what); }, event);
  if (story_->paused) return false;
  if (!random_.Chance(story_->slowness)) return true;
  story_->paused = true;
  agenda_.In(random_.Unit(), [story = story_, resume = calls_.resume] {
    story->paused = false;
    resume();
  });
  return false;
}

void CheckingSink::On(const Planned& event) {
  verdict_.Expect(!std::exchange(story_->planned, true), "planned twice");
  for (const ModelReport& model : event.models) story_->started[model.name] = false;
  verdict_.Expect(story_->started.size() == event.models.size(), "two models have one name");
}

void CheckingSink::On(const ModelStarted& event) {
  verdict_.Expect(story_->started.contains(event.model), "a model starts that isn't planned");
  // It may have ended well with a version of a table that doesn't count any more.
  const bool again = story_->limited && story_->ended_well.contains(event.model);
  if (again) story_->finished.erase(event.model);
  const bool started = std::exchange(story_->started[event.model], true);
  verdict_.Expect(!started || again, "a model starts twice");
  verdict_.Expect(!story_->finished.contains(event.model), "a model starts after its end");
  verdict_.Expect(!story_->cancelled, "a model of a cancelled run starts");
}

void CheckingSink::On(const MemoryMeasured& event) {
  verdict_.Expect(!story_->paused, "what a model has for one who has enough");
  for (const auto& [model, bytes] : event.models) {
    verdict_.Expect(story_->started[model] && !story_->finished.contains(model),
                    "what a model has that doesn't run", model);
    verdict_.Expect(bytes >= 0, "a model has less than nothing", model);
  }
}

void CheckingSink::On(const ModelFinished& event) {
  const ModelReport& report = event.report;
  verdict_.Expect(story_->started.contains(report.name), "a model ends that isn't planned");
  const bool was_well = story_->limited && story_->ended_well.contains(report.name);
  // Nobody starts what can't be done again.
  if (was_well && report.status != ModelStatus::kSuccess) story_->finished.erase(report.name);
  verdict_.Expect(story_->finished.emplace(report.name, report.status).second,
                  "a model ends twice");
  if (report.status == ModelStatus::kSuccess) story_->ended_well.insert(report.name);
  const bool may_not_have_started = report.status == ModelStatus::kSkipped ||
                                    report.status == ModelStatus::kCancelled ||
                                    (report.status == ModelStatus::kFailed && story_->limited);
  verdict_.Expect(story_->started[report.name] || may_not_have_started,
                  "a model ends that hasn't started");
  calls_.finished(report);
}

void CheckingSink::On(const OutputLine&) {
  verdict_.Expect(!story_->paused, "a line for one who has enough");
}

void CheckingSink::Done(arrow::Result<RunResult> result) {
  verdict_.Expect(++story_->done == 1, "done twice");
  if (!result.ok()) {
    // What shall be kept isn't selected, perhaps.
    if (result.status().IsInvalid() && !story_->planned) return;
    return verdict_.Expect(calls_.broke_down() && !story_->cancelled,
                           "the engine fails though it didn't");
  }
  CheckReport(*result);
  calls_.done(*result);
  story_->tables = std::move(result->tables);
}

void CheckingSink::CheckReport(const RunResult& result) {
  const RunReport& report = result.report;
  verdict_.Expect(!calls_.broke_down() || story_->cancelled, "the engine's failure is lost");
  verdict_.Expect(story_->planned || report.models.empty(), "a report of unknown models");
  verdict_.Expect(!story_->planned || report.models.size() == story_->started.size(),
                  "a model isn't reported");
  for (size_t i = 0; i < report.models.size(); ++i) CheckModel(result, i);
  CheckStatus(result);
  CheckWritten(result);
}

void CheckingSink::CheckModel(const RunResult& result, size_t node) {
  const ModelReport& model = result.report.models[node];
  const PlanNode& planned = result.explanation.plan.nodes[node];
  const bool strict = story_->request.options.strict;
  const auto finished = story_->finished.find(model.name);
  verdict_.Expect(finished != story_->finished.end() && finished->second == model.status,
                  "a model's end was told otherwise", model.name);
  const auto succeeded = [&](const PlanInput& input) {
    return result.report.models[input.node].status == ModelStatus::kSuccess;
  };
  const bool inputs_there = std::ranges::all_of(planned.inputs, succeeded);
  // Or were, in versions that don't count any more.
  const bool may_have_been = inputs_there || story_->limited;
  // All wait for all environments.
  const auto has_started = [](const auto& started) { return started.second; };
  const bool environments_failed = !result.explanation.plan.environments.empty() &&
                                   !result.report.errors.empty() &&
                                   std::ranges::none_of(story_->started, has_started);
  switch (model.status) {
    case ModelStatus::kSkipped:
      verdict_.Expect((!inputs_there || environments_failed) && !model.error,
                      "skipped without cause", model.name);
      verdict_.Expect(!story_->started[model.name] || may_have_been,
                      "a model is skipped after it has started", model.name);
      break;
    case ModelStatus::kCancelled:
      verdict_.Expect(story_->cancelled && !model.error, "cancelled by nobody", model.name);
      break;
    case ModelStatus::kSuccess:
      verdict_.Expect(inputs_there, "succeeded without its inputs", model.name);
      verdict_.Expect(!model.error || (!strict && model.expectation == false),
                      "succeeded with an error", model.name);
      verdict_.Expect(model.rows.has_value() == planned.has_table(), "no rows", model.name);
      verdict_.Expect(model.expectation.has_value() != planned.has_table(), "no answer",
                      model.name);
      break;
    default:
      verdict_.Expect(may_have_been && model.error && model.error->model == model.name &&
                          !model.error->file.empty() && model.error->line > 0,
                      "failed without a cause that can be found", model.name);
  }
  verdict_.Expect(model.status == ModelStatus::kSuccess || !model.rows,
                  "rows of a table that isn't there", model.name);
}

void CheckingSink::CheckStatus(const RunResult& result) {
  const RunReport& report = result.report;
  const auto is_good = [](const ModelReport& model) {
    return model.status == ModelStatus::kSuccess;
  };
  const bool good = report.errors.empty() && std::ranges::all_of(report.models, is_good);
  verdict_.Expect((report.status == RunStatus::kCancelled) == story_->cancelled,
                  "cancelled or not is told wrongly");
  verdict_.Expect(report.status != RunStatus::kSuccess || good, "success of what failed");
  verdict_.Expect(report.status != RunStatus::kFailed || !good, "failed without a cause");
  if (report.status != RunStatus::kSuccess || story_->request.plan_only) return;
  const RunOptions& options = story_->request.options;
  size_t outputs = 0;
  size_t previews = 0;
  for (const PlanNode& node : result.explanation.plan.nodes) {
    outputs += options.output_dir && node.final_model ? 1 : 0;
    previews += options.preview_rows > 0 && node.final_model ? 1 : 0;
  }
  verdict_.Expect(report.outputs.size() == outputs, "success without all files");
  verdict_.Expect(report.previews.size() == previews, "success without all previews");
}

void CheckingSink::CheckWritten(const RunResult& result) {
  const RunOptions& options = story_->request.options;
  std::map<std::string, const ModelReport*> models;
  bool met = true;
  for (const ModelReport& model : result.report.models) {
    models[model.name] = &model;
    if (model.kind == ModelKind::kExpectation) {
      met = met && story_->ended_well.contains(model.name);
    }
  }
  verdict_.Expect(!options.strict || met || result.report.outputs.empty(),
                  "written though a check failed");
  for (const auto& [name, table] : result.tables) {
    verdict_.Expect(models.contains(name) && models[name]->status == ModelStatus::kSuccess,
                    "a result of what failed", name);
  }
  for (const auto& [name, model] : models) {
    const auto asked = [called = name,
                        of_source = model->kind == ModelKind::kSource ||
                                    model->kind == ModelKind::kFilter](const std::string& keep) {
      return keep == called || (keep == "*" && !of_source);
    };
    const bool kept = model->rows && std::ranges::any_of(options.keep, asked);
    verdict_.Expect(kept == result.tables.contains(name), "kept or not", name);
  }
}

}  // namespace zerrow::engine::testing
