#include "engine/source_files.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/fd.h"

namespace zerrow::engine {

namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;
// Local file systems take a change's time from the kernel's clock, which ticks every 10 ms or more
// often.
constexpr int64_t kSettledNs = 50'000'000;

#ifndef ZFS_SUPER_MAGIC
#define ZFS_SUPER_MAGIC 0x2fc12fc1
#endif
constexpr std::array<unsigned long, 7> kLocal = {
    EXT4_SUPER_MAGIC,      XFS_SUPER_MAGIC,  BTRFS_SUPER_MAGIC, TMPFS_MAGIC,
    OVERLAYFS_SUPER_MAGIC, F2FS_SUPER_MAGIC, ZFS_SUPER_MAGIC};

int64_t Nanoseconds(const timespec& time) { return time.tv_sec * kNsPerSecond + time.tv_nsec; }

bool IsLocal(const std::string& path) {
  struct statfs info = {};
  return ::statfs(path.c_str(), &info) == 0 &&
         std::ranges::find(kLocal, static_cast<unsigned long>(info.f_type)) != kLocal.end();
}

}  // namespace

arrow::Result<std::vector<IdentifiedFile>> Identify(const std::vector<SourceFile>& files) {
  std::vector<IdentifiedFile> identified;
  identified.reserve(files.size());
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  for (const SourceFile& file : files) {
    struct stat info = {};
    if (::stat(file.path.c_str(), &info) != 0) {
      return base::ErrnoStatus(errno, "looking at " + file.path);
    }
    IdentifiedFile& found = identified.emplace_back();
    found.partition = file.partition;
    found.identity = {.path = file.path,
                      .device = info.st_dev,
                      .inode = info.st_ino,
                      .size_bytes = info.st_size,
                      .mtime_ns = Nanoseconds(info.st_mtim),
                      .ctime_ns = Nanoseconds(info.st_ctim)};
    const int64_t changed = std::max(found.identity.mtime_ns, found.identity.ctime_ns);
    found.lasting = Nanoseconds(now) - changed > kSettledNs && IsLocal(file.path);
  }
  return identified;
}

}  // namespace zerrow::engine
