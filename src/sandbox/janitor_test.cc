#include "sandbox/janitor.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <optional>
#include <thread>

#include "sandbox/cgroup.h"

namespace zerrow::sandbox {
namespace {

namespace fs = std::filesystem;

bool Eventually(const std::function<bool()>& done) {
  for (int i = 0; i < 1000 && !done(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return done();
}

// Gone, or a zombie of somebody else's.
bool IsGone(pid_t pid) {
  std::error_code ignored;
  return !fs::exists("/proc/" + std::to_string(pid) + "/exe", ignored);
}

// What a process that is killed has told before: its janitor and the folder.
struct Told {
  pid_t janitor = 0;
  char folder[512] = {};
};

// Runs `body` in a process, kills that once it has told, and waits for its end.
Told KillWhenTold(const std::function<Told()>& body) {
  int ends[2];
  if (::pipe(ends) != 0) return {};
  const pid_t pid = ::fork();
  if (pid == 0) {
    const Told told = body();
    if (::write(ends[1], &told, sizeof(told)) != sizeof(told)) ::_exit(1);
    ::pause();
  }
  ::close(ends[1]);  // so that one that dies before ends the reading
  Told told;
  EXPECT_EQ(::read(ends[0], &told, sizeof(told)), static_cast<ssize_t>(sizeof(told)));
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  ::close(ends[0]);
  return told;
}

class JanitorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "zerrow janitor '$x-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_;
};

TEST_F(JanitorTest, IsReapedWithItsOwner) {
  auto janitor = Janitor::Start(folder_).ValueOrDie();
  const pid_t pid = janitor.pid();
  EXPECT_EQ(::getsid(pid), pid) << "Ctrl-C must not reach it";
  fs::remove(folder_);
  {
    const Janitor last = std::move(janitor);
    EXPECT_FALSE(IsGone(pid));
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST_F(JanitorTest, RemovesTheFolderOfAProcessThatWasKilled) {
  const Told told = KillWhenTold([&] {
    static std::optional<Janitor> janitor;  // until the end
    auto started = Janitor::Start(folder_);
    Told told;
    if (started.ok()) told.janitor = janitor.emplace(std::move(*started)).pid();
    return told;
  });
  ASSERT_GT(told.janitor, 0);
  EXPECT_TRUE(Eventually([&] { return !fs::exists(folder_) && IsGone(told.janitor); }));
}

TEST_F(JanitorTest, LeavesAFolderThatIsNotEmptyAlone) {
  fs::create_directory(folder_ / "kept");
  { const auto janitor = Janitor::Start(folder_).ValueOrDie(); }
  EXPECT_TRUE(fs::exists(folder_ / "kept"));
}

TEST(MemoryCgroup, GoesWithAProcessThatIsKilled) {
  if (!MemoryCgroup::Make().ok()) GTEST_SKIP() << "no cgroup can be made here";
  const Told told = KillWhenTold([] {
    static std::unique_ptr<MemoryCgroup> cgroup = MemoryCgroup::Make().ValueOrDie();
    Told told;
    const pid_t engine = ::getpid();
    const pid_t member = ::fork();
    if (member == 0) {
      // As workers do: it outlives its engine for a moment.
      while (::getppid() == engine) ::usleep(1000);
      ::usleep(200'000);
      ::_exit(0);
    }
    if (!cgroup->AddProcess(member).ok()) return told;
    cgroup->path().copy(told.folder, sizeof(told.folder) - 1);
    return told;
  });
  ASSERT_NE(told.folder[0], '\0');
  EXPECT_TRUE(Eventually([&] { return !fs::exists(told.folder); }));
}

}  // namespace
}  // namespace zerrow::sandbox
