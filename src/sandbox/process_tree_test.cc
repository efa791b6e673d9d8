#include "sandbox/process_tree.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

namespace zerrow::sandbox {
namespace {

using std::chrono::steady_clock;

char StateOf(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string stat((std::istreambuf_iterator<char>(file)), {});
  const size_t name_end = stat.rfind(')');
  return name_end == std::string::npos ? '?' : stat[name_end + 2];
}

template <typename Condition>
bool Eventually(Condition condition) {
  const auto deadline = steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

// A child that has a child, each with so much memory; both wait until they are killed.
class Family {
 public:
  explicit Family(size_t bytes) {
    parent_ = ::fork();
    if (parent_ == 0) {
      const pid_t grandchild = ::fork();
      void* memory =
          ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      std::memset(memory, 1, bytes);
      for (;;) grandchild == 0 ? ::usleep(1000) : ::pause();
    }
    Eventually([this] { return !ChildrenOf(parent_).empty(); });
    child_ = ChildrenOf(parent_).front();
  }
  ~Family() {
    ::kill(child_, SIGKILL);
    ::kill(parent_, SIGKILL);
    ::waitpid(parent_, nullptr, 0);
  }
  pid_t parent() const { return parent_; }
  pid_t child() const { return child_; }

 private:
  pid_t parent_ = 0;
  pid_t child_ = 0;
};

TEST(ProcessTree, MeasuresDescendantsToo) {
  constexpr size_t kBytes = 20 << 20;
  const Family family(kBytes);
  EXPECT_TRUE(Eventually([&] {
    const int64_t of_child = TreeAnonBytes(family.child());
    return of_child >= int64_t{kBytes} &&
           TreeAnonBytes(family.parent()) >= of_child + int64_t{kBytes};
  }));
  EXPECT_EQ(TreeAnonBytes(1 << 30), 0);
}

TEST(ProcessTree, AllOfItIsPausedAndGoesOn) {
  const Family family(4096);
  PauseTree(family.parent(), true);
  for (const pid_t pid : {family.parent(), family.child()}) {
    EXPECT_TRUE(Eventually([&] { return StateOf(pid) == 'T'; })) << pid;
  }
  PauseTree(family.parent(), false);
  for (const pid_t pid : {family.parent(), family.child()}) {
    EXPECT_TRUE(Eventually([&] { return StateOf(pid) != 'T'; })) << pid;
  }
}

TEST(ProcessTree, OnlyTheTreeIsPaused) {
  const Family paused(4096);
  const Family other(4096);
  PauseTree(paused.child(), true);
  ASSERT_TRUE(Eventually([&] { return StateOf(paused.child()) == 'T'; }));
  EXPECT_NE(StateOf(paused.parent()), 'T');
  EXPECT_NE(StateOf(other.child()), 'T');
  PauseTree(paused.child(), false);
}

}  // namespace
}  // namespace zerrow::sandbox
