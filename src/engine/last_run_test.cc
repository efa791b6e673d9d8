#include "engine/last_run.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace zerrow::engine {
namespace {

namespace fs = std::filesystem;
using Texts = std::vector<std::string>;

class LastRunTest : public ::testing::Test {
 protected:
  LastRunTest() {
    std::string path = fs::temp_directory_path() / "zerrow-last-run-XXXXXX";
    folder_ = ::mkdtemp(path.data());
    ::setenv("XDG_STATE_HOME", (folder_ / "state").c_str(), 1);
    fs::create_directory(folder_ / "p");
  }
  ~LastRunTest() override {
    ::unsetenv("XDG_STATE_HOME");
    fs::remove_all(folder_);
  }

  std::string project() const { return folder_ / "p"; }
  std::vector<fs::path> Files() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder_ / "state" / "zerrow" / "last_runs")) {
      files.push_back(entry.path());
    }
    return files;
  }

  fs::path folder_;
};

RunReport Report(std::vector<std::pair<std::string, ModelStatus>> models) {
  RunReport report;
  for (auto& [name, status] : models) {
    ModelReport& model = report.models.emplace_back();
    model.name = name;
    model.status = status;
    if (name.find('#') != name.npos) model.kind = ModelKind::kFilter;
  }
  return report;
}

using enum ModelStatus;

TEST(FailedModels, AreThoseThatTheOthersWereSkippedFor) {
  RunReport report = Report({{"a", kSuccess},
                             {"b", kFailed},
                             {"c", kSkipped},
                             {"d", kTimeout},
                             {"e", kKilled},
                             {"s#2", kFailed}});
  report.errors = {{.message = "it can't be written", .model = "a"}};
  EXPECT_EQ(FailedModels(report), (Texts{"b", "d", "e", "s", "a"}));
  report = Report({{"a", kSuccess}, {"b", kCancelled}, {"c", kSkipped}});
  report.status = RunStatus::kCancelled;
  EXPECT_EQ(FailedModels(report), (Texts{"b", "c"})) << "it was stopped";
}

TEST_F(LastRunTest, IsKnownByWhateverPath) {
  ASSERT_TRUE(NoteLastRun(project(), Report({{"a", kSuccess}, {"b", kFailed}})).ok());
  fs::create_symlink(project(), folder_ / "link");
  for (const std::string& path : {project(), project() + "/", (folder_ / "link").string()}) {
    EXPECT_EQ(FailedInLastRun(path).ValueOrDie(), Texts{"b"}) << path;
  }
  ASSERT_TRUE(NoteLastRun(project() + "/.", Report({{"a", kSuccess}})).ok());
  EXPECT_EQ(FailedInLastRun(project()).ValueOrDie(), Texts{});
  EXPECT_EQ(Files().size(), 1u) << "one file for a project, and none that is unfinished";
  struct stat found = {};
  ASSERT_EQ(::stat(Files()[0].c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
}

TEST_F(LastRunTest, WhereNothingRanTheRunBeforeIsTheLast) {
  ASSERT_TRUE(NoteLastRun(project(), Report({{"b", kFailed}})).ok());
  RunReport invalid;
  invalid.errors = {{.message = "no such input", .model = "x"}};
  ASSERT_TRUE(NoteLastRun(project(), invalid).ok());
  EXPECT_EQ(FailedInLastRun(project()).ValueOrDie(), Texts{"b"});
}

TEST_F(LastRunTest, AMissingFileIsSaidSo) {
  const auto status = FailedInLastRun(project()).status();
  EXPECT_TRUE(status.IsInvalid()) << status;
  EXPECT_NE(status.message().find("no run of this project is known"), std::string::npos) << status;
}

TEST_F(LastRunTest, ABrokenFileIsSaidSo) {
  ASSERT_TRUE(NoteLastRun(project(), Report({{"b", kFailed}})).ok());
  const fs::path file = Files().at(0);
  for (const char* text :
       {"", "x", "{}", "[]", "7", R"({"version": 2, "project": "p", "failed": []})",
        R"({"version": 1, "project": "/elsewhere", "failed": []})",
        R"({"version": 1, "project": 3, "failed": [4]})", "\xff\xfe"}) {
    std::ofstream(file) << text;
    const auto status = FailedInLastRun(project()).status();
    ASSERT_TRUE(status.IsInvalid()) << text;
    EXPECT_NE(status.message().find(file.string() + " doesn't tell what failed"), std::string::npos)
        << status;
  }
  fs::remove(file);
  ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
  EXPECT_TRUE(FailedInLastRun(project()).status().IsInvalid()) << "nobody waits for a writer";
  ASSERT_TRUE(NoteLastRun(project(), Report({{"b", kFailed}})).ok()) << "it is replaced";
  EXPECT_EQ(FailedInLastRun(project()).ValueOrDie(), Texts{"b"});
}

TEST_F(LastRunTest, ProjectsThatComeAndGoLeaveABoundedNumberOfFiles) {
  ASSERT_TRUE(NoteLastRun(project(), Report({{"b", kFailed}})).ok());
  const fs::path runs = Files().at(0).parent_path();
  for (int i = 0; i < 1100; ++i) {
    const fs::path file = runs / ("old" + std::to_string(i));
    std::ofstream(file) << "{}";
    fs::last_write_time(file, fs::file_time_type::clock::now() - std::chrono::hours(1));
  }
  ASSERT_TRUE(NoteLastRun(project(), Report({{"b", kFailed}})).ok());
  EXPECT_EQ(Files().size(), 1000u);
  EXPECT_EQ(FailedInLastRun(project()).ValueOrDie(), Texts{"b"});
}

}  // namespace
}  // namespace zerrow::engine
