// What clients and the resident engine say to each other: docs/formats/engine_protocol.md.
//
// Values, and their forms as JSON. Whatever comes from the other side is checked before it becomes
// a value: SerializationError. Pure; any thread.
#pragma once

#include <arrow/result.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "engine/plan.h"
#include "engine/published_table.h"
#include "engine/run_sink.h"
#include "engine/surroundings.h"
#include "zerrow/run.h"

namespace zerrow::server {

/// Raised with every change of what is said.
inline constexpr int kProtocol = 5;
/// A request: an environment of some megabytes, as text that stands for bytes.
inline constexpr int64_t kMaxRequestBytes = 16 << 20;
inline constexpr size_t kMaxRequestFds = 2;

// From a client.
struct Hello {
  std::string version;
  int protocol = kProtocol;
};
struct Wanted {
  RunOptions options;
  bool plan_only = false;
  std::string python;
  std::vector<std::string> python_path;
  engine::Environment environment;
};
struct Cancel {};
struct StatusWanted {};
struct StopWanted {};
/// What the cache of decoded columns keeps, before it is emptied if that is wanted.
struct CacheWanted {
  bool clear = false;
};
using Request = std::variant<Hello, Wanted, Cancel, StatusWanted, StopWanted, CacheWanted>;

nlohmann::json ToJson(const Request& request);
arrow::Result<Request> ParseRequest(const nlohmann::json& body);

// From the engine. What a run has left comes in parts, so that none becomes too long: its models,
// errors, previews and tables, each by itself, then the rest.
struct Welcome {
  std::string version;
  int protocol = kProtocol;
  int64_t pid = 0;
  std::string refusal;  // why this client's runs aren't done here; empty: they are
};
/// The run that is wanted begins now; before, nothing of it has been done.
struct Accepted {};
struct ResultModel {
  ModelReport report;
};
struct ResultError {
  RunError error;
};
struct ResultTablePart {
  std::string model;
  engine::TablePtr table;  // its segments' descriptors, the message's last, come with it
};
struct ResultExplanation {
  std::string text;
  nlohmann::json document;
};
/// The report without what came in parts.
struct Finished {
  RunReport report;
};
/// The engine's own failure.
struct Failed {
  arrow::Status status;
};
struct StatusReport {
  nlohmann::json document;
};
struct CacheReport {
  nlohmann::json document;
};
struct Stopping {
  int64_t runs = 0;
};
using Reply = std::variant<Welcome, Accepted, engine::RunEvent, ResultModel, ResultError, Preview,
                           ResultTablePart, ResultExplanation, Finished, Failed, StatusReport,
                           CacheReport, Stopping>;

nlohmann::json ToJson(const Reply& reply);
arrow::Result<Reply> ParseReply(const nlohmann::json& body);

}  // namespace zerrow::server
