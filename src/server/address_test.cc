#include "server/address.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace zerrow::server {
namespace {

namespace fs = std::filesystem;

class AddressTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "zerrow-address-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }
  std::string folder() const { return root_ / "runtime"; }

  fs::path root_;
};

TEST_F(AddressTest, OnlyMakeMakesTheFolder) {
  EXPECT_TRUE(Address::Open(folder()).status().IsKeyError());
  ASSERT_TRUE(Address::Make(folder()).ok());
  EXPECT_TRUE(Address::Open(folder()).ok());
  EXPECT_EQ(fs::status(folder()).permissions(), fs::perms::owner_all);
}

TEST_F(AddressTest, AFolderOpenToOthersIsRefused) {
  for (const mode_t mode : {0710U, 0701U, 0704U, 0770U, 0777U}) {
    fs::remove_all(folder());
    ::mkdir(folder().c_str(), 0700);
    ::chmod(folder().c_str(), mode);
    EXPECT_TRUE(Address::Open(folder()).status().IsInvalid()) << mode;
    EXPECT_TRUE(Address::Make(folder()).status().IsInvalid()) << mode;
  }
}

TEST_F(AddressTest, WhatIsNoFolderIsRefused) {
  ::mkdir((root_ / "other").c_str(), 0700);
  fs::create_directory_symlink(root_ / "other", folder());
  EXPECT_TRUE(Address::Open(folder()).status().IsInvalid());
  fs::remove(folder());
  std::ofstream(folder()) << "a file";
  EXPECT_TRUE(Address::Make(folder()).status().IsInvalid());
}

TEST_F(AddressTest, OneHoldsTheLock) {
  const auto address = Address::Make(folder()).ValueOrDie();
  auto lock = address.Lock();
  ASSERT_TRUE(lock.ok());
  EXPECT_TRUE(address.Lock().status().IsAlreadyExists());
  lock->reset();
  EXPECT_TRUE(address.Lock().ok());
}

TEST_F(AddressTest, ASocketIsFoundWhileSomebodyListens) {
  const auto address = Address::Make(folder()).ValueOrDie();
  EXPECT_TRUE(address.Connect().status().IsKeyError());
  auto socket = address.Listen();
  ASSERT_TRUE(socket.ok()) << socket.status();
  struct stat found {};
  ASSERT_EQ(::stat(address.socket_path().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600U);
  EXPECT_TRUE(address.Connect().ok());
  socket->reset();
  EXPECT_TRUE(address.Connect().status().IsKeyError()) << "its name is still there";
  EXPECT_TRUE(address.Listen().ok());
}

TEST_F(AddressTest, PathsMayBeLong) {
  std::string deep = root_;
  for (int i = 0; i < 20; ++i) deep += "/0123456789";
  fs::create_directories(deep);
  const auto address = Address::Make(deep + "/runtime").ValueOrDie();
  const auto socket = address.Listen();
  ASSERT_TRUE(socket.ok()) << socket.status();
  EXPECT_TRUE(address.Connect().ok());
}

}  // namespace
}  // namespace zerrow::server
