#include "cli/trace.h"

#include <gtest/gtest.h>

namespace zerrow::cli {
namespace {

const std::string kHeading =
    "pipeline_id,arrival_seconds,priority,operator_id,parents,baseline_cpu_seconds,cpu_scaling,"
    "memory_gb,storage_read_gb";

auto Parse(const std::string& rows) { return ParseTrace(kHeading + "\n" + rows, "t.csv", 0.5); }

std::string ErrorOf(const std::string& rows) { return Parse(rows).status().message(); }

TEST(Trace, APipelineIsARun) {
  const auto runs = Parse(
                        "p1,0.0,QUERY,op1,,15.0,linear3,,35.0\n"
                        "p1,,,op2,op1,10.0,exp,4,20.0\r\n"
                        "\n"
                        "p1,,,op3, op1; op2 ,1,const,2.5,0\n"
                        "p2,1.5,BATCH_PIPELINE,op1,,5.0,const,,45.0")
                        .ValueOrDie();
  ASSERT_EQ(runs.size(), 2);
  EXPECT_EQ(runs[0].name, "p1");
  EXPECT_EQ(runs[0].arrives, 0);
  EXPECT_GT(runs[0].priority, runs[1].priority);
  EXPECT_EQ(runs[1].arrives, 1.5);
  const auto& tasks = runs[0].tasks;
  ASSERT_EQ(tasks.size(), 3);
  EXPECT_DOUBLE_EQ(tasks[0].run_s, 15 + 35.0 / 20);
  EXPECT_TRUE(tasks[0].grows) << "by what it reads";
  EXPECT_EQ(tasks[0].memory_bytes, 35'000'000'000);
  EXPECT_EQ(tasks[0].table_bytes, 17'500'000'000);
  EXPECT_DOUBLE_EQ(tasks[1].run_s, 5 + 1);
  EXPECT_FALSE(tasks[1].grows);
  EXPECT_EQ(tasks[1].spec.expected.peak_bytes(), 4'000'000'000);
  EXPECT_EQ(tasks[2].spec.inputs, (std::vector<size_t>{0, 1}));
  EXPECT_EQ(tasks[2].memory_bytes, 2'500'000'000);
}

TEST(Trace, FurtherColumnsAreLabelsButForTheTablesSize) {
  const auto runs = ParseTrace("labels," + kHeading + ",output_gb\n" +
                                   "\"{'a': \"\"b,\"\"}\n\",p1,0,QUERY,op1,,1,const,4,0,3\n"
                                   ",p1,,,op2,,1,const,4,0,\n,p1,,,op3,,1,const,4,0,5\n",
                               "t.csv", 0.25)
                        .ValueOrDie();
  EXPECT_EQ(runs[0].tasks[0].table_bytes, 3'000'000'000);
  EXPECT_EQ(runs[0].tasks[1].table_bytes, 1'000'000'000);
  EXPECT_EQ(runs[0].tasks[2].memory_bytes, 5'000'000'000) << "at least its table";
}

TEST(Trace, WhatIsWrongIsSaidWithItsLine) {
  EXPECT_EQ(ParseTrace("", "t.csv", 0.5).status().message(), "t.csv:1: it is empty");
  EXPECT_EQ(ErrorOf(""), "t.csv:1: there is no operator in it");
  EXPECT_TRUE(ParseTrace("pipeline_id,priority\n", "t.csv", 0.5)
                  .status()
                  .message()
                  .starts_with("t.csv:1: the column arrival_seconds is missing"));
  const std::string first = "p1,0,QUERY,op1,,1,const,,1\n";
  EXPECT_EQ(ErrorOf(first + "p1,,\n"), "t.csv:3: it has 3 cells, and the heading 9");
  EXPECT_EQ(ErrorOf("p1,,QUERY,op1,,1,const,,1\n"),
            "t.csv:2: the first row of pipeline p1 needs arrival_seconds");
  EXPECT_EQ(ErrorOf("p1,0,URGENT,op1,,1,const,,1\n"),
            "t.csv:2: priority must be QUERY, INTERACTIVE or BATCH_PIPELINE, not 'URGENT'");
  EXPECT_EQ(ErrorOf(first + "p1,0,,op2,,1,const,,1\n"),
            "t.csv:3: only the first row of pipeline p1 has arrival_seconds and priority");
  EXPECT_EQ(ErrorOf(first + "p1,,,op1,,1,const,,1\n"),
            "t.csv:3: pipeline p1 has two operators op1");
  EXPECT_EQ(ErrorOf(first + "\n\np1,,,op2,op2,1,const,,1\n"),
            "t.csv:5: no row of pipeline p1 before this one is its parent 'op2'");
  for (const char* number : {"x", "-1", "nan", "inf", "1e99", "1 2", "0x1"}) {
    EXPECT_EQ(
        ErrorOf("p1,0,QUERY,op1,,1,const," + std::string(number) + ",1\n"),
        "t.csv:2: memory_gb must be a number from 0 to 1e+06, not '" + std::string(number) + "'");
  }
  EXPECT_EQ(ErrorOf("p1,0,QUERY,op1,,,const,,1\n"), "t.csv:2: baseline_cpu_seconds is missing");
  EXPECT_TRUE(ErrorOf("p1,0,QUERY,op1,,1,cubic,,1\n").starts_with("t.csv:2: cpu_scaling must be"));
  EXPECT_EQ(ErrorOf(first + "\"p2,\n\n"), "t.csv:3: a quote isn't closed");
  EXPECT_EQ(ErrorOf("\"p1\"x,0,QUERY,op1,,1,const,,1\n"),
            "t.csv:2: text follows on a closing quote");
}

}  // namespace
}  // namespace zerrow::cli
