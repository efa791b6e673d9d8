#include "shm/shim/arena.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

#include "shm/shim/layout.h"

namespace zerrow::shim {
namespace {

class ArenaTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kGranules = 4096;

  ArenaTest() : table_(Arena::TableBytes(kGranules)) { arena_.Init(table_.data(), kGranules); }

  std::vector<uint8_t> table_;
  Arena arena_;
};

TEST_F(ArenaTest, AllocatesNothingWithoutChunks) { EXPECT_EQ(arena_.Allocate(1, 1), Arena::kNone); }

TEST_F(ArenaTest, AllocatesAWholeChunkAndNoMore) {
  arena_.Add(1024, 1024, 0);
  EXPECT_EQ(arena_.Allocate(1025, 1), Arena::kNone);
  EXPECT_EQ(arena_.Allocate(1024, 1), 1024U);
  EXPECT_EQ(arena_.Allocate(1, 1), Arena::kNone);
  EXPECT_EQ(arena_.AllocationLength(1024), 1024U);
}

TEST_F(ArenaTest, NeverCrossesChunks) {
  arena_.Add(0, 1024, 0);
  arena_.Add(1024, 1024, 0);
  EXPECT_EQ(arena_.Allocate(1500, 1), Arena::kNone);
  const uint32_t first = arena_.Allocate(1024, 1);
  const uint32_t second = arena_.Allocate(1024, 1);
  arena_.Free(first, 1024);
  arena_.Free(second, 1024);
  EXPECT_EQ(arena_.FreeRunLength(0), 1024U);
  EXPECT_EQ(arena_.FreeRunLength(1024), 1024U);
}

TEST_F(ArenaTest, Aligns) {
  arena_.Add(1024, 1024, 0);
  EXPECT_EQ(arena_.Allocate(3, 1), 1024U);
  EXPECT_EQ(arena_.Allocate(3, 512), 1536U);
  arena_.CheckInvariants(kGranules);
}

TEST_F(ArenaTest, PrefersGranulesThatWereInUse) {
  arena_.Add(0, 1024, 0);
  const uint32_t first = arena_.Allocate(8, 1);
  const uint32_t second = arena_.Allocate(8, 1);
  arena_.SetFlag(first, 16, Arena::kDirty);
  arena_.Free(first, 8);
  EXPECT_EQ(arena_.Allocate(8, 1), first);
  arena_.Free(second, 8);
  EXPECT_EQ(arena_.Allocate(4, 1), second);
}

TEST_F(ArenaTest, GrowsInPlaceOnlyInsideAChunk) {
  arena_.Add(0, 1024, 0);
  arena_.Add(1024, 1024, 0);
  const uint32_t whole = arena_.Allocate(1024, 1);
  ASSERT_EQ(whole, 1024U);  // the run added last
  const uint32_t part = arena_.Allocate(10, 1);
  EXPECT_TRUE(arena_.AllocateAt(part + 10, 20, /*joined=*/true));
  EXPECT_EQ(arena_.AllocationLength(part), 30U);
  EXPECT_TRUE(arena_.AllocateAt(part + 30, 994, /*joined=*/true));
  EXPECT_FALSE(arena_.AllocateAt(1024, 1, /*joined=*/true));
}

TEST_F(ArenaTest, FreeingTheMiddleLeavesTwoAllocations) {
  arena_.Add(0, 1024, 0);
  const uint32_t first = arena_.Allocate(10, 1);
  arena_.Free(first + 4, 2);
  EXPECT_EQ(arena_.AllocationLength(first), 4U);
  EXPECT_TRUE(arena_.Has(first + 6, Arena::kStart));
  EXPECT_EQ(arena_.AllocationLength(first + 6), 4U);
  EXPECT_EQ(arena_.FreeRunLength(first + 4), 2U);
}

TEST_F(ArenaTest, RetiredAndUnbinnedChunksServeNoAllocation) {
  arena_.Add(0, 1024, 0);
  arena_.Add(1024, 1024, Arena::kUnbinned);
  const uint32_t first = arena_.Allocate(10, 1);
  ASSERT_LT(first, 1024U);
  arena_.Retire(0, 1024);
  EXPECT_EQ(arena_.Allocate(1, 1), Arena::kNone);
  arena_.Free(first, 10);
  EXPECT_EQ(arena_.Allocate(1, 1), Arena::kNone);
  EXPECT_EQ(arena_.FreeRunLength(0), 1024U);
  arena_.CheckInvariants(kGranules);
}

TEST_F(ArenaTest, UnmappedPagesFreeTheirGranules) {
  arena_.Add(0, 1024, 0);
  const uint32_t first = arena_.Allocate(4, 1);
  const uint64_t page = uint64_t{first} * kPagesPerGranule;
  arena_.UnmapPages(page + 8, 32);  // half of 0, all of 1, half of 2
  EXPECT_TRUE(arena_.Has(first, Arena::kUsed));
  EXPECT_TRUE(arena_.Has(first + 1, Arena::kFree));
  EXPECT_TRUE(arena_.Has(first + 2, Arena::kStart));
  EXPECT_TRUE(arena_.IsMapped(page + 7));
  EXPECT_FALSE(arena_.IsMapped(page + 8));
  EXPECT_FALSE(arena_.IsMapped(page + 20));
  arena_.UnmapPages(page, 64);
  EXPECT_EQ(arena_.FreeRunLength(0), 1024U);
}

// Random operations against a model that knows each page's state; seeded, so a failure repeats.
class ArenaProperty : public ::testing::TestWithParam<uint32_t> {};

class Model {
 public:
  explicit Model(uint32_t seed) : table_(Arena::TableBytes(kGranules)), random_(seed) {
    arena_.Init(table_.data(), kGranules);
    arena_.Add(0, 1024, Arena::kDirty);
    arena_.Add(1024, 700, 0);
    arena_.Add(2048, 1024, 0);
    arena_.Add(3072, 1024, Arena::kUnbinned);
  }

  void Step() {
    const uint32_t choice = Below(10);
    if (choice < 4) {
      Allocate();
    } else if (choice < 6) {
      FreeOne();
    } else if (choice < 7) {
      Below(2) == 0 ? Grow() : ClaimOne();
    } else {
      UnmapSome();
    }
  }

  void Check() {
    arena_.CheckInvariants(kGranules);
    uint64_t wrong = 0;
    for (uint32_t g = 0; g < kGranules; ++g) {
      bool any = false;
      for (uint32_t p = 0; p < kPagesPerGranule; ++p) {
        const uint64_t page = uint64_t{g} * kPagesPerGranule + p;
        any |= mapped_[page];
        wrong += arena_.IsMapped(page) != mapped_[page] ? 1 : 0;
      }
      wrong += arena_.Has(g, Arena::kUsed) != any ? 1 : 0;
    }
    ASSERT_EQ(wrong, 0U);
    CheckPagesAlike();
  }

  void CheckPagesAlike() {
    const uint64_t end = mapped_.size() - Below(100);
    for (uint64_t page = Below(100); page < end;) {
      uint64_t stop = page;
      while (stop < end && mapped_[stop] == mapped_[page]) ++stop;
      ASSERT_EQ(arena_.PagesAlike(page, end), stop - page);
      page = stop;
    }
  }

 private:
  static constexpr uint32_t kGranules = 4096;

  uint32_t Below(uint32_t limit) { return static_cast<uint32_t>(random_()) % limit; }
  void Mark(uint64_t first_page, uint64_t count, bool mapped) {
    for (uint64_t page = first_page; page < first_page + count; ++page) mapped_[page] = mapped;
  }
  void MarkGranules(uint32_t first, uint32_t count, bool mapped) {
    Mark(uint64_t{first} * kPagesPerGranule, uint64_t{count} * kPagesPerGranule, mapped);
  }

  void Allocate() {
    const uint32_t count = 1 + Below(Below(4) == 0 ? 300 : 20);
    const uint32_t alignment = 1U << Below(6);
    const uint32_t first = arena_.Allocate(count, alignment);
    if (first == Arena::kNone) return;
    ASSERT_EQ(first % alignment, 0U);
    ASSERT_LT(first, 3072U);
    for (uint32_t page = 0; page < count * kPagesPerGranule; ++page) {
      ASSERT_FALSE(mapped_[uint64_t{first} * kPagesPerGranule + page]);
    }
    MarkGranules(first, count, true);
  }

  uint32_t RandomStart() {
    const uint32_t from = Below(kGranules);
    for (uint32_t i = 0; i < kGranules; ++i) {
      if (arena_.Has((from + i) % kGranules, Arena::kStart)) return (from + i) % kGranules;
    }
    return Arena::kNone;
  }

  void FreeOne() {
    const uint32_t first = RandomStart();
    if (first == Arena::kNone) return;
    const uint32_t count = arena_.AllocationLength(first);
    arena_.Free(first, count);
    MarkGranules(first, count, false);
  }

  void Grow() {
    const uint32_t first = RandomStart();
    if (first == Arena::kNone) return;
    const uint32_t count = arena_.AllocationLength(first);
    const uint32_t more = 1 + Below(8);
    if (!arena_.AllocateAt(first + count, more, /*joined=*/true)) return;
    ASSERT_EQ(arena_.AllocationLength(first), count + more);
    MarkGranules(first + count, more, true);
  }

  void ClaimOne() {
    const uint32_t granule = Below(kGranules);
    if (!arena_.Has(granule, Arena::kFree)) return;
    const uint64_t page = uint64_t{granule} * kPagesPerGranule + Below(kPagesPerGranule - 1);
    arena_.Claim(granule);
    arena_.MapPages(page, 2);
    Mark(page, 2, true);
  }

  void UnmapSome() {
    const uint64_t first = Below((kGranules - 32) * kPagesPerGranule);
    const uint64_t count = 1 + Below(Below(4) == 0 ? 400 : 24);
    arena_.UnmapPages(first, count);
    Mark(first, count, false);
  }

  std::vector<uint8_t> table_;
  Arena arena_;
  std::mt19937 random_;
  std::vector<bool> mapped_ = std::vector<bool>(size_t{kGranules} * kPagesPerGranule);
};

TEST_P(ArenaProperty, AgreesWithAModel) {
  Model model(GetParam());
  for (int step = 0; step < 2000 && !HasFatalFailure(); ++step) {
    model.Step();
    if (step % 200 == 0) model.Check();
  }
  model.Check();
}

INSTANTIATE_TEST_SUITE_P(Seeds, ArenaProperty, ::testing::Range(0U, 8U));

}  // namespace
}  // namespace zerrow::shim
