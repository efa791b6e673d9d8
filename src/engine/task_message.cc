#include "engine/task_message.h"

#include <map>
#include <utility>

namespace zerrow::engine {

namespace {

using nlohmann::json;

json OrNull(const auto& value) { return value ? json(*value) : json(nullptr); }

json QueryJson(const std::optional<AdHocQuery>& query) {
  if (!query) return nullptr;
  return {{"name", AdHocQuery::kName}, {"sql", query->sql}, {"file", query->file}};
}

const char* FormatName(PublishedTable::Format format, BackendKind backend) {
  const bool heap = backend == BackendKind::kFullCopy;
  if (format == PublishedTable::Format::kSipc) return heap ? "sipc_heap" : "sipc";
  return heap ? "arrow_file_heap" : "arrow_file";
}

class MessageMaker {
 public:
  MessageMaker(const Run& run, const shm::SegmentStore& store, Segments& inputs)
      : run_(run), plan_(run.plan()), store_(store), inputs_(inputs) {}

  arrow::Result<TaskMessage> Make(const RunTask& task) {
    const RunOptions& options = run_.request().options;
    Begin();
    switch (task.kind) {
      case RunTask::Kind::kDiscover:
        message_.body["kind"] = "discover";
        message_.body["parameters"] = options.parameters;
        message_.body["query"] = QueryJson(options.query);
        message_.body["lineage"] = run_.request().plan_only;
        break;
      case RunTask::Kind::kEnvironment:
        AddEnvironment(task);
        break;
      case RunTask::Kind::kNode:
        message_.body["hash"] = run_.IsHashed(task);
        if (options.inline_model == plan_.nodes[task.node].name) {
          message_.terminal = Terminal{.out = options.inline_stdout};
        }
        ARROW_RETURN_NOT_OK(AddNode(plan_.nodes[task.node]));
        break;
      case RunTask::Kind::kPreview:
        ARROW_RETURN_NOT_OK(AddResult("preview", task));
        message_.body["rows"] = options.preview_rows;
        break;
      case RunTask::Kind::kExport:
        ARROW_RETURN_NOT_OK(AddResult("export", task));
        message_.body["path"] = task.path;
        message_.body["format"] = options.query ? options.query->format : "parquet";
        message_.body["rows"] = options.query ? OrNull(options.query->max_rows) : json(nullptr);
        break;
      case RunTask::Kind::kChecks:
        return arrow::Status::UnknownError("nothing is to be done for a gate");
    }
    return std::move(message_);
  }

 private:
  void Begin() {
    message_.body = {{"op", "task"},
                     {"inputs", json::array()},
                     {"backend", ToString(run_.request().backend)},
                     {"account", run_.request().options.account},
                     {"content_reshare", run_.request().options.content_reshare},
                     {"hash", false},
                     {"parameters", json::object()},
                     {"environment", run_.request().surroundings.late_environment},
                     {"columns", nullptr},
                     {"project_dir", run_.request().options.project_dir}};
  }

  arrow::Status AddNode(const PlanNode& node) {
    json& body = message_.body;
    body["kind"] = ToString(node.kind);
    body["model"] = node.name;
    if (node.kind == ModelKind::kSource) return arrow::Status::OK();  // a Scan says the rest
    for (const PlanInput& input : node.inputs) ARROW_RETURN_NOT_OK(AddInput(input));
    if (node.kind == ModelKind::kFilter) return arrow::Status::OK();
    body["file"] = node.model.file;
    body["parameters"] = ParameterValues(node.model);
    if (node.kind == ModelKind::kSql) {
      body["sql"] = node.model.sql;
      body["engine"] = node.model.engine;
      body["contract"] = node.model.contract;
    } else if (node.kind == ModelKind::kNative) {
      body["operator"] = node.model.operator_;
    } else {
      body["columns"] = OrNull(node.model.column_names());
      body["function"] = node.model.function;
      body["file"] = node.model.module;
    }
    return arrow::Status::OK();
  }

  void AddEnvironment(const RunTask& task) {
    const EnvironmentDescription& wanted = plan_.environments[task.environment];
    json models = json::array();
    for (const PlanNode& node : plan_.nodes) {
      if (node.environment == task.environment) models.push_back(node.name);
    }
    message_.body["kind"] = "environment";
    message_.body["python"] = wanted.python;
    message_.body["packages"] = wanted.packages;
    message_.body["models"] = std::move(models);
    message_.body["folder"] = EnvironmentsFolder(run_.request().surroundings.environment);
  }

  // A task that does something to a node's table.
  arrow::Status AddResult(const char* kind, const RunTask& task) {
    message_.body["kind"] = kind;
    message_.body["model"] = plan_.nodes[task.node].name;
    PlanInput input;
    input.parameter = plan_.nodes[task.node].name;
    input.node = task.node;
    return AddInput(input);
  }

  json ParameterValues(const ModelDescription& model) const {
    json values = json::object();
    for (const auto& use : model.parameters) {
      for (const auto& parameter : plan_.parameters) {
        if (parameter.name == use.name) values[use.argument] = parameter.value;
      }
    }
    return values;
  }

  arrow::Status AddInput(const PlanInput& input) {
    const PlanNode& producer = plan_.nodes[input.node];
    const PublishedTable& whole = *run_.table(input.node);
    const PublishedTable& table = whole.reads.empty() ? whole : *whole.reads.at(input.read);
    json segments = json::array();
    ARROW_ASSIGN_OR_RAISE(const int message, AddSegment(table.message.id));
    for (const auto& segment : table.segments) {
      ARROW_ASSIGN_OR_RAISE(const int fd, AddSegment(segment.id));
      segments.push_back(
          {{"id", segment.id}, {"size", inputs_.at(segment.id)->size_bytes()}, {"fd", fd}});
    }
    const bool of_source = producer.of_source();
    message_.body["inputs"].push_back({{"parameter", input.parameter},
                                       {"model", of_source ? producer.source.table : producer.name},
                                       {"format", FormatName(table.format, run_.request().backend)},
                                       {"message", message},
                                       {"message_id", table.message.id},
                                       {"segments", std::move(segments)},
                                       {"columns", OrNull(input.columns)},
                                       {"filter", OrNull(input.filter)},
                                       {"dictionary", ToString(input.dictionary)},
                                       {"rows", table.rows}});
    return arrow::Status::OK();
  }

  // The number of its descriptor in the message. One that several inputs lie in is sent once.
  arrow::Result<int> AddSegment(SegmentId id) {
    const auto [known, is_new] = numbers_.emplace(id, static_cast<int>(message_.fds.size()));
    if (!is_new) return known->second;
    const auto& segment = inputs_.emplace(id, store_.Find(id)).first->second;
    if (segment == nullptr) return arrow::Status::UnknownError("segment ", id, " isn't there");
    ARROW_ASSIGN_OR_RAISE(base::UniqueFd fd, segment->Open());
    message_.fds.push_back(fd.get());
    message_.opened.push_back(std::move(fd));
    return known->second;
  }

  const Run& run_;
  const Plan& plan_;
  const shm::SegmentStore& store_;
  Segments& inputs_;
  TaskMessage message_;
  std::map<SegmentId, int> numbers_;
};

}  // namespace

arrow::Result<TaskMessage> MessageFor(const Run& run, size_t task, const shm::SegmentStore& store,
                                      Segments& inputs) {
  return MessageMaker(run, store, inputs).Make(run.task(task));
}

}  // namespace zerrow::engine
