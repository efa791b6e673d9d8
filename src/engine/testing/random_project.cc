#include "engine/testing/random_project.h"

#include <algorithm>

namespace zerrow::engine::testing {

namespace {

ModelKind RandomKind(Random& random) {
  constexpr ModelKind kKinds[] = {ModelKind::kPython, ModelKind::kPython, ModelKind::kSql,
                                  ModelKind::kNative, ModelKind::kExpectation};
  return kKinds[random.Below(5)];
}

InputDescription RandomInput(Random& random, const Description& project) {
  InputDescription input;
  std::vector<const ModelDescription*> producers;
  // Near ones make chains, far ones make wide graphs.
  const size_t reach = random.Chance(0.5) ? 4 : project.models.size();
  for (size_t i = project.models.size(); i > 0 && producers.size() < reach; --i) {
    const ModelDescription& model = project.models[i - 1];
    if (model.kind != ModelKind::kExpectation) producers.push_back(&model);
    if (producers.size() > 50) break;
  }
  if (!producers.empty() && random.Chance(0.75)) {
    input.model = producers[random.Below(producers.size())]->name;
  } else {
    input.model = project.sources[random.Below(project.sources.size())].table;
    // Each projection is a read of its own, each filter a node.
    if (random.Chance(0.3)) input.columns = {random.Chance(0.5) ? "a" : "b"};
    if (random.Chance(0.2)) {
      input.filter = random.Chance(0.5) ? "a > 1" : "a > 2";
      input.filter_columns = {"a"};
    }
  }
  if (random.Chance(0.3)) input.dictionary = Dictionaries::kAuto;
  input.parameter = input.model;
  return input;
}

ModelDescription RandomModel(Random& random, const Description& project) {
  ModelDescription model;
  model.name = "m" + std::to_string(project.models.size());
  model.kind = RandomKind(random);
  model.file = "models.py";
  model.line = 1 + static_cast<int>(project.models.size());
  model.function = model.name;
  const size_t inputs = random.Below(4) + (model.kind == ModelKind::kExpectation ? 1 : 0);
  for (size_t i = 0; i < inputs; ++i) model.inputs.push_back(RandomInput(random, project));
  if (random.Chance(0.3)) model.timeout_s = 0.2 + 2 * random.Unit();
  const bool calls = model.kind == ModelKind::kPython || model.kind == ModelKind::kExpectation;
  if (calls && random.Chance(0.05)) {
    model.environment = {"3.11.2", {"pandas==2.2." + std::to_string(random.Below(2))}};
  }
  return model;
}

std::vector<std::string> SomeTables(Random& random, const Description& project) {
  std::vector<std::string> names;
  const size_t count = random.Below(3);
  for (size_t i = 0; i < count; ++i) {
    const ModelDescription& model = project.models[random.Below(project.models.size())];
    if (model.kind != ModelKind::kExpectation) names.push_back(model.name);
  }
  if (random.Chance(0.1)) names.push_back(project.sources[0].table);
  return names;
}

}  // namespace

Description RandomProject(Random& random, size_t models) {
  Description project;
  project.name = "simulated";
  const size_t sources = 1 + random.Below(3);
  for (size_t i = 0; i < sources; ++i) {
    project.sources.push_back({"s" + std::to_string(i),
                               {{"/data/s.parquet", {}}},
                               {{"a", "int64"}, {"b", "string"}},
                               "project.yml",
                               2});
  }
  for (size_t i = 0; i < models; ++i) project.models.push_back(RandomModel(random, project));
  if (random.Chance(0.02)) project.models.back().inputs.push_back({"x", "missing", {}, {}, {}, 3});
  if (random.Chance(0.01))
    project.errors.push_back({"a file can't be read", "", "models.py", 1, ""});
  return project;
}

RunRequest RandomRequest(Random& random, const Description& project) {
  RunRequest request;
  RunOptions& options = request.options;
  options.project_dir = "/project";
  options.jobs = 1 + static_cast<int>(random.Below(random.Chance(0.2) ? 12 : 4));
  options.strict = random.Chance(0.5);
  options.account = random.Chance(0.5);
  if (random.Chance(0.4)) options.output_dir = "/out";
  if (random.Chance(0.4)) options.preview_rows = 5;
  if (random.Chance(0.4)) {
    options.keep = random.Chance(0.4) ? std::vector<std::string>{"*"} : SomeTables(random, project);
  }
  if (random.Chance(0.2)) options.select = SomeTables(random, project);
  if (random.Chance(0.1)) options.exclude = SomeTables(random, project);
  request.plan_only = random.Chance(0.03);
  request.import_timeout_s = 0.3 + 3 * random.Unit();
  return request;
}

}  // namespace zerrow::engine::testing
