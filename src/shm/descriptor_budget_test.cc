#include "shm/descriptor_budget.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>
#include <vector>

namespace zerrow::shm {
namespace {

TEST(DescriptorBudget, RefusesWhatIsNotLeft) {
  const auto budget = DescriptorBudget::Make(5);
  auto first = budget->Take(2);
  auto second = budget->Take(2);
  EXPECT_TRUE(first && second);
  EXPECT_FALSE(budget->Take(2));
  EXPECT_TRUE(budget->Take(1)) << "and it is given back at once";
  EXPECT_EQ(budget->used(), 4);
  first = {};
  EXPECT_EQ(budget->used(), 2);
  EXPECT_TRUE(budget->Take(3));
}

TEST(DescriptorBudget, SparesLeaveHalfOfItFree) {
  const auto budget = DescriptorBudget::Make(10);
  const auto spare = budget->TakeSpare(4);
  EXPECT_TRUE(spare);
  EXPECT_FALSE(budget->scarce());
  EXPECT_FALSE(budget->TakeSpare(2));
  const auto needed = budget->Take(2);
  EXPECT_TRUE(budget->scarce());
  EXPECT_FALSE(budget->TakeSpare(1));
  EXPECT_TRUE(budget->Take(4));
}

TEST(DescriptorBudget, SharesMoveAndOutliveIt) {
  std::optional<DescriptorBudget::Share> kept;
  {
    const auto budget = DescriptorBudget::Make(10);
    auto share = budget->Take(3);
    auto other = budget->Take(4);
    share = std::move(other);
    EXPECT_EQ(budget->used(), 4) << "what it held before is given back";
    kept = std::move(share);
    EXPECT_EQ(budget->used(), 4);
  }
  EXPECT_TRUE(*kept);
}

TEST(DescriptorBudget, TheReserveIsAtMostHalf) {
  EXPECT_EQ(DescriptorBudget::Capacity(20000, 20, 100), 19880);
  EXPECT_EQ(DescriptorBudget::Capacity(256, 20, 100), 136);
  EXPECT_EQ(DescriptorBudget::Capacity(64, 20, 100), 22);
  EXPECT_EQ(DescriptorBudget::Capacity(64, 100, 100), 0);
  EXPECT_FALSE(DescriptorBudget::Make(DescriptorBudget::Capacity(64, 100, 100))->Take(1));
}

TEST(DescriptorBudget, ThreadsNeverTakeMoreThanThereIs) {
  const auto budget = DescriptorBudget::Make(7);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) {
        const auto share = budget->Take(2);
        EXPECT_LE(budget->used(), 7);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(budget->used(), 0);
}

}  // namespace
}  // namespace zerrow::shm
