// A plan as text and JSON, for `zerrow explain`.
#include "engine/plan.h"

namespace zerrow::engine {

namespace {

using nlohmann::json;

std::string Join(const std::vector<std::string>& items) {
  std::string text;
  for (const auto& item : items) text += (text.empty() ? "" : ", ") + item;
  return text;
}

std::string Where(const PlanNode& node) {
  if (node.file().empty()) return "";
  return node.line() > 0 ? node.file() + ":" + std::to_string(node.line()) : node.file();
}

std::string Restrictions(const SourceRead& read) {
  std::string text;
  if (read.columns) text += "  columns: " + Join(*read.columns);
  if (read.filter) text += "  filter: " + *read.filter;
  return text;
}

std::string Declared(const ModelDescription& model) {
  std::string text;
  if (!model.deterministic) text += " not deterministic";
  if (!model.tags.empty()) text += " tags: " + Join(model.tags);
  if (model.memory_bytes) text += " memory: " + std::to_string(*model.memory_bytes) + " bytes";
  return text;
}

std::string From(const std::optional<std::vector<std::string>>& lineage) {
  return lineage && !lineage->empty() ? " (from " + Join(*lineage) + ")" : "";
}

std::string Makes(const std::vector<OutputColumn>& columns) {
  std::vector<std::string> texts;
  for (const OutputColumn& column : columns) {
    texts.push_back(column.name + (column.type.empty() ? "" : " " + column.type) +
                    (column.nullable.value_or(true) ? "" : " not null") + From(column.lineage));
  }
  return "    makes " + (texts.empty() ? "no columns" : Join(texts)) + "\n";
}

std::string Described(const EnvironmentDescription& environment) {
  return "Python " + environment.python +
         (environment.packages.empty() ? "" : " with " + Join(environment.packages));
}

json EnvironmentJson(const std::optional<EnvironmentDescription>& environment) {
  if (!environment) return nullptr;
  return {{"python", environment->python}, {"packages", environment->packages}};
}

json OrNull(const auto& value) { return value ? json(*value) : json(nullptr); }

json ColumnsToJson(const std::vector<OutputColumn>& columns) {
  json documents = json::array();
  for (const OutputColumn& column : columns) {
    documents.push_back({{"name", column.name},
                         {"type", column.type.empty() ? json(nullptr) : json(column.type)},
                         {"nullable", OrNull(column.nullable)},
                         {"lineage", OrNull(column.lineage)}});
  }
  return documents;
}

}  // namespace

std::string Explanation::ToText() const {
  std::string text;
  for (const PlanNode& node : plan.nodes) {
    const std::string where = Where(node);
    text += node.name + "  [" + std::string(ToString(node.kind)) +
            (where.empty() ? "" : ", " + where) + "]" + (node.final_model ? " final" : "") +
            Declared(node.model) + "\n";
    if (node.environment) {
      text +=
          "    in an environment of its own: " + Described(plan.environments[*node.environment]) +
          "\n";
    }
    if (node.kind == ModelKind::kSource) {
      const size_t files = node.source.files.size();
      text += "    reads " + std::to_string(files) + (files == 1 ? " file\n" : " files\n");
      for (const SourceRead& read : node.reads) {
        text += "    - " + (read == SourceRead{} ? "all" : Restrictions(read).substr(2)) + "\n";
      }
    }
    if (node.model.columns) text += Makes(*node.model.columns);
    for (const PlanInput& input : node.inputs) {
      text += "    <- " + plan.nodes[input.node].name +
              Restrictions({input.columns, input.filter}) + "\n";
    }
  }
  if (plan.import_again) {
    text += "the project is imported " +
            (plan.import_again->empty() ? "once"
                                        : "by each model that needs it: " + *plan.import_again) +
            "\n";
  }
  return text;
}

json Explanation::ToJson() const {
  json nodes = json::array();
  for (const PlanNode& node : plan.nodes) {
    json inputs = json::array();
    for (const PlanInput& input : node.inputs) {
      inputs.push_back({{"parameter", input.parameter},
                        {"model", plan.nodes[input.node].name},
                        {"columns", OrNull(input.columns)},
                        {"filter", OrNull(input.filter)}});
    }
    nodes.push_back({{"name", node.name},
                     {"kind", ToString(node.kind)},
                     {"file", node.file()},
                     {"line", node.line()},
                     {"final", node.final_model},
                     {"deterministic", node.model.deterministic},
                     {"memory_bytes", OrNull(node.model.memory_bytes)},
                     {"columns", node.model.columns ? ColumnsToJson(*node.model.columns) : json()},
                     {"environment", EnvironmentJson(node.model.environment)},
                     {"tags", node.model.tags},
                     {"inputs", std::move(inputs)}});
    if (node.of_source()) nodes.back()["table"] = node.source.table;
    if (node.kind != ModelKind::kSource) continue;
    json& reads = nodes.back()["reads"] = json::array();
    for (const SourceRead& read : node.reads) {
      reads.push_back({{"columns", OrNull(read.columns)},
                       {"filter", OrNull(read.filter)},
                       {"dictionary", read.dictionary}});
    }
  }
  json errors_json = json::array();
  for (const RunError& error : errors) errors_json.push_back(error.ToString());
  return {{"project", plan.project},
          {"nodes", std::move(nodes)},
          {"import_again", OrNull(plan.import_again)},
          {"errors", std::move(errors_json)}};
}

}  // namespace zerrow::engine
