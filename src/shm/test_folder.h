// For tests: folders on a disk, and small disks of their own.
//
// One thread. Goes with its owner.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>

#include <filesystem>
#include <functional>
#include <string>

namespace zerrow::shm {

/// A child's exit code: it couldn't be tried here.
constexpr int kSkip = 77;

/// Where the tests run: /tmp may be memory.
class TestFolder {
 public:
  TestFolder() : path_(std::filesystem::current_path() / "spill-XXXXXX") {
    std::string name = path_.string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;

  std::string path() const { return path_.string(); }
  bool empty() const { return std::filesystem::is_empty(path_); }

 private:
  std::filesystem::path path_;
};

/// From here on this process sees mounts of its own.
inline bool LeaveMounts() {
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

/// What `body` returns for a folder on a disk of 16 MiB, which this process alone sees: for a
/// child. `make` makes its file system.
inline int OnSmallDisk(const std::string& path, const std::string& make,
                       const std::function<int(const std::string&)>& body) {
  const std::string image = path + "/image";
  const std::string mount = path + "/mount";
  std::filesystem::create_directory(mount);
  const std::string command = "truncate -s 16M " + image + " && " + make + " " + image +
                              " && mount -o loop " + image + " " + mount;
  if (!LeaveMounts() || std::system(("( " + command + " ) >/dev/null 2>&1").c_str()) != 0) {
    return kSkip;
  }
  const int code = body(mount);
  return ::umount2(mount.c_str(), MNT_DETACH) == 0 ? code : 1;
}

}  // namespace zerrow::shm
