#include "server/protocol.h"

#include <string_view>
#include <utility>

#include "engine/report_json.h"
#include "server/byte_text.h"

namespace zerrow::server {

using arrow::Result;
using nlohmann::json;

namespace {

// Malformed texts are found while a document is taken apart by nlohmann's rules, that is by
// throwing.
std::string Bytes(const json& text) {
  auto bytes = FromByteText(text.get_ref<const std::string&>());
  if (!bytes.ok()) throw json::other_error::create(501, bytes.status().message(), nullptr);
  return *std::move(bytes);
}

// An object can be iterated, too.
const json::array_t& Items(const json& list) { return list.get_ref<const json::array_t&>(); }

std::vector<std::string> BytesList(const json& texts) {
  std::vector<std::string> list;
  for (const json& text : Items(texts)) list.push_back(Bytes(text));
  return list;
}

std::map<std::string, std::string> BytesMap(const json& pairs) {
  std::map<std::string, std::string> map;
  for (const json& pair : Items(pairs)) map.emplace(Bytes(pair.at(0)), Bytes(pair.at(1)));
  return map;
}

json ByteTexts(const std::vector<std::string>& list) {
  json texts = json::array();
  for (const std::string& bytes : list) texts.push_back(ToByteText(bytes));
  return texts;
}

json ByteTexts(const std::map<std::string, std::string>& map) {
  json pairs = json::array();
  for (const auto& [name, value] : map) {
    pairs.push_back(json::array({ToByteText(name), ToByteText(value)}));
  }
  return pairs;
}

json QueryJson(const AdHocQuery& query) {
  json document = {{"sql", ToByteText(query.sql)},
                   {"file", ToByteText(query.file)},
                   {"output", ToByteText(query.output)},
                   {"format", query.format}};
  if (query.max_rows) document["max_rows"] = *query.max_rows;
  return document;
}

AdHocQuery QueryOf(const json& document) {
  AdHocQuery query;
  query.sql = Bytes(document.at("sql"));
  query.file = Bytes(document.at("file"));
  query.output = Bytes(document.at("output"));
  document.at("format").get_to(query.format);
  if (document.contains("max_rows")) query.max_rows = Whole<int64_t>(document["max_rows"]);
  return query;
}

json OptionsJson(const RunOptions& options) {
  json document = {{"project_dir", ToByteText(options.project_dir)},
                   {"parameters", ByteTexts(options.parameters)},
                   {"select", ByteTexts(options.select)},
                   {"jobs", options.jobs},
                   {"backend", ToString(options.backend)},
                   {"strict", options.strict},
                   {"account", options.account},
                   {"cache", options.cache},
                   {"content_reshare", options.content_reshare},
                   {"priority", options.priority},
                   {"explain_memory", options.explain_memory},
                   {"preview_rows", options.preview_rows},
                   {"exclude", ByteTexts(options.exclude)},
                   {"keep", ByteTexts(options.keep)}};
  if (options.output_dir) document["output_dir"] = ToByteText(*options.output_dir);
  if (options.memory_limit_bytes) document["memory_limit_bytes"] = *options.memory_limit_bytes;
  if (options.failed) document["failed"] = ByteTexts(*options.failed);
  if (options.query) document["query"] = QueryJson(*options.query);
  return document;
}

RunOptions OptionsOf(const json& document) {
  RunOptions options;
  options.project_dir = Bytes(document.at("project_dir"));
  options.parameters = BytesMap(document.at("parameters"));
  options.select = BytesList(document.at("select"));
  options.jobs = Whole<int>(document.at("jobs"));
  options.backend = BackendNamed(document.at("backend"));
  document.at("strict").get_to(options.strict);
  document.at("account").get_to(options.account);
  document.at("cache").get_to(options.cache);
  document.at("content_reshare").get_to(options.content_reshare);
  options.priority = Whole<int>(document.at("priority"));
  document.at("explain_memory").get_to(options.explain_memory);
  options.preview_rows = Whole<int64_t>(document.at("preview_rows"));
  options.exclude = BytesList(document.at("exclude"));
  options.keep = BytesList(document.at("keep"));
  if (document.contains("output_dir")) options.output_dir = Bytes(document["output_dir"]);
  if (document.contains("memory_limit_bytes")) {
    options.memory_limit_bytes = Whole<int64_t>(document["memory_limit_bytes"]);
  }
  if (document.contains("failed")) options.failed = BytesList(document["failed"]);
  if (document.contains("query")) options.query = QueryOf(document["query"]);
  return options;
}

struct RequestWriter {
  json operator()(const Hello& hello) const {
    return {{"op", "hello"}, {"version", hello.version}, {"protocol", hello.protocol}};
  }
  json operator()(const Wanted& wanted) const {
    return {{"op", "run"},
            {"options", OptionsJson(wanted.options)},
            {"plan_only", wanted.plan_only},
            {"python", ToByteText(wanted.python)},
            {"python_path", ByteTexts(wanted.python_path)},
            {"environment", ByteTexts(wanted.environment)}};
  }
  json operator()(const Cancel& /*cancel*/) const { return {{"op", "cancel"}}; }
  json operator()(const StatusWanted& /*wanted*/) const { return {{"op", "status"}}; }
  json operator()(const StopWanted& /*wanted*/) const { return {{"op", "stop"}}; }
  json operator()(const CacheWanted& wanted) const {
    return {{"op", "cache"}, {"clear", wanted.clear}};
  }
};

Request RequestOf(const json& body) {
  const std::string op = body.at("op");
  if (op == "hello") return Hello{body.at("version"), Whole<int>(body.at("protocol"))};
  if (op == "cancel") return Cancel{};
  if (op == "status") return StatusWanted{};
  if (op == "stop") return StopWanted{};
  if (op == "cache") return CacheWanted{body.at("clear").get<bool>()};
  if (op != "run") throw json::other_error::create(501, "an unknown request", nullptr);
  Wanted wanted;
  wanted.options = OptionsOf(body.at("options"));
  body.at("plan_only").get_to(wanted.plan_only);
  wanted.python = Bytes(body.at("python"));
  wanted.python_path = BytesList(body.at("python_path"));
  wanted.environment = BytesMap(body.at("environment"));
  return wanted;
}

struct EventWriter {
  json operator()(const engine::Planned& planned) const {
    json models = json::array();
    for (const ModelReport& model : planned.models) {
      models.push_back(json::array({model.name, ToString(model.kind)}));
    }
    return {{"op", "planned"}, {"models", std::move(models)}};
  }
  json operator()(const engine::ModelStarted& started) const {
    json message = {{"op", "started"}, {"model", started.model}};
    if (started.expected_s) message["expected_s"] = *started.expected_s;
    return message;
  }
  json operator()(const engine::MemoryMeasured& measured) const {
    json models = json::array();
    for (const auto& [model, bytes] : measured.models) {
      models.push_back(json::array({model, bytes}));
    }
    return {{"op", "measured"}, {"models", std::move(models)}};
  }
  json operator()(const engine::ModelFinished& finished) const {
    return {{"op", "finished"}, {"report", finished.report}};
  }
  json operator()(const engine::OutputLine& line) const {
    return {{"op", "line"},
            {"model", line.model},
            {"stream", line.stream},
            {"line", ToByteText(line.line)}};
  }
};

json SegmentJson(const resource::SegmentBytes& segment) {
  return json::array({segment.id, segment.bytes});
}

json TableJson(const engine::PublishedTable& table) {
  json segments = json::array();
  for (const auto& segment : table.AllSegments()) segments.push_back(SegmentJson(segment));
  const bool stream = table.format == engine::PublishedTable::Format::kArrowFile;
  return {{"format", stream ? "arrow_file" : "sipc"},
          {"rows", table.rows},
          {"segments", std::move(segments)}};
}

engine::TablePtr TableOf(const json& document) {
  auto table = std::make_shared<engine::PublishedTable>();
  table->format = document.at("format").get<std::string>() == "arrow_file"
                      ? engine::PublishedTable::Format::kArrowFile
                      : engine::PublishedTable::Format::kSipc;
  table->rows = Whole<int64_t>(document.at("rows"));
  for (const json& segment : Items(document.at("segments"))) {
    table->segments.push_back({Whole<SegmentId>(segment.at(0)), Whole<int64_t>(segment.at(1))});
  }
  if (table->segments.empty()) throw json::other_error::create(501, "no segment", nullptr);
  table->message = table->segments.back();
  table->segments.pop_back();
  return table;
}

struct ReplyWriter {
  json operator()(const Welcome& welcome) const {
    return {{"op", "welcome"},
            {"version", welcome.version},
            {"protocol", welcome.protocol},
            {"pid", welcome.pid},
            {"refusal", welcome.refusal}};
  }
  json operator()(const Accepted& /*accepted*/) const { return {{"op", "accepted"}}; }
  json operator()(const engine::RunEvent& event) const { return std::visit(EventWriter{}, event); }
  json operator()(const ResultModel& model) const {
    return {{"op", "model"}, {"report", model.report}};
  }
  json operator()(const ResultError& error) const {
    return {{"op", "error"}, {"error", error.error}};
  }
  json operator()(const Preview& preview) const {
    return {{"op", "preview"}, {"preview", preview}};
  }
  json operator()(const ResultTablePart& part) const {
    return {{"op", "table"}, {"model", part.model}, {"table", TableJson(*part.table)}};
  }
  json operator()(const ResultExplanation& explanation) const {
    return {{"op", "explanation"}, {"text", explanation.text}, {"document", explanation.document}};
  }
  json operator()(const Finished& finished) const {
    return {{"op", "done"}, {"report", finished.report.ToJson()}};
  }
  json operator()(const Failed& failed) const {
    return {{"op", "failed"},
            {"code", static_cast<int>(failed.status.code())},
            {"message", failed.status.message()}};
  }
  json operator()(const StatusReport& status) const {
    return {{"op", "status"}, {"status", status.document}};
  }
  json operator()(const CacheReport& cache) const {
    return {{"op", "cache"}, {"cache", cache.document}};
  }
  json operator()(const Stopping& stopping) const {
    return {{"op", "stopping"}, {"runs", stopping.runs}};
  }
};

engine::Planned PlannedOf(const json& body) {
  engine::Planned planned;
  for (const json& model : Items(body.at("models"))) {
    ModelReport report;
    model.at(0).get_to(report.name);
    report.kind = KindNamed(model.at(1));
    planned.models.push_back(std::move(report));
  }
  return planned;
}

engine::ModelStarted StartedOf(const json& body) {
  engine::ModelStarted started = {body.at("model")};
  if (body.contains("expected_s")) started.expected_s = body.at("expected_s").get<double>();
  return started;
}

engine::MemoryMeasured MeasuredOf(const json& body) {
  engine::MemoryMeasured measured;
  for (const json& model : Items(body.at("models"))) {
    measured.models.push_back({model.at(0), Whole<int64_t>(model.at(1))});
  }
  return measured;
}

engine::OutputLine LineOf(const json& body) {
  return {body.at("model"), Whole<int>(body.at("stream")), Bytes(body.at("line"))};
}

Failed FailedOf(const json& body) {
  const auto code = static_cast<arrow::StatusCode>(Whole<int8_t>(body.at("code")));
  const std::string message = body.at("message");
  // Only those that callers tell apart; never OK.
  switch (code) {
    case arrow::StatusCode::Invalid:
    case arrow::StatusCode::Cancelled:
    case arrow::StatusCode::OutOfMemory:
      return {arrow::Status(code, message)};
    default:
      return {arrow::Status::IOError(message)};
  }
}

Reply ReplyOf(const json& body) {
  const std::string op = body.at("op");
  if (op == "line") return engine::RunEvent(LineOf(body));
  if (op == "planned") return engine::RunEvent(PlannedOf(body));
  if (op == "started") return engine::RunEvent(StartedOf(body));
  if (op == "measured") return engine::RunEvent(MeasuredOf(body));
  if (op == "finished") return engine::RunEvent(engine::ModelFinished{body.at("report")});
  if (op == "accepted") return Accepted{};
  if (op == "model") return ResultModel{body.at("report")};
  if (op == "error") return ResultError{body.at("error")};
  if (op == "preview") return body.at("preview").get<Preview>();
  if (op == "table") return ResultTablePart{body.at("model"), TableOf(body.at("table"))};
  if (op == "explanation") return ResultExplanation{body.at("text"), body.at("document")};
  if (op == "done") return Finished{body.at("report").get<RunReport>()};
  if (op == "failed") return FailedOf(body);
  if (op == "status") return StatusReport{body.at("status")};
  if (op == "cache") return CacheReport{body.at("cache")};
  if (op == "stopping") return Stopping{Whole<int64_t>(body.at("runs"))};
  if (op != "welcome") throw json::other_error::create(501, "an unknown reply", nullptr);
  return Welcome{body.at("version"), Whole<int>(body.at("protocol")),
                 Whole<int64_t>(body.at("pid")), body.at("refusal")};
}

template <typename Value>
Result<Value> Caught(Value (*parse)(const json&), const json& body) {
  try {
    return parse(body);
  } catch (const json::exception& problem) {
    return arrow::Status::SerializationError("malformed message: ", problem.what());
  }
}

}  // namespace

json ToJson(const Request& request) { return std::visit(RequestWriter{}, request); }

Result<Request> ParseRequest(const json& body) { return Caught(RequestOf, body); }

json ToJson(const Reply& reply) { return std::visit(ReplyWriter{}, reply); }

Result<Reply> ParseReply(const json& body) { return Caught(ReplyOf, body); }

}  // namespace zerrow::server
