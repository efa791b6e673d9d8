#include "engine/environment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <filesystem>

#include "engine/run.h"

namespace zerrow::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using enum ModelStatus;

const json kPrepared = {{"folder", "/e"}, {"python", "/e/python"}, {"package_folder", "/e/p"}};

TEST(Environment, IsWhereAbsolutePathsSay) {
  EXPECT_EQ(ReadPrepared(kPrepared)->python, "/e/python");
  for (const char* key : {"folder", "python", "package_folder"}) {
    for (const json& path : {json(7), json("e"), json(nullptr), json(std::string("/e\0x", 4))}) {
      json changed = kPrepared;
      changed[key] = path;
      EXPECT_TRUE(ReadPrepared(changed).status().IsSerializationError()) << changed;
    }
  }
  EXPECT_FALSE(ReadPrepared(json(7)).ok());
  EXPECT_FALSE(ReadPrepared(json::array()).ok());
}

TEST(Environment, ItsZygoteIsTheRunsButForThePython) {
  ZygoteOptions options;
  options.python = "python3";
  options.python_path = {"/checkout/python"};
  options.descriptors = 77;
  const ZygoteOptions other = In(*ReadPrepared(kPrepared), options);
  EXPECT_EQ(other.python, "/e/python");
  EXPECT_EQ(other.python_path, std::vector<std::string>{"/e/p"});
  EXPECT_EQ(other.descriptors, 77u);
}

TEST(Environment, IsKeptWhereCachesAre) {
  EXPECT_EQ(EnvironmentsFolder(Environment{{"XDG_CACHE_HOME", "/c"}, {"HOME", "/h"}}),
            "/c/zerrow/environments");
  EXPECT_EQ(EnvironmentsFolder(Environment{{"XDG_CACHE_HOME", "c"}, {"HOME", "/h"}}),
            "/h/.cache/zerrow/environments");
  EXPECT_EQ(EnvironmentsFolder(Environment{}), "");
}

TEST(Environment, IsHeldUnlessItIsBeingRemoved) {
  const fs::path folder = fs::path(::testing::TempDir()) / "zerrow_environment_test";
  fs::remove_all(folder);
  const PreparedEnvironment environment = {folder, folder / "python", folder / "packages"};
  EXPECT_TRUE(Hold(environment).status().IsIOError());
  fs::create_directory(folder);
  const base::UniqueFd other(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  {
    const auto held = Hold(environment);
    ASSERT_TRUE(held.ok()) << held.status();
    EXPECT_TRUE(Hold(environment).ok());
    EXPECT_NE(::flock(other.get(), LOCK_EX | LOCK_NB), 0);
  }
  ASSERT_EQ(::flock(other.get(), LOCK_EX | LOCK_NB), 0);
  EXPECT_TRUE(Hold(environment).status().IsIOError());
  fs::remove_all(folder);
}

ModelDescription Model(std::string name, std::string input, std::string package) {
  ModelDescription model;
  model.name = std::move(name);
  model.file = "models.py";
  model.line = 9;
  model.inputs = {{"input", std::move(input), {}, {}, {}, 9}};
  model.environment = {"3.11.2", {std::move(package)}};
  return model;
}

TEST(Environment, NothingOfARunBeginsBeforeAllAreThere) {
  Description project;
  project.sources = {{"s", {{"/s.parquet", {}}}, {{"a", "int64"}}, "project.yml", 2}};
  project.models = {Model("x", "s", "a==1"), Model("y", "x", "b==1")};
  engine::Run run("name", {}, 0);
  run.FirstTasks();
  const auto specs = run.OnPlanned(MakePlan(project, {}));
  ASSERT_EQ(specs.size(), 5u);
  for (const size_t task : {1, 2}) {
    EXPECT_EQ(run.task(task).kind, RunTask::Kind::kEnvironment);
    EXPECT_EQ(run.task(task).environment, task - 1);
    EXPECT_FALSE(specs[task - 1].has_table);
    EXPECT_TRUE(specs[task - 1].inputs.empty());
    EXPECT_EQ(run.NameOf(task), "");
  }
  ASSERT_EQ(run.TaskOf(0), 3u);
  for (const size_t task : {3, 4, 5}) {
    EXPECT_EQ(specs[task - 1].after, (std::vector<size_t>{1, 2}));
  }
  EXPECT_EQ(specs[3].inputs, std::vector<size_t>{3});

  const auto answer = [&run](size_t task, auto what) {
    Outcome outcome;
    outcome.what = std::move(what);
    const ModelStatus status = run.OnEnded(task, std::move(outcome), 3);
    run.OnFinished(task, status);
    return status;
  };
  EXPECT_EQ(run.EnvironmentOf(4), nullptr);
  EXPECT_EQ(answer(1, kPrepared), kSuccess);
  ASSERT_NE(run.EnvironmentOf(4), nullptr);
  EXPECT_EQ(run.EnvironmentOf(4)->python, "/e/python");
  EXPECT_EQ(run.EnvironmentOf(3), nullptr);
  EXPECT_EQ(run.EnvironmentOf(5), nullptr);
  EXPECT_EQ(answer(2, json(7)), kFailed);
  Failure failure;
  failure.error.message = "no such package";
  EXPECT_EQ(answer(2, std::move(failure)), kFailed);
  const RunError& error = run.report().errors.back();
  EXPECT_EQ(error.ToString(), "models.py:9: y: no such package");
}

}  // namespace
}  // namespace zerrow::engine
