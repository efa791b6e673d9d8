#include "sandbox/process_tree.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <system_error>

#include "base/fd.h"
#include "sandbox/memory_sampler.h"

namespace zerrow::sandbox {

namespace {

// Each stops what the one before has started before it was stopped.
constexpr int kRounds = 4;

void AddTree(pid_t pid, std::set<pid_t>& tree) {
  if (!tree.insert(pid).second) return;
  for (const pid_t child : ChildrenOf(pid)) AddTree(child, tree);
}

std::set<pid_t> TreeOf(pid_t root) {
  std::set<pid_t> tree;
  AddTree(root, tree);
  return tree;
}

// The number may be another process's by now: what the descriptor is for can't change any more, so
// that it is looked at again.
void Signal(pid_t pid, pid_t root, int signal) {
  const base::UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process.valid() || !TreeOf(root).contains(pid)) return;
  ::syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0);
}

}  // namespace

std::vector<pid_t> ChildrenOf(pid_t pid) {
  std::vector<pid_t> children;
  std::error_code error;
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  for (std::filesystem::directory_iterator task(tasks, error), end; !error && task != end;
       task.increment(error)) {
    std::ifstream list(task->path() / "children");
    for (pid_t child = 0; list >> child;) children.push_back(child);
  }
  return children;
}

int64_t TreeAnonBytes(pid_t root) {
  int64_t bytes = 0;
  for (const pid_t pid : TreeOf(root)) bytes += AnonBytes(pid);
  return bytes;
}

void PauseTree(pid_t root, bool paused) {
  std::set<pid_t> done;
  for (int round = 0; round < kRounds; ++round) {
    const std::set<pid_t> tree = TreeOf(root);
    if (std::ranges::includes(done, tree)) return;
    for (const pid_t pid : tree) {
      if (done.insert(pid).second) Signal(pid, root, paused ? SIGSTOP : SIGCONT);
    }
  }
}

}  // namespace zerrow::sandbox
