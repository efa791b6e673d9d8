#include "sandbox/memory_sampler.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

namespace zerrow::sandbox {
namespace {

constexpr int64_t kMiB = 1 << 20;

// A process that, when told, touches so much private and so much shared memory, and waits.
class Eater {
 public:
  Eater(int64_t private_bytes, int64_t shared_bytes) {
    EXPECT_EQ(::pipe(go_), 0);
    EXPECT_EQ(::pipe(ready_), 0);
    pid_ = ::fork();
    if (pid_ == 0) Run(static_cast<size_t>(private_bytes), static_cast<size_t>(shared_bytes));
  }
  ~Eater() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    for (int fd : {go_[0], go_[1], ready_[0], ready_[1]}) ::close(fd);
  }
  void Begin() {
    const char byte = 0;
    EXPECT_EQ(::write(go_[1], &byte, 1), 1);
  }
  void Eat() {
    Begin();
    char byte = 0;
    EXPECT_EQ(::read(ready_[0], &byte, 1), 1);
  }
  pid_t pid() const { return pid_; }

 private:
  [[noreturn]] void Run(size_t private_bytes, size_t shared_bytes) {
    char byte = 0;
    if (::read(go_[0], &byte, 1) != 1) ::_exit(1);
    for (auto [size, kind] : {std::pair(private_bytes, MAP_PRIVATE), {shared_bytes, MAP_SHARED}}) {
      if (size == 0) continue;
      void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS, -1, 0);
      std::memset(memory, 1, size);
    }
    if (::write(ready_[1], &byte, 1) != 1) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  int go_[2], ready_[2];
  pid_t pid_;
};

TEST(MemorySampler, CountsPrivateMemoryAndSegmentsFromProc) {
  int64_t segments = 0;
  auto sampler = MemorySampler::MakeFromProc([&] { return segments; });
  Eater eater(64 * kMiB, 32 * kMiB);
  sampler.AddProcess(eater.pid());
  sampler.Sample();
  const int64_t before = sampler.current_bytes();
  eater.Eat();
  segments = 32 * kMiB;
  sampler.Sample();
  EXPECT_NEAR(static_cast<double>(sampler.current_bytes() - before), 96.0 * kMiB, 8.0 * kMiB);
  EXPECT_EQ(sampler.peak_bytes(), sampler.current_bytes());
  EXPECT_GE(sampler.peak_bytes(eater.pid()), 96 * kMiB);
  EXPECT_EQ(sampler.method(), "/proc");
}

TEST(MemorySampler, KeepsThePeakOfAProcessThatEnded) {
  auto sampler = MemorySampler::MakeFromProc(nullptr);
  sampler.Sample();
  const int64_t own_bytes = sampler.current_bytes();
  pid_t pid;
  {
    Eater eater(48 * kMiB, 0);
    pid = eater.pid();
    sampler.AddProcess(pid);
    eater.Eat();
    sampler.Sample();
  }
  sampler.Sample();
  EXPECT_NEAR(static_cast<double>(sampler.current_bytes()), static_cast<double>(own_bytes), kMiB);
  EXPECT_GE(sampler.peak_bytes(), 48 * kMiB);
  EXPECT_GE(sampler.RemoveProcess(pid), 48 * kMiB);
  EXPECT_EQ(sampler.RemoveProcess(pid), 0);
}

TEST(MemorySampler, CountsTheProcessThatSamples) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the sanitizer takes four times as much memory for itself";
#endif
  for (auto sampler : {MemorySampler::Make, MemorySampler::MakeFromProc}) {
    auto made = sampler(nullptr);
    made.Sample();
    const int64_t before = made.current_bytes();
    const std::vector<char> eaten(64 * kMiB, 'x');
    made.Sample();
    EXPECT_NEAR(static_cast<double>(made.current_bytes() - before), 64.0 * kMiB, 2.0 * kMiB);
    EXPECT_EQ(made.peak_bytes(), made.current_bytes());
  }
}

TEST(MemorySampler, AProcessThatIsGoneIsNoError) {
  auto sampler = MemorySampler::Make(nullptr);
  const std::string method = sampler.method();
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  ::waitpid(pid, nullptr, 0);
  sampler.AddProcess(pid);
  sampler.Sample();
  EXPECT_EQ(sampler.RemoveProcess(pid), 0);
  EXPECT_EQ(sampler.method(), method);
}

TEST(MemorySampler, CountsSegmentsThatAreChargedElsewhere) {
  int64_t segments = 0;
  auto sampler = MemorySampler::Make([&] { return segments; });
  if (!sampler.method().starts_with("cgroup")) GTEST_SKIP() << sampler.method();
  Eater eater(0, 32 * kMiB);
  sampler.AddProcess(eater.pid());
  eater.Eat();
  sampler.Sample();
  const int64_t alone = sampler.current_bytes();
  segments = 20 * kMiB;  // less than what the cgroup sees: part of that
  sampler.Sample();
  EXPECT_NEAR(static_cast<double>(sampler.current_bytes()), static_cast<double>(alone), kMiB);
  segments = 132 * kMiB;
  sampler.Sample();
  EXPECT_NEAR(static_cast<double>(sampler.current_bytes() - alone), 100.0 * kMiB, 2.0 * kMiB);
}

TEST(MemorySampler, CountsTheCgroupWithChildrenButWithoutFileCache) {
  auto sampler = MemorySampler::Make(nullptr);
  if (!sampler.method().starts_with("cgroup")) GTEST_SKIP() << sampler.method();
  Eater eater(64 * kMiB, 32 * kMiB);
  sampler.AddProcess(eater.pid());
  sampler.Sample();
  const int64_t before = sampler.current_bytes();
  eater.Eat();
  sampler.Sample();
  EXPECT_NEAR(static_cast<double>(sampler.current_bytes() - before), 96.0 * kMiB, 12.0 * kMiB);
  EXPECT_EQ(sampler.peak_bytes(), sampler.current_bytes());
  EXPECT_GE(sampler.peak_bytes(eater.pid()), 96 * kMiB);
}

// The rest is left for what grows outside of the cgroup.
TEST(MemorySampler, WhoWaitsAtTheLimitIsGivenHalfOfTheHeadroom) {
  auto sampler = MemorySampler::Make(nullptr);
  if (!sampler.method().starts_with("cgroup v1")) GTEST_SKIP() << sampler.method();
  Eater eater(256 * kMiB, 0);
  sampler.AddProcess(eater.pid());
  sampler.Sample();
  const auto used = [&] { return sampler.usage().all_bytes(); };
  sampler.LimitTo(sampler.current_bytes() - used() + 96 * kMiB, 32 * kMiB);
  sampler.Sample();
  eater.Begin();
  const auto sample = [&](int times, const std::function<bool()>& done) {
    for (int i = 0; i < times && !done(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      sampler.Sample();
    }
    return done();
  };
  constexpr int64_t kNoise = 5 * kMiB;
  EXPECT_TRUE(sample(10'000, [&] { return sampler.is_full(); }));
  EXPECT_FALSE(sampler.is_stuck()) << "it may be a moment's";
  EXPECT_LE(used(), 64 * kMiB + kNoise);
  EXPECT_TRUE(sample(10'000, [&] { return used() >= 80 * kMiB - kNoise; }));
  EXPECT_FALSE(sample(100, [&] { return used() > 80 * kMiB + kNoise; })) << used();
  EXPECT_TRUE(sampler.is_stuck()) << "what was lent hasn't helped";
}

}  // namespace
}  // namespace zerrow::sandbox
