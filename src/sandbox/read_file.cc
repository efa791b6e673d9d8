#include "sandbox/read_file.h"

#include <fcntl.h>

#include <cerrno>

#include "base/fd.h"

namespace zerrow::sandbox {

namespace {

constexpr int64_t kLimitBytes = 1 << 20;

}  // namespace

arrow::Result<std::string> ReadFile(const std::string& path) {
  const base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return base::ErrnoStatus(errno, path);
  return base::ReadAll(fd.get(), kLimitBytes);
}

}  // namespace zerrow::sandbox
