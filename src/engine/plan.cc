#include "engine/plan.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "engine/near_names.h"
#include "engine/selector.h"

namespace zerrow::engine {

namespace {

using Columns = std::optional<std::vector<std::string>>;

// A model's name is shown, is a table in SQL and becomes a file's name.
bool IsUsableName(const std::string& name) {
  constexpr size_t kMaxBytes = 200;
  return name.size() <= kMaxBytes && !name.starts_with('.') &&
         std::ranges::none_of(name, [](unsigned char c) {
           return c < 0x20 || c == 0x7f || c == '/' || c == '#' || c == '\\';
         });
}

class Planner {
 public:
  Planner(const Description& description, const RunOptions& options)
      : description_(description), options_(options) {}

  PlanResult Make() {
    errors_ = description_.errors;
    broken_ = {description_.broken.begin(), description_.broken.end()};
    IndexNames();
    for (const auto& model : description_.models) CheckModel(model);
    const std::vector<size_t> order = OrderModels();
    if (!errors_.empty()) return {{}, std::move(errors_)};
    arrow::Status refused = SelectNodes();
    if (!refused.ok()) return {{}, {}, std::move(refused)};
    CheckInline();
    if (errors_.empty()) Build(order);
    if (std::ranges::any_of(plan_.nodes, [](const PlanNode& node) { return node.imports(); })) {
      plan_.import_again = description_.import_again;
    }
    return {std::move(plan_), std::move(errors_)};
  }

 private:
  void AddError(std::string message, std::string model, std::string file, int line) {
    errors_.push_back({std::move(message), std::move(model), std::move(file), line, ""});
  }
  void AddError(std::string message, const ModelDescription& model, int line = 0) {
    AddError(std::move(message), model.name, model.file, line > 0 ? line : model.line);
  }

  void IndexNames() {
    for (size_t i = 0; i < description_.sources.size(); ++i) {
      const auto& source = description_.sources[i];
      // Its filters are called "table#2", ...
      if (source.table.find('#') != std::string::npos) {
        AddError("the source \"" + source.table + "\" needs a name without #", "", source.file,
                 source.line);
      }
      if (!sources_.emplace(source.table, i).second) {
        AddError("the source \"" + source.table + "\" is declared twice", "", source.file,
                 source.line);
      }
      names_.push_back(source.table);
    }
    for (size_t i = 0; i < description_.models.size(); ++i) {
      const auto& model = description_.models[i];
      const auto [known, is_new] = models_.emplace(model.name, i);
      if (!IsUsableName(model.name)) AddError("this isn't a usable name for a model", model);
      if (sources_.contains(model.name)) {
        AddError("a source has the same name; rename the model", model);
      } else if (!is_new) {
        const auto& first = description_.models[known->second];
        AddError("a model of this name is already declared at " + first.file + ":" +
                     std::to_string(first.line),
                 model);
      } else if (model.kind != ModelKind::kExpectation) {
        names_.push_back(model.name);
      }
    }
    if (description_.models.empty() && errors_.empty()) {
      AddError("the project has no models", "", "", 0);
    }
    for (const auto& parameter : description_.parameters) parameters_.push_back(parameter.name);
  }

  // It couldn't be read: that it isn't known is a consequence, and the cause is said already.
  bool IsBroken(const std::string& name) const {
    return broken_.contains(name) || broken_.contains("*");
  }

  void CheckModel(const ModelDescription& model) {
    for (const auto& input : model.inputs) CheckInput(model, input);
    for (const auto& use : model.parameters) {
      if (std::ranges::find(parameters_, use.name) != parameters_.end()) continue;
      if (broken_.contains("*")) continue;
      AddError("unknown parameter \"" + use.name + "\"" + DidYouMean(use.name, parameters_), model);
    }
  }

  void CheckInput(const ModelDescription& model, const InputDescription& input) {
    const auto source = sources_.find(input.model);
    if (source != sources_.end()) {
      std::vector<std::string> known;
      for (const auto& column : description_.sources[source->second].columns) {
        known.push_back(column.name);
      }
      return CheckColumns(model, input, known);
    }
    const auto producer = models_.find(input.model);
    if (producer == models_.end()) {
      if (IsBroken(input.model)) return;
      return AddError("unknown input \"" + input.model + "\"" + DidYouMean(input.model, names_),
                      model, input.line);
    }
    const auto& from = description_.models[producer->second];
    if (from.kind == ModelKind::kExpectation) {
      return AddError("the input \"" + input.model + "\" is an expectation, which has no table",
                      model, input.line);
    }
    CheckColumns(model, input, from.column_names());
  }

  // `known`: nullopt if only the run will tell.
  void CheckColumns(const ModelDescription& model, const InputDescription& input,
                    const Columns& known) {
    if (!input.columns) return;
    std::set<std::string_view> seen;
    for (const auto& column : *input.columns) {
      if (!seen.insert(column).second) {
        AddError("the column \"" + column + "\" of \"" + input.model + "\" is listed twice", model,
                 input.line);
      } else if (known && std::ranges::find(*known, column) == known->end()) {
        AddError("unknown column \"" + column + "\" of \"" + input.model + "\"" +
                     DidYouMean(column, *known),
                 model, input.line);
      }
    }
  }

  /// The models that this one reads, by index; unknown ones are left out.
  std::vector<size_t> ModelInputs(size_t index) const {
    std::vector<size_t> inputs;
    for (const auto& input : description_.models[index].inputs) {
      const auto producer = models_.find(input.model);
      if (producer != models_.end()) inputs.push_back(producer->second);
    }
    std::ranges::sort(inputs);
    inputs.erase(std::unique(inputs.begin(), inputs.end()), inputs.end());
    return inputs;
  }

  // Kahn's algorithm, earliest declaration first. Where only cycles are left, one is reported and
  // taken out, so that each is reported once and the rest is still ordered.
  std::vector<size_t> OrderModels() {
    const size_t count = description_.models.size();
    std::vector<std::vector<size_t>> consumers(count);
    std::vector<size_t> open_inputs(count);
    std::set<size_t> ready;
    std::set<size_t> left;
    for (size_t i = 0; i < count; ++i) {
      const auto inputs = ModelInputs(i);
      open_inputs[i] = inputs.size();
      for (const size_t input : inputs) consumers[input].push_back(i);
      left.insert(i);
      if (inputs.empty()) ready.insert(i);
    }
    std::vector<size_t> order;
    while (!left.empty()) {
      if (ready.empty()) ready = ReportCycle(left);
      const size_t next = *ready.begin();
      ready.erase(next);
      left.erase(next);
      order.push_back(next);
      for (const size_t consumer : consumers[next]) {
        if (--open_inputs[consumer] == 0 && left.contains(consumer)) ready.insert(consumer);
      }
    }
    return order;
  }

  // Every model in `left` waits for another one in it, so going from input to input ends in a
  // circle.
  std::set<size_t> ReportCycle(const std::set<size_t>& left) {
    std::vector<size_t> way;
    std::unordered_map<size_t, size_t> position;
    size_t at = *left.begin();
    while (position.emplace(at, way.size()).second) {
      way.push_back(at);
      for (const size_t input : ModelInputs(at)) {
        if (!left.contains(input)) continue;
        at = input;
        break;
      }
    }
    std::vector<size_t> cycle(way.begin() + static_cast<std::ptrdiff_t>(position[at]), way.end());
    std::ranges::reverse(cycle);  // from producer to consumer
    std::rotate(cycle.begin(), std::min_element(cycle.begin(), cycle.end()), cycle.end());
    std::string text;
    for (const size_t index : cycle) text += description_.models[index].name + " -> ";
    const auto& first = description_.models[cycle.front()];
    AddError("models depend on each other in a cycle: " + text + first.name, first);
    return {cycle.begin(), cycle.end()};
  }

  std::vector<std::string> AllNames() const {
    std::vector<std::string> names = names_;
    for (const auto& model : description_.models) {
      if (model.kind == ModelKind::kExpectation) names.push_back(model.name);
    }
    return names;
  }

  // Sources come first, then models.
  arrow::Status SelectNodes() {
    std::vector<Selectable> items;
    for (const auto& source : description_.sources) items.push_back({source.table, {}, {}, true});
    for (const auto& model : description_.models) {
      Selectable& item = items.emplace_back();
      item.name = model.name;
      item.tags = model.tags;
      for (const auto& input : model.inputs) {
        const auto source = sources_.find(input.model);
        item.inputs.push_back(source != sources_.end()
                                  ? source->second
                                  : description_.sources.size() + models_.at(input.model));
      }
    }
    ARROW_ASSIGN_OR_RAISE(const Selection selection,
                          Select(items, options_.select, options_.exclude,
                                 options_.failed.value_or(std::vector<std::string>())));
    for (const size_t item : selection.runs) selected_.insert(items[item].name);
    for (const size_t item : selection.wanted) wanted_.insert(items[item].name);
    return CheckKept();
  }

  void CheckInline() {
    if (!options_.inline_model) return;
    const std::string& name = *options_.inline_model;
    const auto found = models_.find(name);
    if (found == models_.end()) {
      return AddError("unknown model \"" + name + "\" to run inline" + DidYouMean(name, AllNames()),
                      "", "", 0);
    }
    const ModelDescription& model = description_.models[found->second];
    if (model.function.empty()) {
      AddError("it is a " + std::string(ToString(model.kind)) +
                   " model, and only a Python function can be run inline; zerrow show prints its "
                   "rows",
               model);
    } else if (!selected_.contains(name)) {
      AddError("the model to run inline isn't selected", model);
    }
  }

  arrow::Status CheckKept() {
    for (const auto& name : options_.keep) {
      if (name == "*") continue;
      if (std::ranges::find(names_, name) == names_.end()) {
        return arrow::Status::Invalid("unknown model \"", name, "\" to keep",
                                      DidYouMean(name, names_));
      }
      // One that nobody reads is run only to be kept.
      const bool alone = options_.select.empty() && sources_.contains(name);
      if (!alone && !selected_.contains(name)) {
        return arrow::Status::Invalid("the model \"", name, "\" to keep isn't selected");
      }
      if (sources_.contains(name)) kept_sources_.insert(name);
    }
    return arrow::Status::OK();
  }

  void Build(const std::vector<size_t>& order) {
    plan_.project = description_.name;
    plan_.memory_limit_bytes = description_.memory_limit_bytes;
    plan_.parameters = description_.parameters;
    for (const auto& source : description_.sources) {
      if (wanted_.contains(source.table) || kept_sources_.contains(source.table)) {
        plan_.nodes[SourceNode(source)].reads.emplace_back();
      }
    }
    for (const size_t index : order) {
      if (selected_.contains(description_.models[index].name)) AddModel(description_.models[index]);
    }
    for (auto& node : plan_.nodes) {
      node.final_model = IsFinal(node);
      SizeReads(node);
    }
  }

  static void SizeReads(PlanNode& node) {
    std::map<std::string_view, int64_t> sizes;
    for (const auto& column : node.source.columns) sizes[column.name] = column.bytes;
    std::set<std::pair<std::string_view, bool>> counted;
    for (const SourceRead& read : node.reads) {
      int64_t& bytes = node.read_bytes.emplace_back();
      const auto count = [&](std::string_view column) {
        bytes += sizes[column];
        if (counted.emplace(column, read.dictionary).second) node.source_bytes += sizes[column];
      };
      if (read.columns) {
        std::ranges::for_each(*read.columns, count);
      } else {
        for (const auto& column : node.source.columns) count(column.name);
      }
    }
  }

  bool IsFinal(const PlanNode& node) const {
    if (node.kind == ModelKind::kFilter || !node.has_table()) return false;
    if (wanted_.contains(node.name)) return true;
    return !node.of_source() && std::ranges::none_of(node.consumers, [&](size_t consumer) {
      return plan_.nodes[consumer].has_table();
    });
  }

  void AddModel(const ModelDescription& model) {
    PlanNode node;
    node.name = model.name;
    node.kind = model.kind;
    node.model = model;
    for (const auto& input : model.inputs) {
      const auto source = sources_.find(input.model);
      if (source != sources_.end()) {
        node.inputs.push_back(SourceInput(description_.sources[source->second], input));
      } else {
        node.inputs.push_back(ModelInput(input, model.environment.has_value()));
      }
      node.inputs.back().dictionary = input.dictionary;
      node.inputs.back().parameter = input.parameter;
    }
    if (model.environment) node.environment = EnvironmentOf(*model.environment);
    model_nodes_.emplace(model.name, AddNode(std::move(node)));
  }

  size_t EnvironmentOf(const EnvironmentDescription& wanted) {
    auto& known = plan_.environments;
    const auto found = std::ranges::find(known, wanted);
    const auto index = static_cast<size_t>(found - known.begin());
    if (found == known.end()) known.push_back(wanted);
    return index;
  }

  PlanInput ModelInput(const InputDescription& input, bool elsewhere) {
    PlanInput from;
    from.node = model_nodes_.at(input.model);
    from.columns = input.columns;
    from.filter = input.filter;
    if (!elsewhere || !input.filter) return from;
    if (input.dictionary != Dictionaries::kNever) from.dictionary = Dictionaries::kAuto;
    const PlanNode& producer = plan_.nodes[from.node];
    SourceDescription origin;
    origin.table = producer.name;
    origin.file = producer.file();
    origin.line = producer.line();
    PlanInput filtered;
    filtered.node = FilterNode(origin, std::move(from));
    return filtered;
  }

  size_t AddNode(PlanNode node) {
    const size_t index = plan_.nodes.size();
    for (const auto& input : node.inputs) {
      auto& consumers = plan_.nodes[input.node].consumers;
      if (consumers.empty() || consumers.back() != index) consumers.push_back(index);
    }
    plan_.nodes.push_back(std::move(node));
    return index;
  }

  PlanInput SourceInput(const SourceDescription& source, const InputDescription& input) {
    SourceRead read = {AsRead(source, input.columns, input.filter_columns), input.filter,
                       input.dictionary != Dictionaries::kNever};
    PlanInput from;
    from.node = SourceNode(source);
    std::vector<SourceRead>& reads = plan_.nodes[from.node].reads;
    const auto known = std::ranges::find(reads, read);
    from.read = static_cast<size_t>(known - reads.begin());
    if (known == reads.end()) reads.push_back(std::move(read));
    from.columns = input.columns;
    if (!input.filter) {
      if (IsInOrder(source, input.columns)) from.columns = std::nullopt;
      return from;
    }
    from.filter = input.filter;
    if (reads[from.read].dictionary) from.dictionary = Dictionaries::kAuto;
    PlanInput filtered;
    filtered.node = FilterNode(source, std::move(from));
    return filtered;
  }

  // A read gives its columns in the table's order.
  static bool IsInOrder(const SourceDescription& source, const Columns& columns) {
    if (!columns) return true;
    auto next = source.columns.begin();
    return std::ranges::all_of(*columns, [&](const std::string& name) {
      next = std::find_if(next, source.columns.end(),
                          [&](const ColumnDescription& column) { return column.name == name; });
      return next != source.columns.end();
    });
  }

  // The columns in the table's order, so that the same ones are the same read.
  static Columns AsRead(const SourceDescription& source, const Columns& wanted,
                        const std::vector<std::string>& of_filter) {
    if (!wanted) return std::nullopt;
    std::vector<std::string> columns;
    for (const ColumnDescription& column : source.columns) {
      const bool read = std::ranges::find(*wanted, column.name) != wanted->end() ||
                        std::ranges::find(of_filter, column.name) != of_filter.end();
      if (read) columns.push_back(column.name);
    }
    if (columns.size() == source.columns.size()) return std::nullopt;
    return columns;
  }

  size_t SourceNode(const SourceDescription& source) {
    const auto [known, is_new] = source_nodes_.emplace(source.table, plan_.nodes.size());
    if (!is_new) return known->second;
    PlanNode node;
    node.name = source.table;
    node.kind = ModelKind::kSource;
    node.source = source;
    return AddNode(std::move(node));
  }

  // One for all readers of the same rows and columns.
  size_t FilterNode(const SourceDescription& source, PlanInput from) {
    auto& filters = filter_nodes_[source.table];
    const auto [known, is_new] = filters.emplace(
        std::tuple(from.columns, *from.filter, from.dictionary), plan_.nodes.size());
    if (!is_new) return known->second;
    PlanNode node;
    node.name = source.table + "#" + std::to_string(filters.size() + 1);
    node.kind = ModelKind::kFilter;
    node.source = source;
    from.parameter = source.table;
    node.inputs.push_back(std::move(from));
    return AddNode(std::move(node));
  }

  const Description& description_;
  const RunOptions& options_;
  std::map<std::string, size_t> sources_;  // index in description_.sources
  std::map<std::string, size_t> models_;   // index in description_.models; the first of a name
  std::vector<std::string> names_;         // what an input may be
  std::vector<std::string> parameters_;
  std::set<std::string> broken_;
  std::set<std::string> selected_;      // what runs
  std::set<std::string> wanted_;        // of these, what was asked for by name, pattern or tag
  std::set<std::string> kept_sources_;  // all of each is read, since the result shall hold it
  std::map<std::string, size_t> model_nodes_;
  std::map<std::string, size_t> source_nodes_;
  std::map<std::string, std::map<std::tuple<Columns, std::string, Dictionaries>, size_t>>
      filter_nodes_;
  Plan plan_;
  std::vector<RunError> errors_;
};

}  // namespace

std::optional<size_t> Plan::Find(const std::string& name) const {
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].name == name) return i;
  }
  return std::nullopt;
}

PlanResult MakePlan(const Description& description, const RunOptions& options) {
  return Planner(description, options).Make();
}

}  // namespace zerrow::engine
