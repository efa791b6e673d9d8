#include "engine/answer.h"

#include <sys/wait.h>

#include <algorithm>
#include <iomanip>
#include <sstream>
#include <utility>

namespace zerrow::engine {

namespace {

using nlohmann::json;

constexpr int kUnheardStatus = 121;  // as in python/zerrow/_worker/worker.py
constexpr size_t kMaxMessageBytes = 64 * 1024;
constexpr size_t kMaxTracebackBytes = 1 << 20;

Failure Fail(std::string message, ModelStatus status = ModelStatus::kFailed) {
  Failure failure;
  failure.status = status;
  failure.error.message = std::move(message);
  return failure;
}

// Workers cut what is long themselves; this is for one that doesn't.
std::string Text(const json& body, const char* key, size_t limit_bytes) {
  const auto value = body.find(key);
  if (value == body.end() || !value->is_string()) return "";
  const auto& text = value->get_ref<const std::string&>();
  if (text.size() <= limit_bytes) return text;
  const auto is_inside_character = [&](size_t at) { return (text[at] & 0xC0) == 0x80; };
  size_t end = limit_bytes;
  while (end > 0 && is_inside_character(end)) --end;
  return text.substr(0, end) + "... (" + std::to_string(text.size() - end) + " more bytes)";
}

// A count of rows or bytes; nullopt if it isn't one.
std::optional<int64_t> Count(const json& body, const char* key) {
  const auto value = body.find(key);
  if (value == body.end() || !value->is_number_integer()) return std::nullopt;
  const auto count = value->get<int64_t>();
  return count < 0 ? std::nullopt : std::optional(count);
}

double Seconds(const json& timings, const char* key) {
  const auto value = timings.find(key);
  return value != timings.end() && value->is_number() ? value->get<double>() : 0;
}

void ReadTimings(const json& body, OutputAnswer& output) {
  const auto told = body.find("timings");
  if (told == body.end() || !told->is_object()) return;
  output.timings.open_s = Seconds(*told, "open_s");
  output.timings.run_s = Seconds(*told, "run_s");
  output.timings.encode_s = Seconds(*told, "encode_s");
  output.answered_cpu_s = Seconds(*told, "cpu_s");
}

// Empty if it isn't one.
std::string ReadHash(const json& body) {
  constexpr size_t kDigits = 32;
  std::string hash = Text(body, "hash", kDigits);
  const bool is_hash =
      hash.size() == kDigits && hash.find_first_not_of("0123456789abcdef") == std::string::npos;
  return is_hash ? hash : "";
}

Answer ReadOutput(WorkerEnd end) {
  base::Message& message = *end.message;
  const json& body = message.body;
  OutputAnswer output;
  const std::string format = Text(body, "format", 32);
  const auto rows = Count(body, "rows");
  if ((format != "sipc" && format != "arrow_file") || !rows || message.fds.empty() ||
      message.fds.size() > 2) {
    return Fail("the worker answered with a malformed output");
  }
  if (format == "arrow_file") output.format = PublishedTable::Format::kArrowFile;
  output.rows = *rows;
  output.bytes.copied_bytes = Count(body, "copied_bytes").value_or(0);
  output.bytes.content_reshared_bytes = Count(body, "content_reshared_bytes").value_or(0);
  output.bytes.duplicate_bytes = Count(body, "duplicate_bytes");
  output.content_hash = ReadHash(body);
  ReadTimings(body, output);
  output.message = std::move(message.fds.front());
  if (message.fds.size() > 1) output.moved = std::move(message.fds[1]);
  return output;
}

// `answered`: what happened at the process's end, as an exit handler may do anything as well.
Failure ReadDeath(int wait_status, bool answered) {
  const std::string how = "its process " + base::DescribeWaitStatus(wait_status);
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

Failure ReadFailure(const json& described, std::string otherwise) {
  if (!described.is_object()) return Fail(std::move(otherwise));
  Failure failure = Fail(Text(described, "message", kMaxMessageBytes));
  if (failure.error.message.empty()) failure.error.message = std::move(otherwise);
  failure.error.file = Text(described, "file", kMaxMessageBytes);
  failure.error.line =
      static_cast<int>(std::clamp<int64_t>(Count(described, "line").value_or(0), 0, INT32_MAX));
  failure.error.traceback = Text(described, "traceback", kMaxTracebackBytes);
  return failure;
}

Answer ReadAnswer(WorkerEnd end) {
  if (!end.error.empty()) return Fail("its process was lost: " + end.error);
  if (!end.message || !end.message->body.is_object()) return ReadDeath(end.wait_status, false);
  json& body = end.message->body;
  const std::string op = Text(body, "op", 32);
  if (op == "failed") {
    Failure failure = ReadFailure(body.value("error", json::object()), "the function failed");
    if (end.hung) failure.error.message += "; then " + DescribeHang(end.exit_s);
    return failure;
  }
  if (end.hung) return Fail(DescribeHang(end.exit_s), ModelStatus::kTimeout);
  if (end.wait_status != 0) return ReadDeath(end.wait_status, true);
  if (op == "output") return ReadOutput(std::move(end));
  if (op == "scanned") return ValueAnswer{std::move(body)};
  if (op == "result" && body.contains("value")) return ValueAnswer{std::move(body.at("value"))};
  return Fail("the worker answered with something that isn't in the protocol");
}

}  // namespace zerrow::engine
