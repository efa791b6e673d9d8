#include "shm/spill_folder.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string_view>

#include "shm/spill_pieces.h"

namespace zerrow::shm {

namespace {

bool IsMemory(const struct statfs& info) {
  const auto type = static_cast<uint64_t>(info.f_type);
  return type == TMPFS_MAGIC || type == RAMFS_MAGIC || type == HUGETLBFS_MAGIC;
}

// What follows `key` in text, up to a separator; empty if it isn't there.
std::string After(const std::string& text, std::string_view key, std::string_view separators) {
  const size_t found = text.find(key);
  if (found == std::string::npos) return "";
  const size_t begin = text.find_first_not_of(" \t", found + key.size());
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_first_of(separators, begin) - begin);
}

// The folder that an overlay writes to; empty if it can't be told.
std::string UpperFolder(int folder) {
  std::ifstream about("/proc/self/fdinfo/" + std::to_string(folder));
  const std::string all{std::istreambuf_iterator<char>(about), {}};
  const std::string mount = After(all, "mnt_id:", "\n");
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; !mount.empty() && std::getline(mounts, line);) {
    if (line.starts_with(mount + " ")) return After(line, "upperdir=", ", ");
  }
  return "";
}

bool IsOnMemory(int folder) {
  struct statfs info {};
  if (::fstatfs(folder, &info) != 0) return false;
  if (static_cast<uint64_t>(info.f_type) != OVERLAYFS_SUPER_MAGIC) return IsMemory(info);
  const std::string upper = UpperFolder(folder);
  return !upper.empty() && ::statfs(upper.c_str(), &info) == 0 && IsMemory(info);
}

// Where the file system has no O_TMPFILE.
arrow::Result<base::UniqueFd> MakeUnlinked(int folder) {
  std::random_device random;
  for (int i = 0; i < 100; ++i) {
    const std::string name =
        "zerrow-" + std::to_string(::getpid()) + "-" + std::to_string(random());
    base::UniqueFd fd(
        ::openat(folder, name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd.valid() && errno == EEXIST) continue;
    if (!fd.valid()) return base::ErrnoStatus(errno, "making a file");
    if (::unlinkat(folder, name.c_str(), 0) != 0) return base::ErrnoStatus(errno, "unlinking it");
    return fd;
  }
  return arrow::Status::IOError("no name for a file is free");
}

}  // namespace

SpillFolder::Space& SpillFolder::Space::operator=(Space&& other) noexcept {
  if (this != &other) {
    Release();
    folder_ = std::move(other.folder_);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

void SpillFolder::Space::Release() {
  if (folder_ == nullptr) return;
  {
    std::lock_guard lock(folder_->mutex_);
    folder_->used_bytes_ -= bytes_;
  }
  folder_.reset();
}

arrow::Result<std::shared_ptr<SpillFolder>> SpillFolder::Make(std::string path,
                                                              SpillOptions options) {
  if (options.limit_bytes < 0) return arrow::Status::Invalid("a negative limit of a spill folder");
  std::shared_ptr<SpillFolder> folder(new SpillFolder(std::move(path), std::move(options)));
  const arrow::Status opened = folder->Open();
  if (opened.ok()) return folder;
  return opened.WithMessage("the spill folder ", folder->path_, ": ", opened.message());
}

arrow::Status SpillFolder::Open() {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::path(path_).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (::mkdir(path_.c_str(), 0700) != 0 && errno != EEXIST) {
    return base::ErrnoStatus(errno, "making it");
  }
  folder_ = base::UniqueFd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder_.valid()) return base::ErrnoStatus(errno, "opening it");
  if (IsOnMemory(folder_.get())) {
    return arrow::Status::Invalid(
        "it is in memory itself (a tmpfs, say), so nothing would be gained: choose one on a disk");
  }
  return TryDirect();
}

arrow::Status SpillFolder::TryDirect() {
  ARROW_ASSIGN_OR_RAISE(const base::UniqueFd fd, OpenUnnamed());
  if (!options_.direct) return arrow::Status::OK();
  options_.direct = false;
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (::fcntl(fd.get(), F_SETFL, flags | O_DIRECT) != 0) return arrow::Status::OK();
  alignas(kSpillPageBytes) static constexpr char kPage[kSpillPageBytes] = {};
  // A full disk says nothing about this, and may be less full later.
  options_.direct = ::pwrite(fd.get(), kPage, sizeof(kPage), 0) >= 0 || errno != EINVAL;
  return arrow::Status::OK();
}

int64_t SpillFolder::used_bytes() const {
  std::lock_guard lock(mutex_);
  return used_bytes_;
}

arrow::Result<int64_t> SpillFolder::FreeBytes() const {
  struct statvfs info {};
  if (::fstatvfs(folder_.get(), &info) != 0) {
    return base::ErrnoStatus(errno, "asking for the free space of " + path_);
  }
  const auto disk_bytes = static_cast<int64_t>(info.f_bavail * info.f_frsize);
  return std::min(disk_bytes, options_.limit_bytes - used_bytes());
}

arrow::Result<SpillFolder::Space> SpillFolder::Take(int64_t bytes) {
  std::lock_guard lock(mutex_);
  if (bytes > options_.limit_bytes - used_bytes_) {
    return arrow::Status::CapacityError("the spill folder ", path_, " may hold ",
                                        options_.limit_bytes, " bytes and holds ", used_bytes_,
                                        ": ", bytes, " more don't fit");
  }
  used_bytes_ += bytes;
  return Space(shared_from_this(), bytes);
}

arrow::Result<DescriptorBudget::Share> SpillFolder::TakeDescriptor() const {
  if (options_.descriptors == nullptr) return DescriptorBudget::Share();
  DescriptorBudget::Share share = options_.descriptors->Take(1);
  if (!share) return arrow::Status::CapacityError("no descriptors are left for a spilled segment");
  return share;
}

arrow::Result<base::UniqueFd> SpillFolder::MakeFile(int64_t size_bytes) const {
  ARROW_ASSIGN_OR_RAISE(base::UniqueFd fd, OpenUnnamed());
  ARROW_RETURN_NOT_OK(Allocate(fd.get(), size_bytes));
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (options_.direct && ::fcntl(fd.get(), F_SETFL, flags | O_DIRECT) != 0) {
    return base::ErrnoStatus(errno, "direct I/O on a file in " + path_);
  }
  return fd;
}

arrow::Result<base::UniqueFd> SpillFolder::OpenUnnamed() const {
  base::UniqueFd fd(::openat(folder_.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (fd.valid()) return fd;
  if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL) return MakeUnlinked(folder_.get());
  return SpillError(errno, "making a file in " + path_);
}

arrow::Status SpillFolder::Allocate(int fd, int64_t size_bytes) const {
  // The kernel would send SIGXFSZ, which ends the process.
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
      static_cast<uint64_t>(size_bytes) > limit.rlim_cur) {
    return arrow::Status::IOError("spilling ", size_bytes,
                                  " bytes: this process may write files of ", limit.rlim_cur,
                                  " bytes (ulimit -f)");
  }
  int failed = 0;
  do {
    failed = ::fallocate(fd, /*mode=*/0, /*offset=*/0, size_bytes);
  } while (failed != 0 && errno == EINTR);
  if (failed == 0) return arrow::Status::OK();
  if (errno != EOPNOTSUPP && errno != ENOSYS) {
    return SpillError(errno, "a place for " + std::to_string(size_bytes) + " bytes in " + path_);
  }
  ARROW_ASSIGN_OR_RAISE(const int64_t free_bytes, FreeBytes());
  if (free_bytes >= size_bytes) return arrow::Status::OK();
  return arrow::Status::CapacityError("the disk of ", path_, " has ", free_bytes,
                                      " bytes left, not ", size_bytes);
}

}  // namespace zerrow::shm
