#include "cli/render.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/format.h"

namespace zerrow::cli {
namespace {

constexpr Style kPlain;
constexpr Style kColored{.color = true};

ModelReport Source() {
  return {.name = "flights",
          .kind = ModelKind::kSource,
          .status = ModelStatus::kSuccess,
          .rows = 336776,
          .bytes = {.new_bytes = 32 << 20},
          .wall_s = 0.21,
          .cpu_s = 0.2,
          .peak_memory_bytes = 120 << 20};
}

ModelReport Failed() {
  return {.name = "late",
          .status = ModelStatus::kFailed,
          .wall_s = 0.02,
          .cpu_s = 0.01,
          .peak_memory_bytes = 80 << 20,
          .error = RunError{.message = "KeyError: 'dep_delay'",
                            .model = "late",
                            .file = "models/late.py",
                            .line = 12,
                            .traceback = "Traceback (your frames only):\n"
                                         "  File \"models/late.py\", line 12, in late\n"
                                         "    flights['dep_delay']\n"
                                         "  File \"/elsewhere.py\", line 1, in f"}};
}

RunReport SmallReport() {
  RunReport report;
  report.status = RunStatus::kFailed;
  report.wall_s = 0.4;
  report.peak_memory_bytes = 200 << 20;
  report.backend = BackendKind::kMemfd;
  ModelReport same = Source();
  same.name = "same";
  same.kind = ModelKind::kPython;
  same.bytes = {.reshared_bytes = (32 << 20) - 512, .copied_bytes = 512};
  ModelReport skipped{.name = "later", .status = ModelStatus::kSkipped};
  ModelReport expectation{.name = "sane",
                          .kind = ModelKind::kExpectation,
                          .status = ModelStatus::kSuccess,
                          .wall_s = 0.05,
                          .cpu_s = 0.04,
                          .peak_memory_bytes = 60 << 20,
                          .expectation = false};
  report.models = {Source(), same, Failed(), skipped, expectation};
  return report;
}

TEST(RenderTest, ReportIsAnAlignedTable) {
  EXPECT_EQ(
      RenderReport(SmallReport(), Detail::kAll, kPlain),
      // clang-format off
"model    kind         status      rows    output       new  reshared  copied     wall      CPU       peak\n"
"flights  source       ok       336,776  32.0 MiB  32.0 MiB       0 B     0 B   0.21 s   0.20 s  120.0 MiB\n"
"same     python       ok       336,776  32.0 MiB       0 B  32.0 MiB   512 B   0.21 s   0.20 s  120.0 MiB\n"
"late     python       failed                                                  0.020 s  0.010 s   80.0 MiB\n"
"later    python       skipped\n"
"sane     expectation  not met                                                 0.050 s  0.040 s   60.0 MiB\n"
"total                                   64.0 MiB  32.0 MiB  32.0 MiB   512 B   0.40 s   0.45 s  200.0 MiB\n"
"failed (1 failed, 1 not met, 1 skipped) in 0.40 s, peak memory 200.0 MiB, backend memfd\n"
"shared: 32.0 MiB of 64.0 MiB are references to what other tables hold\n");
  // clang-format on
}

TEST(RenderTest, UsuallyAReportIsShort) {
  EXPECT_EQ(
      RenderReport(SmallReport(), Detail::kUsual, kPlain),
      // clang-format off
"model    status      rows      size     time\n"
"flights  ok       336,776  32.0 MiB   0.21 s\n"
"same     ok       336,776  32.0 MiB   0.21 s\n"
"late     failed                      0.020 s\n"
"later    skipped\n"
"sane     not met                     0.050 s\n"
"total                      64.0 MiB   0.40 s\n"
"failed (1 failed, 1 not met, 1 skipped) in 0.40 s, peak memory 200.0 MiB, backend memfd\n"
"shared: 32.0 MiB of 64.0 MiB are references to what other tables hold\n");
  // clang-format on
}

TEST(RenderTest, DuplicateBytesAreShownToWhoHadThemCounted) {
  RunReport report = SmallReport();
  report.models[1].bytes.duplicate_bytes = 2048;
  EXPECT_EQ(RenderReport(report, Detail::kUsual, kPlain),
            RenderReport(report, Detail::kAll, kPlain));
}

TEST(RenderTest, DuplicateBytesOnlyWhereTheyWereCounted) {
  RunReport report = SmallReport();
  EXPECT_EQ(RenderReport(report, Detail::kAll, kPlain).find("duplicate"), std::string::npos);
  report.models[1].bytes.duplicate_bytes = 2048;
  const std::string text = RenderReport(report, Detail::kAll, kPlain);
  EXPECT_NE(text.find("duplicate"), std::string::npos);
  EXPECT_NE(text.find("2.0 KiB"), std::string::npos);
}

TEST(RenderTest, WhatTheKernelModuleDidForARun) {
  RunReport report = SmallReport();
  EXPECT_EQ(RenderReport(report, Detail::kUsual, kPlain).find("KernelZero"), std::string::npos);
  report.kernelzero = {{"moved", 512}, {"swapped", 0}, {"copied_cut", 1}};
  const std::string text = RenderReport(report, Detail::kUsual, kPlain);
  EXPECT_NE(text.find("KernelZero meanwhile:\n"
                      "  moved            2.0 MiB, 0 B of it swapped out\n"
                      "  copied           4.0 KiB: cut 4.0 KiB\n"),
            std::string::npos)
      << text;
}

TEST(RenderTest, ColoursOnlyWhenAsked) {
  EXPECT_EQ(RenderReport(SmallReport(), Detail::kAll, kPlain).find('\033'), std::string::npos);
  EXPECT_NE(RenderReport(SmallReport(), Detail::kUsual, kColored).find('\033'), std::string::npos);
}

TEST(RenderTest, OutputsAreNamed) {
  RunReport report;
  report.status = RunStatus::kSuccess;
  report.outputs = {"out/late.parquet"};
  EXPECT_EQ(RenderReport(report, Detail::kAll, kPlain),
            "success in 0.000 s, peak memory 0 B, backend auto\nwrote out/late.parquet\n");
}

TEST(RenderTest, ErrorsNameThePlaceAndWhatToDo) {
  RunReport report;
  report.models = {Failed()};
  EXPECT_EQ(RenderErrors(report, "flights/", kPlain),
            "error: flights/models/late.py:12: late: KeyError: 'dep_delay'\n"
            "    Traceback (your frames only):\n"
            "      File \"flights/models/late.py\", line 12, in late\n"
            "        flights['dep_delay']\n"
            "      File \"/elsewhere.py\", line 1, in f\n"
            "    to debug it: zerrow run -p flights/ --inline late\n");
  EXPECT_EQ(RenderErrors(report, ".", kPlain).substr(0, 33), "error: models/late.py:12: late: K");
}

TEST(RenderTest, ProjectErrorsComeFirst) {
  RunReport report;
  report.errors = {{.message = "there is no zerrow_project.yml here"}};
  EXPECT_EQ(RenderErrors(report, ".", kPlain), "error: there is no zerrow_project.yml here\n");
}

TEST(RenderTest, PreviewShowsTypesAndHowManyRowsAreLeft) {
  const Preview preview{.model = "late",
                        .columns = {{"carrier", "string"}, {"delay", "int32"}},
                        .rows = {{"UA", 7}, {"a\nb", nullptr}},
                        .total_rows = 1000};
  EXPECT_EQ(RenderPreview(preview, kPlain),
            "late: 1,000 rows, 2 columns\n"
            "carrier  delay\n"
            "string   int32\n"
            "UA           7\n"
            "a\\nb      null\n"
            "… more rows: 998\n");
}

TEST(RenderTest, PreviewLeavesOutColumnsThatDontFit) {
  const Preview preview{.model = "wide",
                        .columns = {{"aaaaaaaaaa", "string"}, {"b", "string"}, {"c", "string"}},
                        .rows = {{"x", "y", "z"}},
                        .total_rows = 1};
  EXPECT_EQ(RenderPreview(preview, {.width = 20}),
            "wide: 1 row, 3 columns\n"
            "aaaaaaaaaa  b\n"
            "string      string\n"
            "x           y\n"
            "… more columns: 1\n");
}

TEST(RenderTest, PreviewOfManyColumnsShowsTheFirst) {
  constexpr size_t kColumns = 20'000;
  const Preview preview{.model = "wide",
                        .columns = {kColumns, {"c", "int8"}},
                        .rows = {std::vector<nlohmann::json>(kColumns, 1)},
                        .total_rows = 1};
  EXPECT_EQ(RenderPreview(preview, {.width = 22}),
            "wide: 1 row, 20,000 columns\n"
            "   c     c     c     c\n"
            "int8  int8  int8  int8\n"
            "   1     1     1     1\n"
            "… more columns: 19,996\n");
  const Preview none{.model = "tiny", .columns = {{"longer", "string"}}};
  EXPECT_NE(RenderPreview(none, {.width = 1}).find("longer"), std::string::npos);
}

TEST(RenderTest, ANarrowTerminalGetsFewerColumnsAndShorterNames) {
  RunReport report = SmallReport();
  report.models[0].name = "a_model_with_a_long_name";
  for (const size_t width : {200, 115, 100, 90, 80, 75}) {
    std::istringstream lines(RenderReport(report, Detail::kAll, {.width = width}));
    std::string headings;
    std::string first;
    std::getline(lines, headings);
    std::getline(lines, first);
    EXPECT_LE(DisplayWidth(headings), width);
    EXPECT_EQ(headings.find("kind") != std::string::npos, width == 200) << headings;
    EXPECT_EQ(headings.find("CPU") != std::string::npos, width >= 100) << headings;
    EXPECT_TRUE(first.starts_with("a_model_wit")) << first;
  }
}

TEST(RenderTest, PreviewOfNothing) {
  EXPECT_EQ(RenderPreview({.model = "late"}, kPlain), "late: 0 rows, 0 columns\n");
}

MachineInfo SomeMachine() {
  MachineInfo info;
  info.backends = {{BackendKind::kMemfd, false, "memfd_create: not permitted"},
                   {BackendKind::kCopy, true, "tmpfs"}};
  info.zygote.python_version = "3.11.2";
  info.zygote.pid_namespace = true;
  info.cores = 2;
  return info;
}

TEST(RenderTest, InfoSaysWhyABackendIsMissing) {
  const std::string text = RenderInfo(SomeMachine(), kPlain);
  EXPECT_NE(text.find("memfd      no   memfd_create: not permitted\n"), std::string::npos) << text;
  EXPECT_NE(text.find("auto takes copy\n"), std::string::npos) << text;
  EXPECT_NE(text.find("not yet a security boundary"), std::string::npos) << text;
}

TEST(RenderTest, InfoSaysWhatTheKernelModuleHasDone) {
  MachineInfo info = SomeMachine();
  EXPECT_EQ(RenderInfo(info, kPlain).find("KernelZero"), std::string::npos);
  EXPECT_TRUE(InfoJson(info)["kernelzero"].is_null());
  info.kernelzero = {{"moved", 512}, {"swapped", 256}, {"copied_edge", 2}, {"copied_held", 0}};
  const std::string text = RenderInfo(info, kPlain);
  EXPECT_NE(text.find("moved            2.0 MiB, 1.0 MiB of it swapped out\n"), std::string::npos)
      << text;
  EXPECT_NE(text.find("copied           8.0 KiB: edge 8.0 KiB\n"), std::string::npos) << text;
  EXPECT_EQ(InfoJson(info)["kernelzero"]["swapped"], 256);
}

TEST(RenderTest, InfoAsJson) {
  const nlohmann::json document = InfoJson(SomeMachine());
  EXPECT_EQ(document["auto_backend"], "copy");
  EXPECT_EQ(document["backends"][0]["available"], false);
  EXPECT_EQ(document["isolation"]["pid_namespace"], true);
  EXPECT_EQ(document["isolation"]["security_boundary"], false);
}

}  // namespace
}  // namespace zerrow::cli
