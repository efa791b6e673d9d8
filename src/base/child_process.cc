#include "base/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace zerrow::base {

namespace {

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const auto& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// posix_spawn's two option objects, destroyed on every way out.
class SpawnSettings {
 public:
  explicit SpawnSettings(bool new_session) {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
    sigset_t none;
    ::sigemptyset(&none);
    sigset_t all;
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    const int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    ::posix_spawnattr_setflags(
        &attributes_, static_cast<short>(new_session ? flags | POSIX_SPAWN_SETSID : flags));
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  // dup2 also clears close-on-exec where both numbers are the same.
  int AddFd(int from, int to) { return ::posix_spawn_file_actions_adddup2(&actions_, from, to); }
  // What a host leaves to its programs isn't for this one, which may outlive what it is for.
  int CloseFrom(int first) { return ::posix_spawn_file_actions_addclosefrom_np(&actions_, first); }
  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

}  // namespace

arrow::Result<ChildProcess> ChildProcess::Spawn(const Options& options) {
  SpawnSettings settings(options.new_session);
  // Numbers below 10 are targets: sources are moved above them, or one dup2 would overwrite
  // another one's source.
  std::vector<UniqueFd> moved;
  int highest = 2;
  for (const auto& [from, to] : options.fds) {
    highest = std::max(highest, to);
    moved.emplace_back(::fcntl(from, F_DUPFD_CLOEXEC, 10));
    if (!moved.back().valid()) return ErrnoStatus(errno, "duplicating a descriptor");
    if (const int error = settings.AddFd(moved.back().get(), to)) {
      return ErrnoStatus(error, "preparing to start a process");
    }
  }
  if (const int error = settings.CloseFrom(highest + 1)) {
    return ErrnoStatus(error, "preparing to start a process");
  }
  const auto arguments = Pointers(options.arguments);
  const auto environment = Pointers(options.environment);
  pid_t pid = -1;
  if (const int error =
          ::posix_spawnp(&pid, arguments[0], settings.actions(), settings.attributes(),
                         arguments.data(), environment.data())) {
    return ErrnoStatus(error, "starting " + options.arguments[0]);
  }
  auto pidfd = OpenPidfd(pid);
  const arrow::Status opened = pidfd.status();
  ChildProcess child(pid, opened.ok() ? *std::move(pidfd) : UniqueFd());
  ARROW_RETURN_NOT_OK(opened);
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(other.pid_),
      pidfd_(std::move(other.pidfd_)),
      reaped_(std::exchange(other.reaped_, true)),
      wait_status_(other.wait_status_) {}

ChildProcess::~ChildProcess() { Wait(std::chrono::milliseconds(0)); }

void ChildProcess::Kill() const {
  if (reaped_) return;
  if (!pidfd_.valid()) {
    ::kill(pid_, SIGKILL);  // it was only just started
    return;
  }
  // Not by its number: whoever waits for any child of this process may have reaped it.
  ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
}

int ChildProcess::Wait(std::chrono::milliseconds patience) {
  if (reaped_) return wait_status_;
  pollfd poller{pidfd_.get(), POLLIN, 0};
  if (!pidfd_.valid() || ::poll(&poller, 1, static_cast<int>(patience.count())) <= 0) Kill();
  while (::waitpid(pid_, &wait_status_, 0) < 0 && errno == EINTR) {
  }
  reaped_ = true;
  return wait_status_;
}

arrow::Result<UniqueFd> OpenPidfd(pid_t pid) {
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) return ErrnoStatus(errno, "pidfd_open");
  return pidfd;
}

std::string DescribeWaitStatus(int wait_status) {
  if (!WIFSIGNALED(wait_status)) {
    return "exited with code " + std::to_string(WEXITSTATUS(wait_status));
  }
  const int signal = WTERMSIG(wait_status);
  const char* name = ::sigabbrev_np(signal);
  const char* meaning = ::sigdescr_np(signal);
  std::string text = "was killed by ";
  text += name != nullptr ? "SIG" + std::string(name) : "signal " + std::to_string(signal);
  if (meaning != nullptr) text += " (" + std::string(meaning) + ")";
  return text;
}

}  // namespace zerrow::base
