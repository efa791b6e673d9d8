// What is moved by the kernel module is there, immutable, and nothing else is. Runs where the
// module is loaded (make test-kernel); is skipped elsewhere.
#include "shm/kernelzero.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>

#include "base/channel.h"
#include "base/mapping.h"
#include "shm/hostile_reader.h"
#include "shm/test_worker.h"

namespace zerrow::shm {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kPage = 4096;

class KernelZeroTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Capability found = ProbeKernelZero();
    if (!found.available) GTEST_SKIP() << found.detail;
    kernelzero_.emplace(KernelZero::Open().ValueOrDie());
  }

  static std::string Read(const MovedFile& file) {
    const auto mapping =
        base::Mapping::Map(file.fd.get(), file.size_bytes, base::Mapping::Access::kReadOnly)
            .ValueOrDie();
    return {reinterpret_cast<const char*>(mapping.data()), static_cast<size_t>(mapping.size())};
  }

  std::optional<KernelZero> kernelzero_;
};

// Private memory of this process, of small pages: what a range has of a huge one may be copied.
class Memory {
 public:
  explicit Memory(int64_t size_bytes)
      : size_bytes_(static_cast<size_t>(size_bytes)),
        data_(static_cast<char*>(::mmap(nullptr, size_bytes_, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    ::madvise(data_, size_bytes_, MADV_NOHUGEPAGE);
    std::mt19937_64 random(size_bytes_);
    std::generate_n(data_, size_bytes_, [&] { return static_cast<char>(random()); });
  }
  ~Memory() { ::munmap(data_, size_bytes_); }
  Memory(const Memory&) = delete;

  char* data() { return data_; }
  MemoryRange Range(int64_t offset, int64_t length) const {
    return {reinterpret_cast<uintptr_t>(data_) + static_cast<uintptr_t>(offset), length};
  }
  std::string Bytes(int64_t offset, int64_t length) const {
    return {data_ + offset, static_cast<size_t>(length)};
  }

 private:
  size_t size_bytes_;
  char* data_;
};

TEST_F(KernelZeroTest, WhatIsMovedIsReadThroughTheFile) {
  Memory memory(16 * kMiB);
  const std::vector<MemoryRange> ranges = {
      memory.Range(0, 4 * kMiB), memory.Range(5 * kMiB + 17, 3 * kMiB),
      memory.Range(10 * kMiB + 100, 200), memory.Range(12 * kMiB, 4 * kMiB)};
  const std::string before = memory.Bytes(0, 16 * kMiB);
  const MovedFile file = kernelzero_->Move(ranges).ValueOrDie();
  ASSERT_EQ(file.offsets.size(), ranges.size());
  const std::string all = Read(file);
  for (size_t i = 0; i < ranges.size(); ++i) {
    const auto at =
        static_cast<size_t>(ranges[i].address) - reinterpret_cast<size_t>(memory.data());
    EXPECT_EQ(
        all.compare(static_cast<size_t>(file.offsets[i]), static_cast<size_t>(ranges[i].length),
                    before, at, static_cast<size_t>(ranges[i].length)),
        0)
        << i;
    EXPECT_EQ(file.offsets[i] % kPage, static_cast<int64_t>(ranges[i].address % kPage));
  }
  EXPECT_TRUE(memory.Bytes(0, 16 * kMiB) == before) << "the owner sees what it saw";
  EXPECT_EQ(file.copied_bytes, kPage - 17 + 17 + 200);
}

TEST_F(KernelZeroTest, NoByteOutsideTheRangesIsInTheFile) {
  const std::string secret = "the-secret-of-the-freed-heap";
  Memory memory(kMiB);
  for (int64_t at = 0; at + 64 <= kMiB; at += 64) {
    std::memcpy(memory.data() + at, secret.data(), secret.size());
  }
  std::memset(memory.data() + 100'000, 'p', 5'000);
  std::memset(memory.data() + 200'123, 'q', 1);
  const std::vector<MemoryRange> ranges = {memory.Range(100'000, 5'000), memory.Range(200'123, 1)};
  const std::string all = Read(kernelzero_->Move(ranges).ValueOrDie());
  EXPECT_EQ(all.find(secret.substr(0, 8)), std::string::npos);
  EXPECT_EQ(std::ranges::count(all, 'p'), 5'000);
  EXPECT_EQ(std::ranges::count_if(all, [](char c) { return c != '\0'; }), 5'001);
}

TEST_F(KernelZeroTest, WhatTheOwnerWritesAfterwardsIsItsOwn) {
  Memory memory(4 * kMiB);
  const std::string before = memory.Bytes(0, 4 * kMiB);
  const auto file = kernelzero_->Move(std::vector{memory.Range(0, 4 * kMiB)}).ValueOrDie();
  std::memset(memory.data(), 'H', 4 * kMiB);
  const std::string all = Read(file);
  EXPECT_TRUE(all.substr(static_cast<size_t>(file.offsets[0]), 4 * kMiB) == before);
  EXPECT_EQ(memory.Bytes(0, 1), "H");
}

TEST_F(KernelZeroTest, AHostileReaderFindsNoWay) {
  Memory memory(2 * kMiB);
  memory.data()[0] = 'x';
  const std::string before = memory.Bytes(0, 2 * kMiB);
  const auto file = kernelzero_->Move(std::vector{memory.Range(0, 2 * kMiB)}).ValueOrDie();
  EXPECT_TRUE(base::IsSealed(file.fd.get()));
  for (const Confinement confinement : {Confinement::kNone, Confinement::kUserNamespace}) {
    const auto through = AttackSegment(file.fd.get(), file.size_bytes, confinement);
    if (through.ok()) {
      EXPECT_EQ(*through, "");
    } else {
      EXPECT_EQ(confinement, Confinement::kUserNamespace) << through.status();
    }
  }
  EXPECT_TRUE(Read(file).substr(static_cast<size_t>(file.offsets[0])) == before);
}

TEST_F(KernelZeroTest, WhatCantBeMovedIsAnErrorAndStays) {
  Memory memory(kMiB);
  const std::string before = memory.Bytes(0, kMiB);
  ASSERT_EQ(::mlock(memory.data(), kPage), 0);
  const auto moved = kernelzero_->Move(std::vector{memory.Range(0, kMiB)});
  EXPECT_TRUE(moved.status().IsIOError()) << moved.status();
  EXPECT_TRUE(memory.Bytes(0, kMiB) == before);
}

// The module moves 32 MiB at a time.
TEST_F(KernelZeroTest, AMoveThatStopsMidwayLeavesTheContents) {
  Memory memory(48 * kMiB);
  const std::string before = memory.Bytes(0, 48 * kMiB);
  rlimit old = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit less = {40 * kMiB, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &less), 0);
  const auto moved = kernelzero_->Move(std::vector{memory.Range(0, 48 * kMiB)});
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  ASSERT_TRUE(moved.status().IsIOError()) << moved.status();
  EXPECT_NE(moved.status().message().find("after 0 of 1 ranges and 3"), std::string::npos)
      << moved.status();
  EXPECT_TRUE(memory.Bytes(0, 48 * kMiB) == before);
}

TEST_F(KernelZeroTest, WhatIsLeftEmptyIsInTheFileAndMovesAgain) {
  Memory memory(kMiB);
  const std::string before = memory.Bytes(0, kMiB);
  const std::vector<MemoryRange> ranges = {memory.Range(100, 300'000),
                                           memory.Range(500'000, 100'000)};
  const auto file = kernelzero_->Move(ranges, KernelZero::Leaves::kZeros).ValueOrDie();
  const std::string all = Read(file);
  for (size_t i = 0; i < ranges.size(); ++i) {
    const auto at = ranges[i].address - reinterpret_cast<uintptr_t>(memory.data());
    const auto length = static_cast<size_t>(ranges[i].length);
    EXPECT_TRUE(all.substr(static_cast<size_t>(file.offsets[i]), length) ==
                before.substr(at, length));
  }
  EXPECT_EQ(memory.Bytes(kPage, kPage), std::string(kPage, '\0'));
  EXPECT_EQ(memory.Bytes(0, kPage), before.substr(0, kPage)) << "others have bytes in this page";
  EXPECT_EQ(memory.Bytes(300'100, 1000), before.substr(300'100, 1000));
  std::memset(memory.data(), 'n', kMiB);
  const auto again = kernelzero_->Move(ranges, KernelZero::Leaves::kZeros).ValueOrDie();
  EXPECT_EQ(Read(again).substr(static_cast<size_t>(again.offsets[0]), 300'000),
            std::string(300'000, 'n'));
}

// Of three ranges one has moved, and the module's piece of the next one.
TEST_F(KernelZeroTest, WhatWasEmptiedBeforeItStoppedMidwayIsShownAgain) {
  Memory memory(56 * kMiB);
  const std::string before = memory.Bytes(0, 56 * kMiB);
  const std::vector<MemoryRange> ranges = {memory.Range(17, 4 * kMiB),
                                           memory.Range(5 * kMiB + 100, 45 * kMiB),
                                           memory.Range(52 * kMiB, 4 * kMiB)};
  rlimit old = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit less = {44 * kMiB, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &less), 0);
  const auto moved = kernelzero_->Move(ranges, KernelZero::Leaves::kZeros);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  ASSERT_TRUE(moved.status().IsIOError()) << moved.status();
  EXPECT_NE(moved.status().message().find("after 1 of 3 ranges and 3"), std::string::npos)
      << moved.status();
  EXPECT_TRUE(memory.Bytes(0, 56 * kMiB) == before);
  std::memset(memory.data(), 'x', 56 * kMiB);
  EXPECT_EQ(memory.Bytes(20 * kMiB, 1), "x");
}

// So many ranges that the module doesn't take them in one call.
class KernelZeroTestOfManyRanges : public KernelZeroTest {
 protected:
  void SetUp() override {
    KernelZeroTest::SetUp();
    if (IsSkipped()) return;
    std::ifstream(kParameter) >> before_;
    std::ofstream parameter(kParameter);
    if (!(parameter << 3 << std::flush)) GTEST_SKIP() << kParameter << " can't be written";
  }
  void TearDown() override {
    if (!before_.empty()) std::ofstream(kParameter) << before_;
  }
  // Ten of 200 KB, with gaps.
  static std::vector<MemoryRange> Ranges(Memory& memory) {
    std::vector<MemoryRange> ranges;
    for (int64_t i = 0; i < 10; ++i) ranges.push_back(memory.Range(i * 300'000 + 7, 200'000));
    return ranges;
  }
  static constexpr const char* kParameter = "/sys/module/kernelzero/parameters/max_ranges";
  std::string before_;
};

TEST_F(KernelZeroTestOfManyRanges, TheyMoveInSeveralCalls) {
  for (const auto leaves : {KernelZero::Leaves::kViews, KernelZero::Leaves::kZeros}) {
    Memory memory(3 * kMiB);
    const std::string before = memory.Bytes(0, 3 * kMiB);
    const auto file = kernelzero_->Move(Ranges(memory), leaves).ValueOrDie();
    ASSERT_EQ(file.offsets.size(), 10);
    const std::string all = Read(file);
    EXPECT_EQ(all.size(), static_cast<size_t>(file.size_bytes));
    for (size_t i = 0; i < 10; ++i) {
      EXPECT_TRUE(all.substr(static_cast<size_t>(file.offsets[i]), 200'000) ==
                  before.substr(i * 300'000 + 7, 200'000))
          << i;
    }
    EXPECT_LT(file.copied_bytes, 10 * 2 * kPage);
  }
}

TEST_F(KernelZeroTestOfManyRanges, NoneMoveWhereTheModuleTakesNone) {
  std::ofstream(kParameter) << 0;
  Memory memory(3 * kMiB);
  const std::string before = memory.Bytes(0, 3 * kMiB);
  EXPECT_TRUE(kernelzero_->Move(Ranges(memory)).status().IsIOError());
  EXPECT_TRUE(memory.Bytes(0, 3 * kMiB) == before);
}

TEST_F(KernelZeroTestOfManyRanges, TheyAreShownAgainIfALaterCallStops) {
  Memory memory(3 * kMiB);
  const std::string before = memory.Bytes(0, 3 * kMiB);
  rlimit old = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit less = {kMiB, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &less), 0);
  const auto moved = kernelzero_->Move(Ranges(memory), KernelZero::Leaves::kZeros);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  ASSERT_TRUE(moved.status().IsIOError()) << moved.status();
  EXPECT_NE(moved.status().message().find("after 5 of 10 ranges"), std::string::npos)
      << moved.status();
  EXPECT_TRUE(memory.Bytes(0, 3 * kMiB) == before);
}

TEST_F(KernelZeroTest, TheFileOutlivesItsMaker) {
  auto channels = base::Channel::MakePair().ValueOrDie();
  base::Channel& ours = channels.first;
  base::Channel& theirs = channels.second;
  TestProcess maker([&] {
    Memory memory(2 * kMiB);
    const auto made = KernelZero::Open().ValueOrDie().Move(std::vector{memory.Range(0, 2 * kMiB)});
    const int fd = made->fd.get();
    return theirs.Send({{"op", "moved"}}, std::span(&fd, 1)).ok() ? 0 : 1;
  });
  ASSERT_EQ(maker.Wait(), 0);
  const auto message = ours.Receive(std::chrono::seconds(10), {.fds = 1}).ValueOrDie();
  const base::UniqueFd& fd = message->fds.at(0);
  const auto size_bytes = base::FileSize(fd.get()).ValueOrDie();
  const auto mapping =
      base::Mapping::Map(fd.get(), size_bytes, base::Mapping::Access::kReadOnly).ValueOrDie();
  const Memory same(2 * kMiB);
  EXPECT_EQ(
      std::memcmp(mapping.data() + size_bytes - 2 * kMiB, same.Bytes(0, 2 * kMiB).data(), 2 * kMiB),
      0);
}

TEST(MovableMemory, IsPrivateAndAnonymousMemoryOnly) {
  Memory memory(kMiB);
  const auto mapped = base::MakeMemfd("mapped", kMiB).ValueOrDie();
  const auto shared =
      base::Mapping::Map(mapped.get(), kMiB, base::Mapping::Access::kReadWrite).ValueOrDie();
  int on_stack = 0;
  const auto found = MovableMemory(kPage).ValueOrDie();
  const auto contains = [&](const void* p) {
    const auto at = reinterpret_cast<uintptr_t>(p);
    return std::ranges::any_of(found, [&](const MemoryRange& range) {
      return range.address <= at && at - range.address < static_cast<uintptr_t>(range.length);
    });
  };
  EXPECT_TRUE(contains(memory.data()));
  EXPECT_TRUE(contains(memory.data() + kMiB - 1));
  EXPECT_FALSE(contains(shared.data()));
  EXPECT_FALSE(contains(&on_stack));
  EXPECT_FALSE(contains("text"));
  for (const MemoryRange& range : MovableMemory(kMiB).ValueOrDie()) EXPECT_GE(range.length, kMiB);
}

TEST(KernelZeroCountersTest, OfTheModulesFile) {
  const std::string path = ::testing::TempDir() + "kernelzero_counters";
  std::ofstream(path) << "moved 12\ncopied_edge 3\n";
  const std::map<std::string, int64_t> expected = {{"moved", 12}, {"copied_edge", 3}};
  EXPECT_EQ(KernelZeroCounters(path), expected);
  std::filesystem::remove(path);
  EXPECT_TRUE(KernelZeroCounters(path).empty());
}

}  // namespace
}  // namespace zerrow::shm
