#include "shm/descriptor_budget.h"

#include <algorithm>

namespace zerrow::shm {

DescriptorBudget::Share& DescriptorBudget::Share::operator=(Share&& other) noexcept {
  if (this != &other) {
    Release();
    budget_ = std::move(other.budget_);
    count_ = std::exchange(other.count_, 0);
  }
  return *this;
}

void DescriptorBudget::Share::Release() {
  if (budget_ != nullptr) budget_->used_.fetch_sub(count_, std::memory_order_relaxed);
  budget_.reset();
  count_ = 0;
}

std::shared_ptr<DescriptorBudget> DescriptorBudget::Make(int64_t capacity) {
  return std::shared_ptr<DescriptorBudget>(new DescriptorBudget(std::max<int64_t>(0, capacity)));
}

int64_t DescriptorBudget::Capacity(int64_t limit, int64_t open, int64_t reserve) {
  const int64_t rest = std::max<int64_t>(0, limit - open);
  return rest - std::min(reserve, rest / 2);
}

DescriptorBudget::Share DescriptorBudget::TakeUpTo(int64_t count, int64_t most) {
  int64_t used = used_.load(std::memory_order_relaxed);
  do {
    if (used > most - count) return {};
  } while (!used_.compare_exchange_weak(used, used + count, std::memory_order_relaxed));
  return {shared_from_this(), count};
}

}  // namespace zerrow::shm
