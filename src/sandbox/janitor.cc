#include "sandbox/janitor.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace zerrow::sandbox {

namespace {

// On a clean end the folder is gone, and so is the janitor at once.
constexpr const char* kScript =
    "while read -r line; do :; done; tries=0; "
    "while [ -d \"$1\" ] && ! rmdir \"$1\" && [ $tries -lt 200 ]; do "
    "tries=$((tries + 1)); sleep 0.05; done";
constexpr std::chrono::milliseconds kPatience{1000};

}  // namespace

arrow::Result<Janitor> Janitor::Start(const std::string& folder) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return base::ErrnoStatus(errno, "pipe");
  const base::UniqueFd read(ends[0]);
  base::UniqueFd write(ends[1]);
  const base::UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null.valid()) return base::ErrnoStatus(errno, "opening /dev/null");
  base::ChildProcess::Options options;
  options.arguments = {"/bin/sh", "-c", kScript, "zerrow-janitor", folder};
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  // Whoever reads what we print must not wait for the janitor's end.
  options.fds = {{read.get(), 0}, {null.get(), 1}, {null.get(), 2}};
  options.new_session = true;
  ARROW_ASSIGN_OR_RAISE(base::ChildProcess process, base::ChildProcess::Spawn(options));
  return Janitor(std::move(process), std::move(write));
}

Janitor::~Janitor() {
  if (!pipe_.valid()) return;  // moved from
  pipe_.reset();
  process_.Wait(kPatience);
}

}  // namespace zerrow::sandbox
