#include "server/protocol.h"

#include <gtest/gtest.h>

#include <string>

#include "server/byte_text.h"

namespace zerrow::server {
namespace {

using nlohmann::json;

std::string AllBytes() {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  return bytes;
}

TEST(ByteText, CarriesEveryByte) {
  const std::string text = ToByteText(AllBytes());
  EXPECT_NO_THROW((void)json(text).dump());
  EXPECT_EQ(FromByteText(text).ValueOrDie(), AllBytes());
  EXPECT_EQ(ToByteText("plain /path"), "plain /path");
}

TEST(ByteText, RefusesWhatStandsForNoByte) {
  for (const char* text : {"\xC4\x80", "\xE2\x82\xAC", "\xC3", "\xC3(", "\x80", "\xFF"}) {
    EXPECT_TRUE(FromByteText(text).status().IsSerializationError()) << text;
  }
}

Wanted SomeRun() {
  Wanted wanted;
  wanted.options.project_dir = "/p/" + AllBytes();
  wanted.options.parameters = {{"a", "1"}, {AllBytes(), ""}};
  wanted.options.select = {"x", "y"};
  wanted.options.jobs = 3;
  wanted.options.backend = BackendKind::kCopy;
  wanted.options.strict = true;
  wanted.options.account = true;
  wanted.options.content_reshare = false;
  wanted.options.output_dir = "/out";
  wanted.options.memory_limit_bytes = int64_t{5} << 30;
  wanted.options.priority = -3;
  wanted.options.explain_memory = true;
  wanted.options.preview_rows = 7;
  wanted.options.exclude = {"x"};
  wanted.options.failed = {"y"};
  wanted.options.query = {"SELECT 1", "/q.sql", "/out.csv", "csv", 7};
  wanted.options.keep = {"*"};
  wanted.plan_only = true;
  wanted.python = "/v/bin/python";
  wanted.python_path = {"/a", "/b"};
  wanted.environment = {{"PATH", "/bin"}, {"ODD", AllBytes()}};
  return wanted;
}

// What is written, read and written again is the same; fields that get lost would differ.
template <typename Value, typename Parse>
void ExpectKept(const Value& value, Parse parse) {
  const json once = ToJson(value);
  const auto read = parse(json::parse(once.dump()));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(ToJson(*read), once);
  EXPECT_EQ(read->index(), value.index());
}

TEST(Protocol, RequestsAreKept) {
  const std::vector<Request> requests = {Hello{"1.2", 3}, SomeRun(), Cancel{}, StatusWanted{},
                                         StopWanted{}};
  for (const Request& request : requests) ExpectKept(request, ParseRequest);
  const Request parsed = ParseRequest(ToJson(Request(SomeRun()))).ValueOrDie();
  EXPECT_EQ(std::get<Wanted>(parsed).environment, SomeRun().environment);
  EXPECT_EQ(std::get<Wanted>(parsed).options.project_dir, SomeRun().options.project_dir);
}

ModelReport SomeModel() {
  ModelReport model;
  model.name = "m";
  model.kind = ModelKind::kExpectation;
  model.status = ModelStatus::kTimeout;
  model.rows = 5;
  model.bytes = {1, 2, 3, 4};
  model.wall_s = 0.5;
  model.cpu_s = 0.25;
  model.peak_memory_bytes = 6;
  model.timings = ModelTimings{1, 2, 3, 4, 5, 6, 7};
  model.error = RunError{"no", "m", "f.py", 3, "Traceback"};
  model.expectation = false;
  model.warning = RunError{"hm", "m", "f.py", 4, ""};
  model.offending = Preview{"m", {{"a", "int64"}}, {{json(-1)}}, 9};
  return model;
}

std::vector<Reply> Replies() {
  RunReport report;
  report.run_id = "r";
  report.status = RunStatus::kCancelled;
  report.wall_s = 2;
  report.peak_memory_bytes = 3;
  report.backend = BackendKind::kKernelZero;
  report.outputs = {"/out/m.parquet"};
  report.kernelzero = {{"moved", 5}, {"copied_cut", 0}};
  Preview preview{"m", {{"a", "int64"}}, {{json(1)}, {json({{"n", nullptr}})}}, 2};
  auto table = std::make_shared<engine::PublishedTable>();
  table->format = engine::PublishedTable::Format::kArrowFile;
  table->rows = 9;
  table->segments = {{4, 100}};
  table->message = {5, 200};
  return {Welcome{"1", 2, 3, "why"},
          Accepted{},
          engine::RunEvent(engine::Planned{{SomeModel()}}),
          engine::RunEvent(engine::ModelStarted{"m"}),
          engine::RunEvent(engine::ModelStarted{"m", 1.5}),
          engine::RunEvent(engine::MemoryMeasured{{{"m", 7}, {"n", 8}}}),
          engine::RunEvent(engine::ModelFinished{SomeModel()}),
          engine::RunEvent(engine::OutputLine{"m", 2, AllBytes()}),
          ResultModel{SomeModel()},
          ResultError{*SomeModel().error},
          preview,
          ResultTablePart{"m", table},
          ResultExplanation{"text", {{"nodes", json::array()}}},
          Finished{report},
          Failed{arrow::Status::Invalid("no")},
          StatusReport{{{"pid", 1}}},
          Stopping{4}};
}

TEST(Protocol, RepliesAreKept) {
  for (const Reply& reply : Replies()) ExpectKept(reply, ParseReply);
}

TEST(Protocol, AFailureIsNeverSuccess) {
  for (const int code : {0, 1, 4, 9, 127, -1}) {
    const auto reply = ParseReply({{"op", "failed"}, {"code", code}, {"message", "x"}});
    ASSERT_TRUE(reply.ok()) << code;
    EXPECT_FALSE(std::get<Failed>(*reply).status.ok()) << code;
  }
}

// Each part left out, and each put in another type's place.
template <typename Parse>
void ExpectChecked(const json& whole, Parse parse) {
  for (const auto& [key, value] : whole.items()) {
    json changed = whole;
    changed.erase(key);
    if (key != "output_dir" && key != "expected_s") {
      EXPECT_TRUE(parse(changed).status().IsSerializationError()) << changed;
    }
    changed[key] = value.is_object() ? json("text") : json(json::object());
    if (key != "status" && key != "document") {
      EXPECT_TRUE(parse(changed).status().IsSerializationError()) << changed;
    }
  }
}

TEST(Protocol, WhatIsMalformedIsAnError) {
  ExpectChecked(ToJson(Request(SomeRun())), ParseRequest);
  for (const Reply& reply : Replies()) ExpectChecked(ToJson(reply), ParseReply);
  for (const json& number :
       {json(1e106), json(0.5), json(uint64_t{1} << 63), json(-1), json(true)}) {
    json request = ToJson(Request(SomeRun()));
    request["options"]["jobs"] = number;
    EXPECT_EQ(ParseRequest(request).ok(), number == json(-1)) << number;
  }
  for (const json& body : {json(), json(7), json::array({1}), json({{"op", 3}})}) {
    EXPECT_TRUE(ParseRequest(body).status().IsSerializationError());
    EXPECT_TRUE(ParseReply(body).status().IsSerializationError());
  }
}

}  // namespace
}  // namespace zerrow::server
