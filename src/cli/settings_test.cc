#include "cli/settings.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace zerrow::cli {
namespace {

class SettingsTest : public ::testing::Test {
 protected:
  ~SettingsTest() override { std::filesystem::remove(path_); }
  arrow::Result<Settings> Read(const std::string& text) {
    std::ofstream(path_) << text;
    return ReadSettings(path_);
  }
  const std::string path_ = std::filesystem::temp_directory_path() /
                            ("zerrow-settings-" + std::to_string(::getpid()) + ".toml");
};

TEST_F(SettingsTest, WithoutAFileTheDefaultsHold) {
  const auto settings = ReadSettings("/nowhere/config.toml").ValueOrDie();
  EXPECT_FALSE(settings.engine);
  EXPECT_EQ(settings.rest_after.count(), 60);
  EXPECT_EQ(settings.zygotes_end_after.count(), 600);
  EXPECT_EQ(settings.cache_bytes, std::nullopt);
  EXPECT_TRUE(ReadSettings("").ok());
}

TEST_F(SettingsTest, ReadsWhatIsSet) {
  const auto settings =
      Read(
          "# mine\nengine = \"resident\"\nrest_after_s = 5\nzygotes_end_after_s = 7\n"
          "cache_size = \"2GiB\"\n")
          .ValueOrDie();
  EXPECT_EQ(settings.engine, EngineChoice::kResident);
  EXPECT_EQ(settings.rest_after.count(), 5);
  EXPECT_EQ(settings.zygotes_end_after.count(), 7);
  EXPECT_EQ(settings.cache_bytes, int64_t{2} << 30);
  EXPECT_EQ(Read("cache_size = 0\n").ValueOrDie().cache_bytes, 0);
}

TEST_F(SettingsTest, AByteOrderMarkIsNoPartOfTheFirstKey) {
  const auto settings = Read("\xEF\xBB\xBF" + std::string("engine = \"own\"\n"));
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->engine, EngineChoice::kOwn);
}

TEST_F(SettingsTest, AKeyHasOneValue) {
  for (const char* text : {"engine = \"own\"\nengine = \"auto\"\n",
                           "engine = \"own\"\nrest_after_s = 5\nengine = \"own\"\n",
                           "engine = [\"own\", \"auto\"]\n"}) {
    const auto status = Read(text).status();
    EXPECT_TRUE(status.IsInvalid()) << text;
    EXPECT_NE(status.message().find("engine takes one value, and has several"), std::string::npos)
        << status;
  }
}

TEST_F(SettingsTest, WhatIsNoFileIsRefusedAndNotWaitedFor) {
  EXPECT_TRUE(ReadSettings(std::filesystem::temp_directory_path()).status().IsInvalid());
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_TRUE(ReadSettings(path_).status().IsInvalid());
}

TEST_F(SettingsTest, NonsenseIsNamedWithItsFile) {
  for (const char* text :
       {"engine = \"mine\"\n", "egnine = \"own\"\n", "rest_after_s = soon\n",
        "cache_size = \"much\"\n", "cache_size = \"-1\"\n", "cache_size = \"1 ZB\"\n",
        "rest_after_s = 0\n", "rest_after_s = 1.5\n", "[engine]\nx = 1\n"}) {
    const auto settings = Read(text);
    ASSERT_TRUE(settings.status().IsInvalid()) << text;
    EXPECT_NE(settings.status().message().find(path_), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace zerrow::cli
