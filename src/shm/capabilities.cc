#include "shm/capabilities.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/mapping.h"
#include "shm/chunk_source.h"

namespace zerrow::shm {

namespace {

Capability Refused(const arrow::Status& status) { return {false, status.message()}; }

Capability ProbeSealing() {
  const auto fd = base::MakeSealedMemfd("zerrow-probe", "x");
  if (!fd.ok()) return Refused(fd.status());
  if (!base::IsSealed(fd->get())) return {false, "seals are accepted but not kept"};
  return {true, "memfds, frozen by seals"};
}

// Whether one byte written to a chunk gets a whole huge page behind it.
arrow::Result<bool> GivesHugePages(const ChunkSource& source) {
  constexpr int64_t kHugeBytes = 2 << 20;
  ARROW_ASSIGN_OR_RAISE(const Chunk chunk, source.Make(2 * kHugeBytes));
  ARROW_ASSIGN_OR_RAISE(const base::UniqueFd fd, source.OpenForWriting(chunk));
  ARROW_ASSIGN_OR_RAISE(const auto mapping, base::Mapping::Map(fd.get(), chunk.size_bytes,
                                                               base::Mapping::Access::kReadWrite));
  if (::madvise(mapping.data(), static_cast<size_t>(mapping.size()), MADV_HUGEPAGE) != 0) {
    return base::ErrnoStatus(errno, "madvise(MADV_HUGEPAGE)");
  }
  mapping.data()[0] = 1;
  return BackedBytes(chunk) >= kHugeBytes;
}

Capability ProbeHugePages(const ChunkSource& source) {
  if (!source.huge_pages()) return {false, "this kernel has no tmpfs with huge=advise"};
  const auto gives = GivesHugePages(source);
  if (!gives.ok()) return Refused(gives.status());
  if (!*gives) return {false, "the kernel gave ordinary pages: memory is fragmented, or forbidden"};
  return {true, "2 MiB pages, where the kernel finds them"};
}

// In a child process, as there is no way back. 0, or an errno value.
int TryUnshare(int flags) {
  const pid_t child = ::fork();
  if (child < 0) return errno;
  if (child == 0) ::_exit(::unshare(flags) == 0 ? 0 : errno & 0xff);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return errno;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

Capability ProbeNamespace(int flag) {
  if (flag != CLONE_NEWUSER && TryUnshare(flag) == 0) return {true, "by this process's own rights"};
  const int error = TryUnshare(flag | CLONE_NEWUSER);
  if (error != 0) return {false, std::string("unshare: ") + std::strerror(error)};
  return {true, flag == CLONE_NEWUSER ? "permitted" : "within a user namespace"};
}

}  // namespace

Capabilities Probe() {
  Capabilities found;
  found.memfd_sealing = ProbeSealing();
  const auto tmpfs = MakeTmpfsSource();
  if (tmpfs.ok()) {
    found.private_tmpfs = {true, "a tmpfs of its own, read-only for readers"};
    found.huge_pages = ProbeHugePages(**tmpfs);
  } else {
    found.private_tmpfs = Refused(tmpfs.status());
    found.huge_pages = {false, "needs the private tmpfs"};
  }
  found.user_namespace = ProbeNamespace(CLONE_NEWUSER);
  found.pid_namespace = ProbeNamespace(CLONE_NEWPID);
  found.mount_namespace = ProbeNamespace(CLONE_NEWNS);
  return found;
}

}  // namespace zerrow::shm
