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
  const bool source = node.kind == ModelKind::kSource;
  const std::string& file = source ? node.source.file : node.model.file;
  const int line = source ? node.source.line : node.model.line;
  if (file.empty()) return "";
  return line > 0 ? file + ":" + std::to_string(line) : file;
}

std::string Restrictions(const std::optional<std::vector<std::string>>& columns,
                         const std::optional<std::string>& filter) {
  std::string text;
  if (columns) text += "  columns: " + Join(*columns);
  if (filter) text += "  filter: " + *filter;
  return text;
}

json OrNull(const auto& value) { return value ? json(*value) : json(nullptr); }

}  // namespace

std::string Explanation::ToText() const {
  std::string text;
  for (const PlanNode& node : plan.nodes) {
    const std::string where = Where(node);
    text += node.name + "  [" + std::string(ToString(node.kind)) +
            (where.empty() ? "" : ", " + where) + "]" + (node.final_model ? " final" : "") + "\n";
    if (node.kind == ModelKind::kSource) {
      text += "    reads " + node.source.table + " (" + std::to_string(node.source.files.size()) +
              (node.source.files.size() == 1 ? " file)" : " files)") +
              Restrictions(node.columns, node.filter) + "\n";
    }
    for (const PlanInput& input : node.inputs) {
      text += "    <- " + plan.nodes[input.node].name + Restrictions(input.columns, input.filter) +
              "\n";
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
    const bool source = node.kind == ModelKind::kSource;
    json inputs = json::array();
    for (const PlanInput& input : node.inputs) {
      inputs.push_back({{"parameter", input.parameter},
                        {"model", plan.nodes[input.node].name},
                        {"columns", OrNull(input.columns)},
                        {"filter", OrNull(input.filter)}});
    }
    nodes.push_back({{"name", node.name},
                     {"kind", ToString(node.kind)},
                     {"file", source ? node.source.file : node.model.file},
                     {"line", source ? node.source.line : node.model.line},
                     {"final", node.final_model},
                     {"inputs", std::move(inputs)}});
    if (source) {
      nodes.back()["table"] = node.source.table;
      nodes.back()["columns"] = OrNull(node.columns);
      nodes.back()["filter"] = OrNull(node.filter);
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
