#include "engine/task_message.h"

#include "shm/segment.h"

namespace zerrow::engine {

namespace {

using nlohmann::json;

json OrNull(const auto& value) { return value ? json(*value) : json(nullptr); }

int AddFd(TaskMessage& task, int fd) {
  task.fds.push_back(fd);
  return static_cast<int>(task.fds.size()) - 1;
}

const char* FormatName(PublishedTable::Format format, BackendKind backend) {
  if (format == PublishedTable::Format::kSipc) return "sipc";
  return backend == BackendKind::kFullCopy ? "arrow_file_heap" : "arrow_file";
}

}  // namespace

TaskMessage TaskMessages::Empty(std::string_view kind) const {
  return {{{"op", "task"},
           {"kind", kind},
           {"inputs", json::array()},
           {"backend", ToString(backend_)},
           {"account", options_.account},
           {"parameters", json::object()},
           {"columns", nullptr},
           {"project_dir", project_dir_}},
          {}};
}

TaskMessage TaskMessages::Discover() const {
  TaskMessage task = Empty("discover");
  task.body["parameters"] = options_.parameters;
  return task;
}

TaskMessage TaskMessages::Node(const PlanNode& node,
                               const std::vector<const PublishedTable*>& inputs) const {
  TaskMessage task = Empty(ToString(node.kind));
  json& body = task.body;
  if (node.kind == ModelKind::kSource) {
    body["table"] = node.source.table;
    body["files"] = node.source.files;
    body["columns"] = OrNull(node.columns);
    body["filter"] = OrNull(node.filter);
    return task;
  }
  body["model"] = node.name;
  body["file"] = node.model.file;
  body["columns"] = OrNull(node.model.columns);
  body["parameters"] = ParameterValues(node.model);
  if (node.kind == ModelKind::kSql) {
    body["sql"] = node.model.sql;
    body["engine"] = node.model.engine;
  } else if (node.kind == ModelKind::kNative) {
    body["operator"] = node.model.operator_;
  } else {
    body["function"] = node.model.function;
    body["file"] = node.model.module;
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const PlanInput& input = node.inputs[i];
    AddInput(task, input.parameter, plan_.nodes[input.node], input, *inputs[i]);
  }
  return task;
}

TaskMessage TaskMessages::Preview(const PlanNode& node, const PublishedTable& table,
                                  int64_t rows) const {
  TaskMessage task = Empty("preview");
  task.body["model"] = node.name;
  task.body["rows"] = rows;
  AddInput(task, node.name, node, {}, table);
  return task;
}

TaskMessage TaskMessages::Export(const PlanNode& node, const PublishedTable& table,
                                 const std::string& path) const {
  TaskMessage task = Empty("export");
  task.body["model"] = node.name;
  task.body["path"] = path;
  AddInput(task, node.name, node, {}, table);
  return task;
}

json TaskMessages::ParameterValues(const ModelDescription& model) const {
  json values = json::object();
  for (const auto& use : model.parameters) {
    for (const auto& parameter : plan_.parameters) {
      if (parameter.name == use.name) values[use.argument] = parameter.value;
    }
  }
  return values;
}

void TaskMessages::AddInput(TaskMessage& task, const std::string& parameter,
                            const PlanNode& producer, const PlanInput& input,
                            const PublishedTable& table) const {
  const int message = AddFd(task, table.message.get());
  json segments = json::array();
  for (const auto& segment : table.segments) {
    const int fd = AddFd(task, segment->fd());
    segments.push_back({{"id", segment->id()}, {"size", segment->size_bytes()}, {"fd", fd}});
  }
  const bool source = producer.kind == ModelKind::kSource;
  task.body["inputs"].push_back({{"parameter", parameter},
                                 {"model", source ? producer.source.table : producer.name},
                                 {"format", FormatName(table.format, backend_)},
                                 {"message", message},
                                 {"segments", std::move(segments)},
                                 {"columns", OrNull(input.columns)},
                                 {"filter", OrNull(input.filter)},
                                 {"rows", table.rows}});
}

}  // namespace zerrow::engine
