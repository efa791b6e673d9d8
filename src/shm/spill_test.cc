// What goes to disk and comes back: the same bytes, holes and immutability, or an error.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <thread>

#include "shm/conformance.h"
#include "shm/hostile_reader.h"
#include "shm/spill_file.h"
#include "shm/test_folder.h"

namespace zerrow::shm {
namespace {

namespace fs = std::filesystem;

int64_t Below(std::mt19937& random, int64_t end) { return static_cast<int64_t>(random()) % end; }

// This process's descriptors of files in a folder.
std::vector<int> DescriptorsIn(const std::string& path) {
  std::vector<int> found;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = fs::read_symlink(entry.path(), gone).string();
    if (target.starts_with(path + "/")) found.push_back(std::stoi(entry.path().filename()));
  }
  return found;
}

std::string ReadWhole(const Segment& segment) {
  const auto fd = segment.Open().ValueOrDie();
  std::string bytes(static_cast<size_t>(segment.size_bytes()), '?');
  // Not mapped, which would put pages behind holes.
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t got =
        ::pread(fd.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (got <= 0) return "unreadable";
    done += static_cast<size_t>(got);
  }
  return bytes;
}

std::vector<ByteRange> DataOf(const Segment& segment) {
  return DataRanges(segment.Open().ValueOrDie().get(), segment.size_bytes()).ValueOrDie();
}

std::shared_ptr<const Segment> SealedSegment(const base::TaskThread& reaper, int64_t size_bytes,
                                             const std::vector<ByteRange>& data) {
  auto fd = base::MakeMemfd("test", size_bytes).ValueOrDie();
  std::mt19937 random(static_cast<uint32_t>(size_bytes));
  for (const ByteRange& range : data) {
    std::string bytes(static_cast<size_t>(range.length), '\0');
    for (char& byte : bytes) byte = static_cast<char>(1 + random() % 255);
    EXPECT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), range.offset), range.length);
  }
  return Segment::FromMemfd(9, std::move(fd), size_bytes, reaper).ValueOrDie();
}

class Spill : public Conformance {
 protected:
  std::shared_ptr<SpillFolder> MakeFolder(SpillOptions options = {}) {
    return SpillFolder::Make(directory_.path(), std::move(options)).ValueOrDie();
  }

  // Random bytes at random places; the rest is trimmed.
  std::shared_ptr<const Segment> MakeRandom(uint32_t seed) {
    std::mt19937 random(seed);
    const auto size = static_cast<int64_t>(1 + random() % 10) * 2 * kMiB;
    std::vector<Reference> references;
    {
      TestWorker worker = AddWorker(seed);
      TestWorker::Area* area = worker.Grant(static_cast<uint64_t>(size));
      if (area == nullptr) return nullptr;
      for (int64_t at = 0; at + 4 <= size; at += 4) {
        const auto value = static_cast<uint32_t>(random());
        std::memcpy(area->data() + at, &value, 4);
      }
      const int64_t step = 1 + static_cast<int64_t>(random() % (3 * kMiB));
      for (int64_t at = Below(random, step); at < size;) {
        const int64_t length = std::min<int64_t>(1 + Below(random, step), size - at);
        references.push_back({area->id, at, length});
        at += length + Below(random, step);
      }
      if (references.empty()) references.push_back({area->id, 0, 1});
    }
    return Publish(seed, references).ValueOrDie().segments.at(0);
  }

  std::shared_ptr<const Segment> MakeAllButLastPage() {
    constexpr int64_t kSize = 4 * kMiB;
    Reference reference;
    {
      TestWorker worker = AddWorker(1);
      TestWorker::Area* area = worker.Grant(kSize);
      if (area == nullptr) return nullptr;
      std::memset(area->data(), 'x', kSize);
      reference = {area->id, 0, kSize - 4096};
    }
    return Publish(1, {reference}).ValueOrDie().segments.at(0);
  }

  void ExpectRoundTrip(const std::shared_ptr<SpillFolder>& folder, const Segment& segment) {
    const std::string bytes = ReadWhole(segment);
    const auto data = DataOf(segment);
    const SpillFile file = SpillFile::Write(folder, segment).ValueOrDie();
    EXPECT_EQ(file.bytes(), segment.backed_bytes());
    EXPECT_EQ(folder->used_bytes(), file.bytes());
    const auto back = memory_->Load(file).ValueOrDie();
    EXPECT_EQ(back->id(), segment.id());
    EXPECT_EQ(back->size_bytes(), segment.size_bytes());
    EXPECT_EQ(back->backed_bytes(), segment.backed_bytes()) << "holes stay holes";
    EXPECT_EQ(DataOf(*back), data);
    EXPECT_TRUE(ReadWhole(*back) == bytes);
  }

  TestFolder directory_;
};

TEST_P(Spill, SegmentsComeBackAsTheyWere) {
  for (const bool direct : {true, false}) {
    SpillOptions options;
    options.direct = direct;
    const auto folder = MakeFolder(options);
    for (uint32_t seed = 1; seed <= (direct ? 20u : 4u); ++seed) {
      SCOPED_TRACE(seed);
      auto segment = MakeRandom(seed);
      ASSERT_NE(segment, nullptr);
      ExpectRoundTrip(folder, *segment);
      // The next ones take chunks that hold other bytes.
      segment.reset();
      memory_->reaper().Flush();
    }
    EXPECT_EQ(folder->used_bytes(), 0);
  }
}

TEST_P(Spill, SealedFilesOfAnySizeComeBackAsTheyWere) {
  const auto folder = MakeFolder();
  const auto& reaper = memory_->reaper();
  const int64_t large = 9 * kMiB + 77;
  const std::vector<std::pair<int64_t, std::vector<ByteRange>>> cases = {
      {0, {}},
      {1, {{0, 1}}},
      {4095, {{0, 4095}}},
      {3 * 4096, {}},
      {3 * 4096 + 5, {{2 * 4096, 4}}},
      {large, {{0, large}}},
      {large, {{5, 1}, {4 * kMiB, 4 * kMiB + 1}, {large - 1, 1}}},
      {4 * kMiB, {{kMiB, 2 * kMiB}}}};
  for (const auto& [size, data] : cases) {
    SCOPED_TRACE(size);
    ExpectRoundTrip(folder, *SealedSegment(reaper, size, data));
  }
  // More ranges than one call can take.
  std::vector<ByteRange> many;
  for (int64_t i = 0; i < 3000; ++i) many.push_back({i * 3 * 4096, 100});
  ExpectRoundTrip(folder, *SealedSegment(reaper, 3000 * 3 * 4096, many));
}

TEST_P(Spill, WhatCameBackIsAsImmutableAsItWas) {
  const auto folder = MakeFolder();
  for (const Confinement confinement : {Confinement::kNone, Confinement::kUserNamespace}) {
    for (const bool chunk : {true, false}) {
      // The attacks want a hole at the end.
      auto segment =
          chunk ? MakeAllButLastPage() : SealedSegment(memory_->reaper(), kMiB + 4096, {{0, kMiB}});
      const std::string bytes = ReadWhole(*segment);
      const SpillFile file = SpillFile::Write(folder, *segment).ValueOrDie();
      const int64_t size = segment->size_bytes();
      segment.reset();
      memory_->reaper().Flush();
      const auto back = memory_->Load(file).ValueOrDie();
      const auto through = AttackSegment(back->Open().ValueOrDie().get(), size, confinement);
      if (!through.ok() && confinement == Confinement::kUserNamespace) GTEST_SKIP();
      EXPECT_EQ(*through, "");
      EXPECT_TRUE(ReadWhole(*back) == bytes);
    }
  }
}

TEST_P(Spill, ReadingBackTakesTheMemoryThatCameToThePool) {
  if (!recycles()) GTEST_SKIP();
  auto segment = MakeSegment(8 * kMiB, 'x');
  ASSERT_NE(segment, nullptr);
  const SpillFile file = SpillFile::Write(MakeFolder(), *segment).ValueOrDie();
  segment.reset();
  memory_->reaper().Flush();
  EXPECT_EQ(memory_->pool().stats().free_bytes, 8 * kMiB);
  const int64_t made = memory_->pool().stats().chunks_made;
  auto back = memory_->Load(file).ValueOrDie();
  EXPECT_EQ(memory_->pool().stats().free_bytes, 0);
  EXPECT_EQ(memory_->pool().stats().chunks_made, made);
  back.reset();
  memory_->reaper().Flush();
  EXPECT_EQ(memory_->pool().stats().free_bytes, 8 * kMiB) << "as any other";
  EXPECT_EQ(memory_->ReleaseIdle(8 * kMiB), 8 * kMiB) << "and can go";
}

// A file of any size goes through the pool where chunks can be resized; the next worker gets whole
// huge pages all the same.
TEST_P(Spill, AFileOfAnOddSizeLeavesAWholeChunk) {
  if (!recycles()) GTEST_SKIP();
  const int64_t size = 9 * kMiB + 77;
  const auto segment = SealedSegment(memory_->reaper(), size, {{0, size}});
  const SpillFile file = SpillFile::Write(MakeFolder(), *segment).ValueOrDie();
  auto back = memory_->Load(file).ValueOrDie();
  EXPECT_TRUE(ReadWhole(*back) == ReadWhole(*segment));
  back.reset();
  memory_->reaper().Flush();
  ASSERT_EQ(memory_->pool().stats().free_chunks, 1);
  TestWorker worker = AddWorker(1);
  TestWorker::Area* area = worker.Grant(8 * kMiB);
  ASSERT_NE(area, nullptr);
  EXPECT_TRUE(area->dirty);
  ASSERT_EQ(area->mapping.size(), 10 * kMiB);
  std::memset(area->data(), 'y', 10 * kMiB);
}

TEST_P(Spill, FilesHaveNoNameAndAreNotInherited) {
  const auto segment = MakeSegment(2 * kMiB, 'x');
  ASSERT_NE(segment, nullptr);
  const auto folder = MakeFolder();
  {
    const SpillFile file = SpillFile::Write(folder, *segment).ValueOrDie();
    EXPECT_TRUE(directory_.empty());
    const auto fds = DescriptorsIn(directory_.path());
    ASSERT_EQ(fds.size(), 1u);
    EXPECT_EQ(::fcntl(fds[0], F_GETFD), FD_CLOEXEC);
  }
  EXPECT_TRUE(DescriptorsIn(directory_.path()).empty());
}

TEST_P(Spill, NothingOfItStaysInThePageCache) {
  const auto segment = MakeSegment(32 * kMiB, 'x');
  ASSERT_NE(segment, nullptr);
  for (const bool direct : {true, false}) {
    SpillOptions options;
    options.direct = direct;
    const SpillFile file = SpillFile::Write(MakeFolder(options), *segment).ValueOrDie();
    const auto cached = [&] {
      const auto mapping = base::Mapping::Map(DescriptorsIn(directory_.path()).at(0), file.bytes(),
                                              base::Mapping::Access::kReadOnly)
                               .ValueOrDie();
      std::vector<unsigned char> pages(static_cast<size_t>(file.bytes() / 4096));
      EXPECT_EQ(::mincore(mapping.data(), static_cast<size_t>(file.bytes()), pages.data()), 0);
      return std::count_if(pages.begin(), pages.end(),
                           [](unsigned char page) { return (page & 1) != 0; });
    };
    EXPECT_EQ(cached(), 0) << "written, direct: " << direct;
    ASSERT_TRUE(memory_->Load(file).ok());
    EXPECT_EQ(cached(), 0) << "read, direct: " << direct;
  }
}

TEST_P(Spill, TheLimitIsKeptAndGivenBack) {
  const auto segment = MakeSegment(4 * kMiB, 'x');
  ASSERT_NE(segment, nullptr);
  SpillOptions options;
  options.limit_bytes = 10 * kMiB;
  const auto folder = MakeFolder(options);
  EXPECT_EQ(folder->FreeBytes().ValueOrDie(), 10 * kMiB);
  {
    const SpillFile first = SpillFile::Write(folder, *segment).ValueOrDie();
    SpillFile second = SpillFile::Write(folder, *segment).ValueOrDie();
    EXPECT_EQ(folder->used_bytes(), 8 * kMiB);
    EXPECT_TRUE(SpillFile::Write(folder, *segment).status().IsCapacityError());
    EXPECT_EQ(folder->used_bytes(), 8 * kMiB);
    const SpillFile moved = std::move(second);
    EXPECT_EQ(folder->used_bytes(), 8 * kMiB);
  }
  EXPECT_EQ(folder->used_bytes(), 0);
  EXPECT_TRUE(SpillFile::Write(folder, *segment).ok());
}

TEST_P(Spill, DescriptorsAreCounted) {
  const auto segment = MakeSegment(2 * kMiB, 'x');
  ASSERT_NE(segment, nullptr);
  SpillOptions options;
  options.descriptors = DescriptorBudget::Make(1);
  const auto folder = MakeFolder(options);
  {
    const SpillFile file = SpillFile::Write(folder, *segment).ValueOrDie();
    EXPECT_TRUE(SpillFile::Write(folder, *segment).status().IsCapacityError());
    EXPECT_EQ(folder->used_bytes(), file.bytes());
  }
  EXPECT_EQ(options.descriptors->used(), 0);
}

TEST_P(Spill, WhatTheDiskChangedOrLostIsAnError) {
  const auto segment = MakeSegment(12 * kMiB, 'x');
  ASSERT_NE(segment, nullptr);
  const auto folder = MakeFolder();
  const SpillFile file = SpillFile::Write(folder, *segment).ValueOrDie();
  const int fd = DescriptorsIn(directory_.path()).at(0);
  const int direct = ::fcntl(fd, F_GETFL);
  ASSERT_EQ(::fcntl(fd, F_SETFL, direct & ~O_DIRECT), 0);
  ASSERT_EQ(::pwrite(fd, "y", 1, 5 * kMiB), 1);
  ASSERT_EQ(::fcntl(fd, F_SETFL, direct), 0);
  const auto changed = memory_->Load(file);
  EXPECT_TRUE(changed.status().IsIOError()) << changed.status();
  for (const int64_t length : {12 * kMiB - 1, 4 * kMiB, int64_t{0}}) {
    ASSERT_EQ(::ftruncate(fd, length), 0);
    EXPECT_TRUE(memory_->Load(file).status().IsIOError()) << length;
  }
  // Long enough, but without the data.
  ASSERT_EQ(::ftruncate(fd, 12 * kMiB), 0);
  EXPECT_TRUE(memory_->Load(file).status().IsIOError());
  memory_->reaper().Flush();
  // What was read into wasn't lost.
  EXPECT_EQ(memory_->pool().stats().free_chunks, 1);
}

TEST_P(Spill, WhatIsNotWantedAnyMoreIsAbandoned) {
  const auto segment = MakeSegment(64 * kMiB, 'x');
  ASSERT_NE(segment, nullptr);
  const auto folder = MakeFolder();
  std::stop_source before;
  before.request_stop();
  EXPECT_TRUE(SpillFile::Write(folder, *segment, before.get_token()).status().IsCancelled());
  EXPECT_EQ(folder->used_bytes(), 0);
  EXPECT_TRUE(DescriptorsIn(directory_.path()).empty());
  const SpillFile file = SpillFile::Write(folder, *segment).ValueOrDie();
  EXPECT_TRUE(memory_->Load(file, before.get_token()).status().IsCancelled());

  // In the middle: either it had ended already, or nothing of it stays.
  for (int i = 0; i < 10; ++i) {
    std::stop_source midway;
    std::thread stopper([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(i));
      midway.request_stop();
    });
    const auto written = SpillFile::Write(folder, *segment, midway.get_token());
    stopper.join();
    EXPECT_TRUE(written.ok() || written.status().IsCancelled()) << written.status();
    EXPECT_EQ(folder->used_bytes(), (written.ok() ? 2 : 1) * 64 * kMiB);
  }
}

TEST_P(Spill, ThreadsDoNotDisturbEachOther) {
  SpillOptions options;
  options.limit_bytes = 20 * kMiB;
  const auto folder = MakeFolder(options);
  std::vector<std::shared_ptr<const Segment>> segments;
  for (uint64_t i = 0; i < 4; ++i) {
    segments.push_back(MakeSegment(6 * kMiB, static_cast<uint8_t>('a' + i), 1 + i));
    ASSERT_NE(segments.back(), nullptr);
  }
  std::atomic<int> written{0};
  const auto spill = [&](size_t i) {
    for (int round = 0; round < 8; ++round) {
      const auto file = SpillFile::Write(folder, *segments[i]);
      if (!file.ok()) {
        EXPECT_TRUE(file.status().IsCapacityError()) << file.status();
        continue;
      }
      ++written;
      const auto back = memory_->Load(*file);
      ASSERT_TRUE(back.ok()) << back.status();
      EXPECT_TRUE(ReadWhole(**back) == std::string(6 * kMiB, static_cast<char>('a' + i)));
    }
  };
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < segments.size(); ++i) threads.emplace_back(spill, i);
  }
  EXPECT_GT(written, 0);
  EXPECT_EQ(folder->used_bytes(), 0);
}

// A limit on files would else end the process by a signal.
TEST_P(Spill, AFileSizeLimitIsAnError) {
  const auto segment = MakeSegment(4 * kMiB, 'x');
  ASSERT_NE(segment, nullptr);
  const auto folder = MakeFolder();
  TestProcess process([&] {
    const rlimit limit{kMiB, kMiB};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto written = SpillFile::Write(folder, *segment);
    return written.status().IsIOError() && folder->used_bytes() == 0 ? 0 : 1;
  });
  EXPECT_EQ(process.Wait(), 0);
}

// 0: as many are written as fit, the next one is refused, and there is place again when one goes.
int FillDisk(const std::string& path, const Segment& segment) {
  const auto folder = SpillFolder::Make(path + "/spill").ValueOrDie();
  std::vector<SpillFile> files;
  for (int i = 0; i < 3; ++i) {
    auto file = SpillFile::Write(folder, segment);
    if (file.ok()) {
      files.push_back(std::move(*file));
      continue;
    }
    if (!file.status().IsCapacityError() || files.empty()) return 2;
    if (folder->used_bytes() != static_cast<int64_t>(files.size()) * files[0].bytes()) return 3;
    files.pop_back();
    return SpillFile::Write(folder, segment).ok() ? 0 : 4;
  }
  return 5;
}

// The second has no preallocation.
TEST_P(Spill, AFullDiskIsToldApartAndIsThereAgainLater) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer lets no forked process start threads";
#endif
  const auto segment = MakeSegment(6 * kMiB, 'x');
  ASSERT_NE(segment, nullptr);
  for (const char* make : {"mkfs.ext4 -q", "mkfs.ext2 -q"}) {
    TestProcess process([&] {
      return OnSmallDisk(directory_.path(), make,
                         [&](const std::string& mount) { return FillDisk(mount, *segment); });
    });
    const int code = process.Wait();
    if (code == kSkip) GTEST_SKIP() << "no file system may be mounted here";
    EXPECT_EQ(code, 0) << make;
  }
}

TEST_P(Spill, NothingStaysOfAKilledProcess) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer lets no forked process start threads";
#endif
  const auto segment = MakeSegment(64 * kMiB, 'x');
  ASSERT_NE(segment, nullptr);
  const auto folder = MakeFolder();
  TestSignal begun;
  TestProcess process([&] {
    for (;;) {
      const auto file = SpillFile::Write(folder, *segment);
      begun.Signal();
      if (!file.ok()) return 1;
    }
  });
  ASSERT_TRUE(begun.Wait());
  EXPECT_TRUE(directory_.empty());
  process.Kill();
  EXPECT_TRUE(directory_.empty());
}

INSTANTIATE_TEST_SUITE_P(Sources, Spill,
                         ::testing::Values(SharedMemoryOptions::Source::kTmpfs,
                                           SharedMemoryOptions::Source::kMemfd),
                         SourceName);

}  // namespace
}  // namespace zerrow::shm
