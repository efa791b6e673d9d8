// Random mmap, munmap, madvise, mprotect and mremap against a model that knows every page.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "shm/shim/preload_test.h"

namespace zerrow::shim {
namespace {

constexpr size_t kPage = 4096;
constexpr int kReadWrite = PROT_READ | PROT_WRITE;
constexpr int kPrivate = MAP_PRIVATE | MAP_ANONYMOUS;

struct Page {
  bool mapped = true;
  bool accessible = true;
  uint64_t word = 0;  // at its begin and its end; 0: the page is zero
};

struct Region {
  uint8_t* base;
  std::vector<Page> pages;
};

class Player {
 public:
  explicit Player(uint32_t seed) : random_(seed), next_word_(uint64_t{seed} << 32) {}
  ~Player() {
    while (!regions_.empty()) DropOne();
  }

  void Step() {
    if (regions_.empty() || (random_.Below(4) == 0 && regions_.size() < 12)) return MapOne();
    Region& region = regions_[random_.Below(regions_.size())];
    switch (random_.Below(9)) {
      case 0:
        return DropOne();
      case 1:
        return UnmapSome(&region);
      case 2:
        return Protect(&region);
      case 3:
        return MapOver(&region);
      case 4:
        return Remap(&region);
      case 5:
      case 6:
        return Discard(&region);
      default:
        return Write(&region);
    }
  }

  void CheckAll() {
    for (const Region& region : regions_) Check(region);
  }

 private:
  struct Part {
    size_t first;
    size_t count;
  };

  Part SomePart(const Region& region) {
    const size_t first = random_.Below(region.pages.size());
    const size_t most = std::min<size_t>(region.pages.size() - first, 700);
    return {first, 1 + random_.Below(most)};
  }

  static bool AllMapped(const Region& region, Part part) {
    for (size_t i = part.first; i < part.first + part.count; ++i) {
      if (!region.pages[i].mapped) return false;
    }
    return true;
  }

  void Check(const Region& region) {
    for (size_t i = 0; i < region.pages.size(); ++i) {
      const Page& page = region.pages[i];
      if (!page.mapped || !page.accessible) continue;
      uint64_t words[2] = {};
      std::memcpy(&words[0], region.base + i * kPage, 8);
      std::memcpy(&words[1], region.base + (i + 1) * kPage - 8, 8);
      ASSERT_EQ(words[0], page.word) << "page " << i;
      ASSERT_EQ(words[1], page.word) << "page " << i;
    }
  }

  void MapOne() {
    const size_t bytes = random_.Size(64 << 10, size_t{random_.Below(6) == 0 ? 80U : 4U} << 20);
    const size_t count = (bytes + kPage - 1) / kPage;
    const int flags = kPrivate | (random_.Below(2) == 0 ? MAP_NORESERVE : 0);
    void* p = ::mmap(nullptr, bytes, kReadWrite, flags, -1, 0);
    ASSERT_NE(p, MAP_FAILED);
    regions_.push_back({static_cast<uint8_t*>(p), std::vector<Page>(count)});
    Check(regions_.back());
    Write(&regions_.back());
  }

  void Write(Region* region) {
    const Part part = SomePart(*region);
    for (size_t i = part.first; i < part.first + part.count; ++i) {
      Page& page = region->pages[i];
      if (!page.mapped || !page.accessible) continue;
      page.word = ++next_word_;
      std::memcpy(region->base + i * kPage, &page.word, 8);
      std::memcpy(region->base + (i + 1) * kPage - 8, &page.word, 8);
    }
  }

  void UnmapSome(Region* region) {
    const Part part = SomePart(*region);
    if (!AllMapped(*region, part)) return;  // a hole may belong to somebody else by now
    ASSERT_EQ(::munmap(region->base + part.first * kPage, part.count * kPage), 0);
    for (size_t i = part.first; i < part.first + part.count; ++i) {
      region->pages[i].mapped = false;
    }
  }

  void DropOne() {
    const size_t index = random_.Below(regions_.size());
    const Region region = regions_[index];
    regions_[index] = regions_.back();
    regions_.pop_back();
    Check(region);
    for (size_t i = 0; i < region.pages.size(); ++i) {
      size_t end = i;
      while (end < region.pages.size() && region.pages[end].mapped) ++end;
      if (end > i) {
        ASSERT_EQ(::munmap(region.base + i * kPage, (end - i) * kPage), 0);
      }
      i = end;
    }
  }

  void Discard(Region* region) {
    const Part part = SomePart(*region);
    if (!AllMapped(*region, part)) return;
    ASSERT_EQ(::madvise(region->base + part.first * kPage, part.count * kPage - 1, MADV_DONTNEED),
              0);
    for (size_t i = part.first; i < part.first + part.count; ++i) region->pages[i].word = 0;
    Check(*region);
  }

  void Protect(Region* region) {
    const Part part = SomePart(*region);
    if (!AllMapped(*region, part)) return;
    const bool accessible = random_.Below(2) == 0;
    ASSERT_EQ(::mprotect(region->base + part.first * kPage, part.count * kPage,
                         accessible ? kReadWrite : PROT_NONE),
              0);
    for (size_t i = part.first; i < part.first + part.count; ++i) {
      region->pages[i].accessible = accessible;
    }
  }

  void MapOver(Region* region) {
    const Part part = SomePart(*region);
    if (!AllMapped(*region, part)) return;
    const bool accessible = random_.Below(3) != 0;
    uint8_t* at = region->base + part.first * kPage;
    ASSERT_EQ(::mmap(at, part.count * kPage, accessible ? kReadWrite : PROT_NONE,
                     kPrivate | MAP_FIXED, -1, 0),
              at);
    for (size_t i = part.first; i < part.first + part.count; ++i) {
      region->pages[i] = {true, accessible, 0};
    }
  }

  void Remap(Region* region) {
    const size_t old_count = region->pages.size();
    const bool accessible = region->pages[0].accessible;
    for (const Page& page : region->pages) {
      // The kernel refuses to move across borders.
      if (!page.mapped || page.accessible != accessible) return;
    }
    const size_t count = std::max<size_t>(1, old_count / 2 + random_.Below(old_count + 32));
    uint8_t* target = nullptr;
    int flags = random_.Below(4) == 0 ? 0 : MREMAP_MAYMOVE;
    if (flags != 0 && random_.Below(3) == 0) {
      flags |= MREMAP_FIXED;
      target = static_cast<uint8_t*>(::mmap(nullptr, count * kPage, kReadWrite, kPrivate, -1, 0));
      std::memset(target, 0xee, kPage);
    } else if (flags != 0 && random_.Below(3) == 0) {
      return RemapLeavingIt(region);
    }
    void* p = ::mremap(region->base, old_count * kPage, count * kPage, flags, target);
    if (p == MAP_FAILED) {
      // EFAULT: what was changed in parts can't be moved as one.
      ASSERT_TRUE(errno == EFAULT || (errno == ENOMEM && flags == 0)) << std::strerror(errno);
      // Older kernels have unmapped the target by then, and what is cut off: neither is ours now.
      for (size_t i = count; target != nullptr && i < old_count; ++i) {
        region->pages[i].mapped = false;
      }
      return;
    }
    ASSERT_TRUE(target == nullptr || p == target);
    region->base = static_cast<uint8_t*>(p);
    region->pages.resize(count, {true, accessible, 0});
    Check(*region);
  }

  // MREMAP_DONTUNMAP: what is left behind is empty.
  void RemapLeavingIt(Region* region) {
    const size_t bytes = region->pages.size() * kPage;
    void* p = ::mremap(region->base, bytes, bytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, nullptr);
    if (p == MAP_FAILED) {
      ASSERT_EQ(errno, EFAULT);
      return;
    }
    Region empty = *region;
    for (Page& page : empty.pages) page.word = 0;
    Check(empty);
    ASSERT_EQ(::munmap(empty.base, bytes), 0);
    region->base = static_cast<uint8_t*>(p);
    Check(*region);
  }

  Random random_;
  uint64_t next_word_;
  std::vector<Region> regions_;
};

class PreloadMmap : public ::testing::TestWithParam<uint32_t> {};

TEST_P(PreloadMmap, AgreesWithAModel) {
  const zerrow_shim_stats before = Stats();
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < 2; ++i) {
    threads.emplace_back([i] {
      Player player(GetParam() * 2 + i);
      for (int step = 0; step < 600 * Scale() && !HasFatalFailure(); ++step) player.Step();
      player.CheckAll();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(!Preloaded() || Stats().allocations > before.allocations + 50);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PreloadMmap, ::testing::Range(0U, 6U));

TEST(PreloadMmap, RefusesWhatTheKernelRefuses) {
  auto* p = static_cast<uint8_t*>(::mmap(nullptr, 1 << 19, kReadWrite, kPrivate, -1, 0));
  EXPECT_EQ(::munmap(p + 1, kPage), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(::munmap(p, 0), -1);
  EXPECT_EQ(::madvise(p + 1, kPage, MADV_DONTNEED), -1);
  EXPECT_EQ(::madvise(p, kPage, MADV_REMOVE), -1);
  EXPECT_EQ(::mprotect(p + 1, kPage, PROT_READ), -1);
  EXPECT_EQ(::mremap(p, kPage, 0, 0), MAP_FAILED);
  EXPECT_EQ(::mremap(p + 1, kPage, kPage, 0), MAP_FAILED);
  EXPECT_EQ(::munmap(p, 1 << 19), 0);
}

TEST(PreloadMmap, GivesTheAlignmentThatAHintAsksFor) {
  if (!Preloaded()) GTEST_SKIP() << "the kernel takes the hint itself";
  for (const size_t alignment : {size_t{2} << 20, size_t{32} << 20}) {
    void* hint = reinterpret_cast<void*>(alignment * 1025);
    void* p = ::mmap(hint, 1 << 19, kReadWrite, kPrivate, -1, 0);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % alignment, 0U);
    ::munmap(p, 1 << 19);
  }
}

}  // namespace
}  // namespace zerrow::shim
