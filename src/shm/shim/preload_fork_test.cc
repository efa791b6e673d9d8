// fork, vfork and posix_spawn in a process whose large memory is MAP_SHARED underneath.
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "shm/shim/preload_test.h"

namespace zerrow::shim {
namespace {

constexpr size_t kPage = 4096;

// Writes 1, 2, 3, ... into one word of every page of its buffers, page after page. So at every
// instant the words read k, k, ..., k, k-1, ..., k-1: a snapshot that shows anything else isn't
// one.
class Writer {
 public:
  // Small enough to share a chunk, and large enough for chunks of their own.
  Writer() {
    for (const size_t size : {100UL << 10, 3UL << 20, 33UL << 20, 200UL << 10}) {
      auto* p = static_cast<uint8_t*>(std::calloc(size, 1));
      buffers_.push_back(p);
      for (size_t at = 0; at < size; at += kPage) words_.push_back(p + at);
    }
  }
  ~Writer() {
    for (uint8_t* p : buffers_) std::free(p);
  }

  void Run(const std::atomic<bool>& stop) {
    for (uint64_t round = 1; !stop; ++round) {
      for (uint8_t* word : words_) {
        if (Load(word) != round - 1) lost_ = true;
        std::memcpy(word, &round, sizeof(round));
      }
    }
  }

  bool lost() const { return lost_; }

  bool IsSnapshot() const {
    const uint64_t first = Load(words_[0]);
    bool older = false;
    for (const uint8_t* word : words_) {
      const uint64_t value = Load(word);
      if (value + 1 == first) older = true;
      if (value != (older ? first - 1 : first)) return false;
    }
    return true;
  }

  /// The words of a snapshot must stay what they are while the parent writes on.
  uint64_t Digest() const {
    uint64_t digest = 0;
    for (const uint8_t* word : words_) digest = digest * 31 + Load(word);
    return digest;
  }

  void Scribble() {
    for (uint8_t* word : words_) std::memset(word, 0xff, sizeof(uint64_t));
  }

 private:
  static uint64_t Load(const uint8_t* word) {
    uint64_t value = 0;
    std::memcpy(&value, word, sizeof(value));
    return value;
  }

  std::vector<uint8_t*> buffers_;
  std::vector<uint8_t*> words_;
  bool lost_ = false;
};

[[noreturn]] void CheckInChild(std::vector<std::unique_ptr<Writer>>* writers) {
  bool good = true;
  std::vector<uint64_t> digests;
  for (const auto& writer : *writers) {
    good &= writer->IsSnapshot();
    digests.push_back(writer->Digest());
  }
  ::usleep(2000);
  for (size_t i = 0; i < writers->size(); ++i) {
    good &= (*writers)[i]->Digest() == digests[i];
    (*writers)[i]->Scribble();
  }
  writers->clear();  // frees inherited memory
  auto* p = static_cast<uint8_t*>(std::calloc(1 << 20, 1));
  good &= p[(1 << 20) - 1] == 0;
  p = static_cast<uint8_t*>(std::realloc(p, 1 << 21));
  good &= p != nullptr;
  ::_exit(good ? 0 : 1);
}

TEST(PreloadFork, EachChildSeesASnapshotWhileThreadsWrite) {
  std::vector<std::unique_ptr<Writer>> writers;
  writers.push_back(std::make_unique<Writer>());
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (const auto& writer : writers) {
    threads.emplace_back([&stop, w = writer.get()] { w->Run(stop); });
  }
  int failed = 0;
  for (int i = 0; i < 8 * Scale(); ++i) {
    // Fresh memory each time, so that there is something to retire.
    auto fresh = std::make_unique<Writer>();
    std::atomic<bool> fresh_stop = false;
    std::thread thread([&] { fresh->Run(fresh_stop); });
    ::usleep(i % 8 * 1000);
    const pid_t pid = ::fork();
    if (pid == 0) {
      writers.push_back(std::move(fresh));
      CheckInChild(&writers);
    }
    failed += ChildSucceeded(pid) ? 0 : 1;
    fresh_stop = true;
    thread.join();
    EXPECT_FALSE(fresh->lost());
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  for (const auto& writer : writers) EXPECT_FALSE(writer->lost());
  EXPECT_EQ(failed, 0);
  EXPECT_TRUE(!Preloaded() || Stats().retired_chunks > 8);
}

TEST(PreloadFork, ThreadsAllocateWhileOthersFork) {
  std::atomic<bool> stop = false;
  std::atomic<int> bad = 0;
  std::vector<std::thread> threads;
  for (uint32_t seed = 0; seed < 2; ++seed) {
    threads.emplace_back([&, seed] {
      Random random(seed);
      while (!stop) {
        const size_t size = random.Size(64 << 10, 8 << 20);
        auto* p = static_cast<uint8_t*>(std::calloc(size, 1));
        if (p[size - 1] != 0 || p[size / 2] != 0) ++bad;
        std::memset(p, 1, size);
        p = static_cast<uint8_t*>(std::realloc(p, size * 2));
        if (p[size - 1] != 1) ++bad;
        std::free(p);
      }
    });
  }
  for (int i = 0; i < 40 * Scale(); ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      void* p = std::malloc(1 << 20);  // no lock was left behind
      ::_exit(p != nullptr ? 0 : 1);
    }
    EXPECT_TRUE(ChildSucceeded(pid));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(bad, 0);
}

TEST(PreloadFork, ADaemonizedGrandchildKeepsItsSnapshot) {
  constexpr size_t kBytes = 3 << 20;
  auto* p = static_cast<uint8_t*>(std::malloc(kBytes));
  std::memset(p, 1, kBytes);
  int go[2] = {};
  int answer[2] = {};
  ASSERT_EQ(::pipe(go) + ::pipe(answer), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    p[0] = 2;
    if (::fork() != 0) ::_exit(0);
    ::setsid();
    char byte = 0;
    bool good = ::read(go[0], &byte, 1) == 1;  // the parent has overwritten and freed by now
    good &= p[0] == 2;
    for (size_t i = 1; i < kBytes; ++i) good &= p[i] == 1;
    const char result = good ? 'y' : 'n';
    ::_exit(::write(answer[1], &result, 1) == 1 ? 0 : 1);
  }
  ASSERT_TRUE(ChildSucceeded(pid));
  EXPECT_EQ(p[0], 1);
  std::memset(p, 3, kBytes);
  std::free(p);
  for (int i = 0; i < 8; ++i) {
    void* other = std::malloc(kBytes);
    std::memset(other, 4, kBytes);
    std::free(other);
  }
  ASSERT_EQ(::write(go[1], "g", 1), 1);
  char result = 0;
  ASSERT_EQ(::read(answer[0], &result, 1), 1);
  EXPECT_EQ(result, 'y');
}

TEST(PreloadFork, DiscardedPagesAreZeroInParentAndChild) {
  constexpr size_t kBytes = 1 << 20;
  auto* p = static_cast<uint8_t*>(
      ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  std::memset(p, 7, kBytes);
  const pid_t pid = ::fork();
  ASSERT_EQ(::madvise(p, kBytes / 2, MADV_DONTNEED), 0);
  const bool good = p[0] == 0 && p[kBytes / 2 - 1] == 0 && p[kBytes / 2] == 7;
  if (pid == 0) ::_exit(good ? 0 : 1);
  EXPECT_TRUE(good);
  EXPECT_TRUE(ChildSucceeded(pid));
  void* moved = ::mremap(p, kBytes, 2 * kBytes, MREMAP_MAYMOVE);
  ASSERT_NE(moved, MAP_FAILED);
  p = static_cast<uint8_t*>(moved);
  EXPECT_EQ(p[0] + p[kBytes - 1] + p[2 * kBytes - 1], 7);
  EXPECT_EQ(::munmap(p, 2 * kBytes), 0);
}

TEST(PreloadFork, SpawningRetiresNothing) {
  const uint64_t before = Stats().retired_chunks;
  auto* p = static_cast<uint8_t*>(std::calloc(1 << 20, 1));
  char name[] = "true";
  char* const arguments[] = {name, nullptr};
  pid_t pid = 0;
  ASSERT_EQ(::posix_spawnp(&pid, name, nullptr, nullptr, arguments, environ), 0);
  EXPECT_TRUE(ChildSucceeded(pid));
  EXPECT_EQ(std::system("true"), 0);
  EXPECT_EQ(Stats().retired_chunks, before);
  std::free(p);
}

}  // namespace
}  // namespace zerrow::shim
