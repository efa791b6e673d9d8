#include "engine/answer.h"

#include <sys/wait.h>

#include <algorithm>
#include <iomanip>
#include <sstream>
#include <utility>

namespace zerrow::engine {

namespace {

using nlohmann::json;

constexpr int kUnheardStatus = 121;  // as in python/zerrow/_worker.py
constexpr size_t kMaxMessageBytes = 64 * 1024;
constexpr size_t kMaxTracebackBytes = 1 << 20;

Failure Fail(std::string message, ModelStatus status = ModelStatus::kFailed) {
  Failure failure;
  failure.status = status;
  failure.error.message = std::move(message);
  return failure;
}

std::string Text(const json& body, const char* key, size_t limit_bytes) {
  const auto value = body.find(key);
  if (value == body.end() || !value->is_string()) return "";
  return value->get_ref<const std::string&>().substr(0, limit_bytes);
}

// A count of rows or bytes; nullopt if it isn't one.
std::optional<int64_t> Count(const json& body, const char* key) {
  const auto value = body.find(key);
  if (value == body.end() || !value->is_number_integer()) return std::nullopt;
  const auto count = value->get<int64_t>();
  return count < 0 ? std::nullopt : std::optional(count);
}

RunError ReadError(const json& error, std::string otherwise) {
  RunError read;
  read.message = Text(error, "message", kMaxMessageBytes);
  if (read.message.empty()) read.message = std::move(otherwise);
  read.file = Text(error, "file", kMaxMessageBytes);
  read.line = static_cast<int>(std::clamp<int64_t>(Count(error, "line").value_or(0), 0, INT32_MAX));
  read.traceback = Text(error, "traceback", kMaxTracebackBytes);
  return read;
}

Failure ReadFailure(const json& body) {
  const auto error = body.find("error");
  if (error == body.end() || !error->is_object()) return Fail("the function failed");
  Failure failure;
  failure.error = ReadError(*error, "the function failed");
  return failure;
}

double Seconds(const json& timings, const char* key) {
  const auto value = timings.find(key);
  return value != timings.end() && value->is_number() ? value->get<double>() : 0;
}

ModelTimings ReadTimings(const WorkerEnd& end) {
  ModelTimings timings;
  timings.exit_s = end.exit_s;
  const auto told = end.message->body.find("timings");
  if (told == end.message->body.end() || !told->is_object()) return timings;
  timings.open_s = Seconds(*told, "open_s");
  timings.run_s = Seconds(*told, "run_s");
  timings.encode_s = Seconds(*told, "encode_s");
  timings.exit_cpu_s = end.cpu_s - Seconds(*told, "cpu_s");
  return timings;
}

Answer ReadOutput(WorkerEnd end) {
  base::Message& message = *end.message;
  const json& body = message.body;
  OutputAnswer output;
  const std::string format = Text(body, "format", 32);
  const auto rows = Count(body, "rows");
  const auto bytes = Count(body, "bytes");
  if ((format != "sipc" && format != "arrow_file") || !rows || !bytes || message.fds.empty() ||
      message.fds.size() > 2) {
    return Fail("the worker answered with a malformed output");
  }
  if (format == "arrow_file") output.format = PublishedTable::Format::kArrowFile;
  output.rows = *rows;
  output.bytes = *bytes;
  output.copied_bytes = Count(body, "copied_bytes").value_or(0);
  output.duplicate_bytes = Count(body, "duplicate_bytes");
  output.timings = ReadTimings(end);
  output.message = std::move(message.fds.front());
  if (message.fds.size() > 1) output.moved = std::move(message.fds[1]);
  return output;
}

// `answered`: what happened at the process's end, as an exit handler may do anything as well.
Failure ReadDeath(int wait_status, bool answered) {
  const std::string how = "its process " + DescribeWaitStatus(wait_status);
  const std::string when = answered ? " at its end, after the function had returned" : "";
  if (WIFSIGNALED(wait_status)) return Fail(how + when, ModelStatus::kKilled);
  if (!answered && WEXITSTATUS(wait_status) == kUnheardStatus) {
    return Fail(
        "the function closed file descriptors that it hadn't opened, among them the one "
        "that its result is sent by");
  }
  return Fail(how + (answered ? when : " without returning"));
}

std::string DescribeHang(double seconds) {
  std::ostringstream text;
  text << "its process hung at its end: it was still there " << std::fixed << std::setprecision(1)
       << seconds << " s after the function had returned; exit handlers, threads and open files "
       << "must come to an end ($ZERROW_EXIT_TIMEOUT_S gives them more time)";
  return text.str();
}

}  // namespace

std::optional<ExpectationAnswer> ReadExpectation(const json& value) {
  if (!value.is_object()) return std::nullopt;
  const auto met = value.find("met");
  if (met == value.end() || !met->is_boolean()) return std::nullopt;
  return ExpectationAnswer{met->get<bool>(), ReadError(value, "the expectation isn't met")};
}

Answer ReadAnswer(WorkerEnd end) {
  if (!end.error.empty()) return Fail("its process was lost: " + end.error);
  if (!end.message || !end.message->body.is_object()) return ReadDeath(end.wait_status, false);
  const bool hung = end.stopped && WIFSIGNALED(end.wait_status);
  const json& body = end.message->body;
  const std::string op = Text(body, "op", 32);
  if (op == "failed") {
    Failure failure = ReadFailure(body);
    if (hung) failure.error.message += "; then " + DescribeHang(end.exit_s);
    return failure;
  }
  if (hung) return Fail(DescribeHang(end.exit_s), ModelStatus::kTimeout);
  if (end.wait_status != 0) return ReadDeath(end.wait_status, true);
  if (op == "output") return ReadOutput(std::move(end));
  if (op == "result" && body.contains("value")) return ValueAnswer{body.at("value")};
  return Fail("the worker answered with something that isn't in the protocol");
}

}  // namespace zerrow::engine
